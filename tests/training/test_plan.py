from typing import Any

import pytest

from kdtune.config import parse
from kdtune.contracts import Moment, Warmup
from kdtune.objectives import OBJECTIVES
from kdtune.objectives.guided import Guided
from kdtune.training.plan import Phase, phase_at, phases
from kdtune.training.schedules import learning_rate


def plan(**flat: Any) -> tuple[Phase, ...]:
    return phases(parse({key.replace("__", "."): value for key, value in flat.items()}))


def methods(found: tuple[Phase, ...]) -> list[str]:
    """The registered names of the methods of the phases."""
    names = {OBJECTIVES.get(name): name for name in OBJECTIVES.names()}
    return [names[type(phase.objective)] for phase in found]


def test_without_pruning_there_is_one_phase() -> None:
    (phase,) = plan(train__epochs=7)
    assert (phase.name, phase.start, phase.stop, phase.prunes) == ("train", 0, 7, False)


@pytest.mark.parametrize(("epochs", "at", "cut"), [(10, 0.5, 5), (3, 0.9, 2), (2, 0.1, 1)])
def test_pruning_starts_a_second_phase(epochs: int, at: float, cut: int) -> None:
    found = plan(train__epochs=epochs, prune_ratio=0.5, prune__at=at)
    assert [(p.start, p.stop, p.prunes) for p in found] == [(0, cut, False), (cut, epochs, True)]
    assert [phase_at(found, e).prunes for e in range(epochs)] == [e >= cut for e in range(epochs)]


def test_a_single_epoch_is_pruned_before_it() -> None:
    (phase,) = plan(train__epochs=1, prune_ratio=0.5)
    assert phase.prunes


@pytest.mark.parametrize("method", ["kd", "feature_kd"])
@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("finetune", [("scratch", "nobody"), ("scratch", "nobody")]),
        ("pre_distill", [("own", "teacher"), ("scratch", "nobody")]),
        ("post_distill", [("scratch", "nobody"), ("own", "teacher")]),
        ("pre_post", [("own", "teacher"), ("own", "teacher")]),
        ("self_distill", [("own", "teacher"), ("own", "unpruned")]),
    ],
)
def test_each_arm_of_park2020_distils_where_it_should(
    method: str, phase: str, expected: list[tuple[str, str]]
) -> None:
    config = parse({"method": method, "prune_ratio": 0.5, "prune.phase": phase})
    found = phases(config)
    told = [(method if name == "own" else name, guide) for name, guide in expected]
    assert list(zip(methods(found), (p.guide for p in found), strict=True)) == told
    own = [p.objective for p in found if p.guide != "nobody"]
    assert all(objective == config.objective for objective in own)


def test_fine_tuning_without_a_teacher_keeps_the_methods_own_terms() -> None:
    found = plan(method="scratch", method__label_smoothing=0.1, prune_ratio=0.5)
    assert [phase.objective.model_dump() for phase in found] == [{"label_smoothing": 0.1}] * 2


def test_fine_tuning_goes_on_with_the_schedule() -> None:
    flat = {"train.epochs": 8, "train.lr": 0.4, "prune_ratio": 0.5, "prune.at": 0.5}
    config = parse(flat)
    _, after = phases(config)
    assert [after.rate(e) for e in (4, 7.5)] == [learning_rate(config.train, e) for e in (4, 7.5)]


def test_fine_tuning_may_have_a_constant_rate_of_its_own() -> None:
    before, after = plan(train__epochs=8, train__warmup_epochs=6, prune_ratio=0.5, prune__lr=0.003)
    assert [after.rate(e) for e in (4, 5.25, 7.9)] == [0.003] * 3
    assert before.rate(0) == pytest.approx(0.05 / 7)


def test_a_moment_counts_the_epochs_of_the_schedule() -> None:
    flat = {"train.epochs": 8, "train.schedule": "step", "prune_ratio": 0.5, "prune.lr": 0.001}
    before, after = phases(parse(flat))
    assert before.moment(3) == Moment(phase="train", epoch=3, epochs=8, first_drop=4)
    assert after.moment(5) == Moment(phase="finetune", epoch=5, epochs=8, first_drop=4)


def test_a_schedule_without_steps_has_no_first_drop() -> None:
    (phase,) = plan(train__schedule="cosine")
    assert phase.moment(0).first_drop is None


class Prepared(Guided):
    """A toy with a warm-up of a quarter of the schedule."""

    alpha: float = 0.5

    def warmup(self, epochs: int) -> Warmup:
        return Warmup(epochs=epochs // 4, lr=0.01, milestones=(0.5,), lr_factor=0.2)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A trial of twenty epochs with that method."""
    monkeypatch.setitem(OBJECTIVES._entries, "prepared", Prepared)
    return {"method": "prepared", "train.epochs": 20, "train.warmup_epochs": 2}


def test_a_warm_up_comes_before_the_schedule_and_has_rates_of_its_own(
    prepared: dict[str, Any],
) -> None:
    config = parse(prepared)
    warmup, train = phases(config)
    assert [(p.name, p.start, p.stop) for p in (warmup, train)] == [
        ("warmup", 0, 5),
        ("train", 5, 25),
    ]
    rates = [warmup.rate(epoch) for epoch in range(5)]
    assert rates == pytest.approx([0.01, 0.01, 0.002, 0.002, 0.002])  # round(0.5 * 5) is 2
    assert [train.rate(e) for e in (5, 14.5)] == [
        learning_rate(config.train, e - 5) for e in (5, 14.5)
    ]


def test_a_moment_of_a_warm_up_counts_for_itself(prepared: dict[str, Any]) -> None:
    warmup, train = phases(parse({**prepared, "train.schedule": "step"}))
    assert warmup.moment(3) == Moment(phase="warmup", epoch=3, epochs=5, first_drop=2)
    assert train.moment(5) == Moment(phase="train", epoch=0, epochs=20, first_drop=10)
    assert train.moment(24).epoch == 19


def test_a_warm_up_is_not_repeated_after_pruning(prepared: dict[str, Any]) -> None:
    found = phases(parse({**prepared, "prune_ratio": 0.5, "prune.at": 0.4}))
    assert [(p.name, p.start, p.stop) for p in found] == [
        ("warmup", 0, 5),
        ("train", 5, 13),
        ("finetune", 13, 25),
    ]
    assert found[-1].moment(13).epoch == 8


@pytest.mark.parametrize("phase", ["pre_distill", "self_distill"])
def test_a_warm_up_belongs_to_the_distillation_before_pruning(
    prepared: dict[str, Any], phase: str
) -> None:
    found = phases(parse({**prepared, "prune_ratio": 0.5, "prune.phase": phase}))
    assert [p.name for p in found] == ["warmup", "train", "finetune"]
    assert found[0].guide == "teacher"


def test_labels_alone_need_no_warm_up(prepared: dict[str, Any]) -> None:
    found = phases(parse({**prepared, "prune_ratio": 0.5, "prune.phase": "finetune"}))
    assert [(p.name, p.start) for p in found] == [("train", 0), ("finetune", 10)]


@pytest.mark.parametrize("method", OBJECTIVES.names())
def test_the_phases_of_every_method_have_no_gap(method: str) -> None:
    ratio = 0.0 if OBJECTIVES.get(method)().traits.team else 0.5
    found = plan(method=method, prune_ratio=ratio, train__epochs=9)
    assert found[0].start == 0
    assert [p.stop for p in found[:-1]] == [p.start for p in found[1:]]
    assert sum(p.stop - p.start for p in found if p.name != "warmup") == 9
