from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kdtune.config import ConfigError, decode, parse, teacher_trial
from kdtune.teachers.store import TeacherError, TeacherStore
from kdtune.tracking.canonical import canonical_params
from kdtune.training.trial import WORST_LOSS, Trial, run_trial

CLOCK = {"images_per_s", "time/epoch_s"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny distillation whose teacher is trained once for all tests of this file."""
    return {
        "student": "resnet8x0.125",
        "teacher": "resnet8x0.5",
        "teacher.full_epochs": 6,
        "teacher.store": str(tmp_path_factory.mktemp("teachers")),
        "data.train_limit": 400,
        "train.epochs": 4,
        "train.device": "cpu",
    }


def _epochs(flat: dict[str, Any]) -> list[dict[str, float]]:
    trial = Trial(parse(flat))
    history = []
    while not trial.finished:
        history.append(trial.next_epoch())
    return [{k: v for k, v in epoch.items() if k not in CLOCK} for epoch in history]


def test_a_trial_reports_every_documented_metric(base: dict[str, Any]) -> None:
    (*_, last) = _epochs(base)
    assert set(last) == {
        *("val/accuracy", "val/top5", "val/loss", "val/agreement"),
        *("train/loss", "train/ce", "train/kd", "lr", "epoch", "finished", "diverged"),
    }
    assert (last["epoch"], last["finished"], last["diverged"]) == (4, 1, 0)


@pytest.mark.parametrize("augment", ["none", "standard", "mixup", "cutmix"])
@pytest.mark.parametrize("prune_ratio", [0.0, 0.5])
def test_a_trial_is_the_same_bits_whatever_ran_before(
    base: dict[str, Any], augment: str, prune_ratio: float
) -> None:
    flat = {**base, "augment": augment, "prune_ratio": prune_ratio, "train.epochs": 2}
    first = _epochs(flat)
    torch.manual_seed(99)
    run_trial(parse({**base, "method": "at", "train.epochs": 1}))
    assert _epochs(flat) == first


def test_a_trial_comes_back_from_its_logged_parameters(base: dict[str, Any]) -> None:
    flat = {**base, "temperature": 3.3, "alpha": 0.7, "train.epochs": 2}
    logged = canonical_params(parse(flat).flat())
    assert _epochs(decode(logged)) == _epochs(flat)


@pytest.mark.parametrize("method", ["l1_filter", "magnitude"])
@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_restored_trial_continues_bit_for_bit(
    base: dict[str, Any], tmp_path: Path, method: str, stop_at: int
) -> None:
    flat = {**base, "prune_ratio": 0.5, "prune.method": method, "augment": "cutmix"}
    whole = _epochs(flat)
    first = Trial(parse(flat))
    for _ in range(stop_at):
        first.next_epoch()
    first.save(tmp_path)
    second = Trial(parse(flat))
    second.load(tmp_path)
    rest = []
    while not second.finished:
        rest.append({k: v for k, v in second.next_epoch().items() if k not in CLOCK})
    assert rest == whole[stop_at:]


def test_a_checkpoint_of_another_trial_is_refused(base: dict[str, Any], tmp_path: Path) -> None:
    Trial(parse(base)).save(tmp_path)
    with pytest.raises(ConfigError, match="another trial: alpha differ"):
        Trial(parse({**base, "alpha": 0.3})).load(tmp_path)


def test_alpha_0_is_cross_entropy_alone_and_alpha_1_distillation_alone(
    base: dict[str, Any],
) -> None:
    plain = {k: v for k, v in base.items() if not k.startswith("teacher")}
    ce_only, scratch = _epochs({**base, "alpha": 0.0}), _epochs({**plain, "method": "scratch"})
    assert [e["val/loss"] for e in ce_only] == [e["val/loss"] for e in scratch]
    assert all("train/kd" not in e for e in ce_only)
    assert all("train/ce" not in e for e in _epochs({**base, "alpha": 1.0, "train.epochs": 1}))


def test_pruning_is_counted_once_it_has_happened(base: dict[str, Any]) -> None:
    history = _epochs({**base, "prune_ratio": 0.5})
    assert ["prune/params" in epoch for epoch in history] == [False, False, True, True]
    assert history[-1]["prune/params"] < sum(
        p.numel() for p in Trial(parse(base)).student.parameters()
    )


def test_a_diverged_trial_ends_with_finite_worst_values(base: dict[str, Any]) -> None:
    history = _epochs({**base, "train.lr": 1e30})
    assert history[-1]["diverged"] == 1
    assert history[-1]["val/accuracy"] == 0
    assert history[-1]["val/loss"] == WORST_LOSS
    assert len(history) < 4
    assert all(value == value and abs(value) < 1e30 for value in history[-1].values())


def test_a_restored_student_is_scored_as_it_was(base: dict[str, Any], tmp_path: Path) -> None:
    trial = Trial(parse(base))
    while not trial.finished:
        trial.next_epoch()
    trial.save(tmp_path)
    again = Trial(parse(base))
    again.load(tmp_path)
    assert again.finished
    assert again.test() == trial.test()
    assert 0 <= trial.test()["teacher/test_accuracy"] <= 1


def test_a_teacher_is_trained_once_and_shared(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    assert trial.teacher is not None
    store = TeacherStore(base["teacher.store"])
    written = (store.root / trial.teacher.key / "weights.safetensors").stat().st_mtime_ns
    assert Trial(parse({**base, "alpha": 0.1})).teacher is trial.teacher
    assert (store.root / trial.teacher.key / "weights.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "change", [{"label_smoothing": 0.1}, {"teacher_epochs": 1}, {"teacher.seed": 1}]
)
def test_another_teacher_has_another_key(base: dict[str, Any], change: dict[str, Any]) -> None:
    one, other = Trial(parse(base)).teacher, Trial(parse({**base, **change})).teacher
    assert one is not None
    assert other is not None
    assert one.key != other.key


def test_a_teacher_runs_without_gradients_in_eval_mode(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    assert trial.teacher is not None
    before = {k: v.clone() for k, v in trial.teacher.model.state_dict().items()}
    trial.next_epoch()
    assert not any(p.requires_grad for p in trial.teacher.model.parameters())
    assert not any(m.training for m in trial.teacher.model.modules())
    after = trial.teacher.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_users_own_weights_serve_as_teacher(base: dict[str, Any], tmp_path: Path) -> None:
    trained = Trial(teacher_trial(parse(base)))
    while not trained.finished:
        trained.next_epoch()
    save_file(trained.student.state_dict(), tmp_path / "mine.safetensors")
    flat = {k: v for k, v in base.items() if k != "teacher.full_epochs"}
    trial = Trial(parse({**flat, "teacher.weights": str(tmp_path / "mine.safetensors")}))
    assert trial.teacher is not None
    assert trial.teacher.val_accuracy == pytest.approx(
        Trial(parse(base)).teacher.val_accuracy  # type: ignore[union-attr]
    )


def test_weights_of_another_network_are_an_error(base: dict[str, Any], tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    flat = {**base, "teacher.weights": str(tmp_path / "other.safetensors")}
    with pytest.raises(TeacherError, match=r"do not fit a resnet8x0\.5 with 10 classes"):
        Trial(parse(flat))


def test_untrained_weights_are_an_error(base: dict[str, Any], tmp_path: Path) -> None:
    state = Trial(teacher_trial(parse(base))).student.state_dict()
    save_file(state, tmp_path / "raw.safetensors")
    with pytest.raises(TeacherError, match="about chance for 10 classes"):
        Trial(parse({**base, "teacher.weights": str(tmp_path / "raw.safetensors")}))


def test_missing_weights_are_an_error(base: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match="no teacher weights at 'nowhere'"):
        Trial(parse({**base, "teacher.weights": "nowhere"}))


def test_a_method_that_reads_taps_the_network_lacks_fails_before_training(
    base: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="block4"):
        Trial(parse({**base, "method": "at", "method.blocks": 4}))
