import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import Shown, same
from runs import CLOCK, advance, report, reports, rest, with_method
from torch import nn

from kdtune.config import ConfigError, decode, parse
from kdtune.contracts import Batch, Moment
from kdtune.objectives import OBJECTIVES
from kdtune.tracking.canonical import canonical_params
from kdtune.training.trial import WORST_LOSS, Trial, run_trial
from kdtune.views import ViewStream

METHODS = OBJECTIVES.names()
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_a_trial_reports_every_documented_metric(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    advance(trial, 3)
    last = trial.next_epoch()
    assert set(last) == {
        *("val/accuracy", "val/top5", "val/loss", "val/agreement"),
        *("train/loss", "train/ce", "train/kd", "weighted/ce", "weighted/kd"),
        "train/kd_soft_ce",
        *("lr", "epoch", "finished", "diverged"),
        *("student/params", "student/params_nonzero", "student/macs", "student/conv_density"),
        *CLOCK,
    }
    assert (last["epoch"], last["finished"], last["diverged"]) == (4, 1, 0)
    params = sum(p.numel() for p in trial.student.parameters())
    assert last["student/params"] == last["student/params_nonzero"] == params


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("kd", {"augment": "cutmix_pick", "prune_ratio": 0.5}),
        ("feature_kd", {"augment": "mixup"}),
        ("dml", {"augment": "cutmix"}),
    ],
)
def test_the_documentation_knows_every_metric(
    base: dict[str, Any], method: str, more: dict[str, Any]
) -> None:
    trial = advance(Trial(parse(with_method(base, method, **more, **{"train.epochs": 2}))), 1)
    found = {**trial.next_epoch(), **trial.test()}
    documented = set(re.findall(r"`([\w/]+)`", DOCUMENTATION.read_text()))
    terms = trial.config.objective.weights(Moment())
    named = {f"{kind}/{term}" for kind in ("train", "weighted") for term in terms}
    assert set(found) - named <= documented


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
    flat, other = with_method(base, method, **{"train.epochs": 1}), {**base, "train.epochs": 2}
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
    flat = with_method(base, method, **more)
    first = advance(Trial(parse(flat)), epochs)
    first.save(tmp_path)
    expected = rest(first)
    second = Trial(parse(flat))
    second.load(tmp_path)
    assert rest(second) == expected
    assert same(second.student.state_dict(), first.student.state_dict())


@pytest.mark.parametrize("more", [{}, {**PRUNED, "prune.phase": "self_distill"}])
def test_a_trial_may_go_back_to_an_earlier_state(
    base: dict[str, Any], tmp_path: Path, more: dict[str, Any]
) -> None:
    trial = Trial(parse({**base, **more}))
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
    scratch = reports(with_method(base, "scratch", **{"train.schedule": "cosine"}))
    ce_only = reports({**base, "alpha": 0.0})
    assert [e["val/loss"] for e in ce_only] == [e["val/loss"] for e in scratch]
    assert all("train/kd" not in e for e in ce_only)
    assert all("train/ce" not in e for e in reports({**base, "alpha": 1.0, "train.epochs": 1}))


@pytest.mark.parametrize("more", [{"train.schedule": "step"}, {"method.stop_epoch": 2}])
def test_from_its_stop_on_the_teacher_is_silent_and_cross_entropy_counts_whole(
    base: dict[str, Any], more: dict[str, Any]
) -> None:
    live = {"method": "eskd", "teacher.signals": "live"}
    trial = Trial(parse({**base, **live, **more}))  # a step schedule drops at 2 of 4
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


@pytest.mark.parametrize("method", METHODS)
def test_a_single_pixel_that_is_no_number_ends_a_trial(
    base: dict[str, Any], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(parse(with_method(base, method, **{"train.batch_size": 20})))
    good = report(trial)
    assert (good["diverged"], good["val/accuracy"] > 0) == (0, True)
    views = ViewStream.batch

    def spoilt(self: ViewStream, epoch: int, number: int) -> Batch:
        batch = views(self, epoch, number)
        if number == self.steps_per_epoch - 1:
            batch.images[0, 0, 0, 0] = math.nan
        return batch

    monkeypatch.setattr(ViewStream, "batch", spoilt)
    last = report(trial)
    assert (last["diverged"], last["val/loss"], trial.finished) == (1, WORST_LOSS, True)
    assert all(map(math.isfinite, last.values()))


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


@pytest.mark.parametrize(
    "phases", [("pre_distill", "pre_post", "self_distill"), ("finetune", "post_distill")]
)
def test_arms_that_differ_after_pruning_alone_share_the_student_before(
    base: dict[str, Any], phases: tuple[str, ...]
) -> None:
    flat = {**base, **PRUNED}
    trials = [advance(Trial(parse({**flat, "prune.phase": phase})), 2) for phase in phases]
    for trial in trials[1:]:
        assert same(trial.student.state_dict(), trials[0].student.state_dict())


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
