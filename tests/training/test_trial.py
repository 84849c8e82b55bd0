from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import Shown, buffers, same
from runs import CLOCK, advance, report, reports, rest
from safetensors.torch import save_file
from torch import Tensor, nn

from kdtune.config import ConfigError, decode, parse, teacher_trial
from kdtune.contracts import Moment, Pair, Step, Traits, Warmup
from kdtune.models import build
from kdtune.objectives import OBJECTIVES
from kdtune.objectives.guided import Guided
from kdtune.teachers.store import TeacherError, TeacherStore
from kdtune.tracking.canonical import canonical_params
from kdtune.training.trial import WORST_LOSS, Trial, run_trial

METHODS = OBJECTIVES.names()


def whole(base: dict[str, Any], method: str, **flat: Any) -> dict[str, Any]:
    """``base`` with another method, and without the teacher where it has none."""
    kept = base
    if not OBJECTIVES.get(method)().traits.teacher:
        kept = {k: v for k, v in base.items() if not k.startswith("teacher") or k == STORE}
    fitting = {"fsp": {"student": "resnet8x0.5"}, "crd": {"method.negatives": 64}}.get(method, {})
    return {**kept, "method": method, "train.schedule": "step", **fitting, **flat}


STORE = "teacher.store"


def plain_student(trial: Trial) -> nn.Module:
    """The student of a trial, built without a trial."""
    data = trial.dataset
    shape = {"classes": data.classes, "channels": data.channels, "size": data.size}
    return build(trial.config.student, **shape, seed=0)


