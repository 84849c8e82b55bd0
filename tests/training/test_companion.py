"""What is trained beside a student: companions, warm-ups, the other networks of a team."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import buffers, same
from runs import advance, plain_student, report, reports, rest, with_method
from torch import Tensor, nn

from kdtune.config import parse
from kdtune.contracts import Moment, Pair, Step, Traits, Warmup
from kdtune.objectives import OBJECTIVES
from kdtune.objectives.guided import Guided
from kdtune.training.trial import Trial


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
    alone = sum(p.numel() for p in plain_student(Trial(parse(translated))).parameters())
    assert {epoch["student/params"] for epoch in history} == {alone}


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
    trial = Trial(parse(with_method(base, method)))
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
    first, second = Trial(parse(with_method(base, "dml")))._candidates()
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_the_first_member_starts_as_the_student_alone_would(base: dict[str, Any]) -> None:
    first, _ = Trial(parse(with_method(base, "dml")))._candidates()
    assert same(first.state_dict(), Trial(parse(with_method(base, "scratch"))).student.state_dict())


def _accuracy(trial: Trial, network: nn.Module) -> float:
    hits = total = 0
    with torch.no_grad():
        for batch in trial._plain(trial.dataset.val):
            hits += int(network.eval()(batch.images).argmax(dim=1).eq(batch.labels).sum())
            total += len(batch.labels)
    return hits / total


def test_the_other_networks_of_a_team_are_counted_apart(base: dict[str, Any]) -> None:
    last = reports(with_method(base, "dml"))[-1]
    assert last["companion/params"] == last["student/params"]
    alone = reports(with_method(base, "scratch"))[-1]
    assert alone["student/params"] == last["student/params"]
    assert "companion/params" not in alone