def test_a_trial_reports_every_documented_metric(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    advance(trial, 3)
    last = trial.next_epoch()
    assert set(last) == {
        *("val/accuracy", "val/top5", "val/loss", "val/agreement"),
        *("train/loss", "train/ce", "train/kd", "weighted/ce", "weighted/kd"),
        *("lr", "epoch", "finished", "diverged"),
        *("student/params", "student/params_nonzero", "student/macs", "student/conv_density"),
        *CLOCK,
    }
    assert (last["epoch"], last["finished"], last["diverged"]) == (4, 1, 0)
    params = sum(p.numel() for p in trial.student.parameters())
    assert last["student/params"] == last["student/params_nonzero"] == params


# The same bits


@pytest.mark.parametrize("augment", ["none", "standard", "mixup", "cutmix", "cutmix_pick"])
@pytest.mark.parametrize("prune_ratio", [0.0, 0.5])
def test_a_trial_is_the_same_bits_whatever_ran_before(
    base: dict[str, Any], augment: str, prune_ratio: float
) -> None:
    flat = {**base, "augment": augment, "prune_ratio": prune_ratio, "train.epochs": 2}
    first = reports(flat)
    torch.manual_seed(99)
    run_trial(parse({**base, "method": "at", "train.epochs": 1}))
    assert reports(flat) == first


@pytest.mark.parametrize("method", METHODS)
def test_two_trials_at_once_give_the_bits_that_each_gives_alone(
    base: dict[str, Any], method: str
) -> None:
    flat, other = whole(base, method, **{"train.epochs": 1}), {**base, "train.epochs": 2}
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    alone, other_alone = reports(flat), reports(other)
    first, second = Trial(parse(flat)), Trial(parse(other))
    found: tuple[list[Any], list[Any]] = ([], [])
    while not (first.finished and second.finished):
        for trial, history in zip((second, first), found, strict=True):
            if not trial.finished:
                history.append(report(trial))
    assert found == (other_alone, alone)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_trial_comes_back_from_its_logged_parameters(base: dict[str, Any]) -> None:
    flat = {**base, "temperature": 3.3, "alpha": 0.7, "train.epochs": 2}
    logged = canonical_params(parse(flat).flat())
    assert reports(decode(logged)) == reports(flat)


# Restoring

PRUNED = {"prune_ratio": 0.5}
MIDDLES = {
    "before pruning filters": (1, "kd", {**PRUNED, "augment": "cutmix"}),
    "after pruning filters": (3, "kd", {**PRUNED, "augment": "cutmix"}),
    "after pruning by magnitude": (3, "kd", {**PRUNED, "prune.method": "magnitude"}),
    "while slimming": (1, "kd", {**PRUNED, "prune.method": "slimming"}),
    "after slimming": (3, "kd", {**PRUNED, "prune.method": "slimming"}),
    "right before pruning": (2, "feature_kd", PRUNED),
    "taught by the unpruned student": (3, "kd", {**PRUNED, "prune.phase": "self_distill"}),
    "labels after distillation": (3, "feature_kd", {**PRUNED, "prune.phase": "pre_distill"}),
    "in a warm-up": (1, "fitnet", {}),
    "right after a warm-up": (2, "fitnet", {}),
    "long after a warm-up": (4, "fitnet", {}),
    "after a warm-up and pruning": (5, "fsp", PRUNED),
    "with a regressor": (2, "feature_kd", {}),
    "with memory banks": (2, "crd", {}),
    "with a connector after pruning": (3, "overhaul", PRUNED),
    "with adversarial images": (2, "bss", {}),
    "a cohort": (2, "dml", {}),
    "branches": (2, "one", {}),
    "while picking images": (2, "kd", {"augment": "cutmix_pick"}),
    "after distillation stopped": (3, "eskd", {}),
    "before the first epoch": (0, "kd", {}),
}


@pytest.mark.parametrize("middle", MIDDLES)
def test_a_restored_trial_continues_bit_for_bit(
    base: dict[str, Any], tmp_path: Path, middle: str
) -> None:
    epochs, method, more = MIDDLES[middle]
    flat = whole(base, method, **more)
    first = advance(Trial(parse(flat)), epochs)
    first.save(tmp_path)
    expected = rest(first)
    second = Trial(parse(flat))
    second.load(tmp_path)
    assert rest(second) == expected
    assert same(second.student.state_dict(), first.student.state_dict())


def test_a_trial_may_go_back_to_an_earlier_state(base: dict[str, Any], tmp_path: Path) -> None:
    flat = {**base, **PRUNED, "prune.phase": "self_distill"}
    trial = Trial(parse(flat))
    trial.save(tmp_path)
    first = rest(trial)
    trial.load(tmp_path)
    assert rest(trial) == first


def test_a_checkpoint_of_another_trial_is_refused(base: dict[str, Any], tmp_path: Path) -> None:
    Trial(parse(base)).save(tmp_path)
    with pytest.raises(ConfigError, match="another trial: alpha differ"):
        Trial(parse({**base, "alpha": 0.3})).load(tmp_path)


def test_a_restored_student_is_scored_as_it_was(base: dict[str, Any], tmp_path: Path) -> None:
    trial = Trial(parse(base))
    rest(trial)
    trial.save(tmp_path)
    again = Trial(parse(base))
    again.load(tmp_path)
    assert again.finished
    assert again.test() == trial.test()
    assert 0 <= trial.test()["teacher/test_accuracy"] <= 1


# Weights and ends of terms


def test_alpha_0_is_cross_entropy_alone_and_alpha_1_distillation_alone(
    base: dict[str, Any],
) -> None:
    scratch = reports(whole(base, "scratch", **{"train.schedule": "cosine"}))
    ce_only = reports({**base, "alpha": 0.0})
    assert [e["val/loss"] for e in ce_only] == [e["val/loss"] for e in scratch]
    assert all("train/kd" not in e for e in ce_only)
    assert all("train/ce" not in e for e in reports({**base, "alpha": 1.0, "train.epochs": 1}))


@pytest.mark.parametrize("more", [{"train.schedule": "step"}, {"method.stop_epoch": 2}])
def test_from_its_stop_on_the_teacher_is_silent_and_cross_entropy_counts_whole(
    base: dict[str, Any], more: dict[str, Any]
) -> None:
    trial = Trial(parse({**base, "method": "eskd", **more}))  # a step schedule drops at 2 of 4
    assert trial.teacher is not None
    shown = Shown.to(trial.teacher.model)
    for epoch in range(4):
        before = len(shown)
        found = report(trial)
        if epoch < 2:
            assert len(shown) > before
            assert found["weighted/ce"] == pytest.approx(0.1 * found["train/ce"])
        else:
            assert len(shown) == before
            assert "train/kd" not in found
            assert found["train/loss"] == found["weighted/ce"] == found["train/ce"]


def test_an_end_at_the_first_drop_needs_a_drop(base: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="this schedule has no drops; give"):
        Trial(parse({**base, "method": "eskd", "train.schedule": "cosine"}))


def test_a_diverged_trial_ends_with_finite_worst_values(base: dict[str, Any]) -> None:
    history = reports({**base, "train.lr": 1e30})
    assert history[-1]["diverged"] == 1
    assert history[-1]["val/accuracy"] == 0
    assert history[-1]["val/loss"] == WORST_LOSS
    assert len(history) < 4
    assert all(value == value and abs(value) < 1e30 for value in history[-1].values())


# Pruning


def test_pruning_is_counted_once_it_has_happened(base: dict[str, Any]) -> None:
    history = reports({**base, **PRUNED})
    sizes = [epoch["student/params"] for epoch in history]
    assert sizes[0] == sizes[1] > sizes[2] == sizes[3]
    assert sizes[0] == sum(p.numel() for p in Trial(parse(base)).student.parameters())
    assert ["prune/accuracy_after" in epoch for epoch in history] == [False, False, True, True]
    assert history[1]["val/accuracy"] == history[2]["prune/accuracy_before"]
    assert history[2]["prune/accuracy_before"] == history[3]["prune/accuracy_before"]


def test_masks_keep_the_parameters_and_lower_what_is_not_0(base: dict[str, Any]) -> None:
    last = reports({**base, **PRUNED, "prune.method": "magnitude"})[-1]
    assert last["student/params_nonzero"] < last["student/params"]
    assert last["student/conv_density"] == pytest.approx(0.5, abs=0.01)


def test_slimming_shrinks_the_scales_before_it_prunes(base: dict[str, Any]) -> None:
    def scale(sparsity: float) -> float:
        slim = {**PRUNED, "prune.method": "slimming", "prune.sparsity": sparsity}
        trial = advance(Trial(parse({**base, **slim})), 2)
        norms = [m for m in trial.student.modules() if isinstance(m, nn.BatchNorm2d)]
        return sum(float(norm.weight.detach().abs().sum()) for norm in norms)

    assert scale(0.05) < scale(1e-4)


@pytest.mark.parametrize(
    ("phase", "distils"),
    [
        ("finetune", [False, False]),
        ("pre_distill", [True, False]),
        ("post_distill", [False, True]),
        ("pre_post", [True, True]),
        ("self_distill", [True, True]),
    ],
)
def test_each_phase_of_pruning_distils_where_its_name_says(
    base: dict[str, Any], phase: str, distils: list[bool]
) -> None:
    flat = {**base, **PRUNED, "prune.phase": phase, "train.epochs": 2}
    assert ["train/kd" in epoch for epoch in reports(flat)] == distils


def test_arms_that_differ_after_pruning_alone_share_the_student_before(
    base: dict[str, Any],
) -> None:
    flat = {**base, **PRUNED}
    phases = ("pre_distill", "pre_post", "self_distill")
    students = [report(advance(Trial(parse({**flat, "prune.phase": p})), 1)) for p in phases]
    assert students[0] == students[1] == students[2]


def test_the_unpruned_student_teaches_the_pruned_one(base: dict[str, Any]) -> None:
    trial = advance(Trial(parse({**base, **PRUNED, "prune.phase": "self_distill"})), 2)
    assert trial.teacher is not None
    taught = Shown.to(trial.teacher.model)
    before = trial.student.state_dict()
    kept = {name: tensor.clone() for name, tensor in before.items()}
    trial.next_epoch()
    assert trial._unpruned is not None
    assert same(trial._unpruned.state_dict(), kept)
    assert not any(m.training for m in trial._unpruned.modules())
    assert len(taught) == 0


# The teacher


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
    assert same(trial.teacher.model.state_dict(), before)


def test_a_users_own_weights_serve_as_teacher(base: dict[str, Any], tmp_path: Path) -> None:
    trained = Trial(teacher_trial(parse(base)))
    rest(trained)
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


# Companions and warm-ups


class Translated(Guided):
    """A toy: the student's logits through a linear layer are compared to the teacher's.

    It warms up for two epochs on that alone, then adds cross entropy.
    """

    teacher_bn: str = "batch"

    @property
    def traits(self) -> Traits:
        return Traits(teacher_bn=self.teacher_bn)  # type: ignore[arg-type]

    def weights(self, moment: Moment) -> Mapping[str, float]:
        return {"own": 1.0} if moment.phase == "warmup" else {"ce": 1.0, "own": 0.1}

    def own_term(self, name: str, step: Step) -> Tensor:
        assert step.teacher is not None
        assert step.companion is not None
        return (step.companion(step.student.logits) - step.teacher.logits).square().mean()

    def warmup(self, epochs: int) -> Warmup:
        return Warmup(epochs=2, lr=0.01)

    def companion(self, moment: Moment, pair: Pair) -> nn.Module:
        extra = nn.Linear(pair.classes, pair.classes)
        return nn.Sequential(extra, nn.Linear(10, 10)) if moment.phase == "warmup" else extra


@pytest.fixture
def translated(base: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setitem(OBJECTIVES._entries, "translated", Translated)
    return {**base, "method": "translated"}


def test_a_companion_is_trained_and_kept_but_never_part_of_the_student(
    translated: dict[str, Any],
) -> None:
    trial = advance(Trial(parse(translated)), 3)
    first = {name: t.clone() for name, t in trial.state()["companion"].items()}
    trial.next_epoch()
    second = trial.state()["companion"]
    assert set(second) == {"weight", "bias"}
    assert not any(torch.equal(first[name], second[name]) for name in second)
    assert set(trial.student.state_dict()) == set(plain_student(trial).state_dict())
    assert set(trial.state()["network"]) == set(trial.student.state_dict())


def test_a_companion_is_counted_apart(translated: dict[str, Any]) -> None:
    history = reports(translated)
    assert [epoch["companion/params"] for epoch in history] == [220, 220, *[110] * 4]
    assert {epoch["student/params"] for epoch in history} == {reports_size(translated)}


def reports_size(flat: dict[str, Any]) -> float:
    return float(sum(p.numel() for p in plain_student(Trial(parse(flat))).parameters()))


def test_a_warm_up_comes_on_top_and_counts_no_epochs(translated: dict[str, Any]) -> None:
    history = reports(translated)
    assert [epoch["epoch"] for epoch in history] == [0, 0, 1, 2, 3, 4]
    assert [epoch["finished"] for epoch in history] == [0, 0, 0, 0, 0, 1]
    assert ["train/ce" in epoch for epoch in history] == [False, False, *[True] * 4]
    assert [epoch["lr"] for epoch in history[:2]] == pytest.approx([0.01, 0.001])
    assert history[2]["lr"] > 0.04


def test_the_schedule_starts_with_a_fresh_companion_and_optimiser(
    translated: dict[str, Any],
) -> None:
    trial = advance(Trial(parse(translated)), 2)
    warm = trial.state()
    assert trial._lesson is not None
    used = trial._lesson.optimizer
    trial.next_epoch()
    assert trial._lesson is not None
    assert trial._lesson.optimizer is not used
    assert len(warm["companion"]) == 4
    assert len(trial.state()["companion"]) == 2


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
def test_a_companion_is_restored_bit_for_bit(
    translated: dict[str, Any], tmp_path: Path, epochs: int
) -> None:
    first = advance(Trial(parse(translated)), epochs)
    first.save(tmp_path)
    expected = rest(first)
    second = Trial(parse(translated))
    second.load(tmp_path)
    assert rest(second) == expected
    assert same(second.state()["companion"], first.state()["companion"])


def test_a_teacher_that_uses_the_batchs_statistics_keeps_its_own(
    translated: dict[str, Any],
) -> None:
    trial = Trial(parse(translated))
    assert trial.teacher is not None
    before = buffers(trial.teacher.model)
    rest(trial)
    assert same(buffers(trial.teacher.model), before)
    assert reports(translated) != reports({**translated, "method.teacher_bn": "eval"})


# Teams


@pytest.mark.parametrize("method", ["dml", "one"])
def test_the_member_that_validates_best_is_delivered_as_a_plain_student(
    base: dict[str, Any], method: str
) -> None:
    trial = Trial(parse(whole(base, method)))
    for _ in range(4):
        last = report(trial)
        twin = plain_student(trial)
        twin.load_state_dict(trial.student.state_dict(), strict=True)
        members = [_accuracy(trial, member) for member in trial._candidates()]
        assert last["val/accuracy"] == max(members) == _accuracy(trial, twin)
        assert last["val/accuracy_mean"] == pytest.approx(sum(members) / len(members))
        assert last["student/params"] == sum(p.numel() for p in twin.parameters())
    assert len(members) == {"dml": 2, "one": 3}[method]


def test_members_start_from_different_weights(base: dict[str, Any]) -> None:
    first, second = Trial(parse(whole(base, "dml")))._candidates()
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_the_first_member_starts_as_the_student_alone_would(base: dict[str, Any]) -> None:
    first, _ = Trial(parse(whole(base, "dml")))._candidates()
    assert same(first.state_dict(), Trial(parse(whole(base, "scratch"))).student.state_dict())


def _accuracy(trial: Trial, network: nn.Module) -> float:
    hits = total = 0
    with torch.no_grad():
        for batch in trial._plain(trial.dataset.val):
            hits += int(network.eval()(batch.images).argmax(dim=1).eq(batch.labels).sum())
            total += len(batch.labels)
    return hits / total
