"""Successive halving against a Tune that is played by hand."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from kdtune.search import asha as asha_module
from kdtune.search.asha import ASHA

CONTINUE, STOP, NOOP = TrialScheduler.CONTINUE, TrialScheduler.STOP, TrialScheduler.NOOP


class FakeTune:
    """The part of Tune's controller that a scheduler meets."""

    def __init__(self, scheduler: ASHA) -> None:
        self.scheduler = scheduler
        self.trials: dict[str, Any] = {}
        self.log: list[str] = []
        self._trial_to_actor: set[Any] = set()
        self._actor_cache = None  # never touched once the sampler has no more to suggest
        self.search_alg = SimpleNamespace(is_finished=lambda: True)

    def get_live_trials(self) -> list[Any]:
        return []

    def add(self, *names: str, status: str = Trial.RUNNING) -> None:
        for name in names:
            trial = _FakeTrial(trial_id=name, status=status, is_saving=False, last_result={})
            self.trials[name] = trial
            self._trial_to_actor.add(trial)
            self.scheduler.on_trial_add(self, trial)

    def report(self, name: str, epoch: int, value: object = ..., /, **more: object) -> str:
        result = {"training_iteration": epoch, **more}
        if value is not ...:
            result["acc"] = value
        self.trials[name].last_result = result
        verdict = str(self.scheduler.on_trial_result(self, self.trials[name], result))
        if verdict == STOP:
            self.stop_trial(self.trials[name])
            self.log.pop()
        return verdict

    def step(self) -> Any:
        """One turn of Tune's loop; returns what the scheduler wants to run."""
        return self.scheduler.choose_trial_to_run(self)

    def complete(self, name: str, epoch: int, value: float) -> None:
        trial = self.trials[name]
        trial.last_result = {"training_iteration": epoch, "acc": value}
        self.stop_trial(trial)
        self.log.pop()

    def fail(self, name: str) -> None:
        self.scheduler.on_trial_error(self, self.trials[name])
        self.trials[name].status = Trial.ERROR

    def stop_trial(self, trial: Any) -> None:
        self.scheduler.on_trial_complete(self, trial, trial.last_result)
        trial.status = Trial.TERMINATED
        self.log.append(f"stop {trial.trial_id}")

    def _schedule_trial_train(self, trial: Any) -> None:
        self.log.append(f"train {trial.trial_id}")

    def _trial_task_failure(self, trial: Any, exception: Exception) -> None:
        self.log.append(f"lost {trial.trial_id}")
        self.fail(trial.trial_id)


class _FakeTrial(SimpleNamespace):
    __hash__ = object.__hash__


def tune(**settings: Any) -> FakeTune:
    defaults = {"metric": "acc", "mode": "max", "max_t": 9, "reduction_factor": 3}
    return FakeTune(ASHA(**{**defaults, **settings}))


def test_the_best_third_goes_on_and_the_top_rung_ends_a_trial() -> None:
    runner = tune()
    runner.add("a", "b", "c", "d")
    assert runner.report("a", 1, 0.5) == CONTINUE
    assert runner.report("b", 1, 0.6) == CONTINUE
    assert runner.report("c", 1, 0.1) == STOP
    assert runner.report("d", 1, 0.52) == STOP
    assert [runner.report("a", epoch, 0.5) for epoch in (2, 3, 4, 8, 9)] == [CONTINUE] * 4 + [STOP]


def test_it_says_at_which_rung_a_trial_was_judged_last() -> None:
    runner = tune(brackets=2, seed=1)
    asha = runner.scheduler
    assert asha.rungs == [(1, 3, 9), (3, 9)]
    names = [str(n) for n in range(20)]
    runner.add(*names)
    late = next(n for n in names if asha._entries[n].bracket == 1)
    early = next(n for n in names if asha._entries[n].bracket == 0)
    assert [asha.rung_of(name) for name in (early, late, "unknown")] == [0, 0, 0]
    for epoch, expected in ((1, (1, 0)), (2, (1, 0)), (3, (3, 3)), (4, (3, 3))):
        for name in (early, late):
            assert runner.report(name, epoch, 0.9) == CONTINUE
        assert (asha.rung_of(early), asha.rung_of(late)) == expected
    runner.complete(early, 9, 0.9)
    assert asha.rung_of(early) == 3


def test_min_mode_keeps_the_lowest() -> None:
    runner = tune(mode="min")
    runner.add("a", "b")
    runner.report("a", 1, 0.5)
    assert runner.report("b", 1, 0.6) == STOP


@pytest.mark.parametrize("value", [float("nan"), None, float("inf"), "broken"])
def test_a_value_that_is_not_finite_stops_its_trial_and_counts_nowhere(value: object) -> None:
    runner = tune()
    runner.add("a", "b")
    assert runner.report("a", 1, value) == STOP
    assert runner.report("b", 1, 0.1) == CONTINUE


def test_a_report_without_the_metric_or_the_epoch_changes_nothing() -> None:
    runner = tune()
    runner.add("a", "b")
    assert runner.report("a", 1) == CONTINUE
    assert runner.report("b", 1, 0.1) == CONTINUE
    trial = runner.trials["b"]
    assert runner.scheduler.on_trial_result(runner, trial, {"acc": 0.2}) == CONTINUE
    assert runner.report("a", 9) == STOP


def test_tune_is_not_asked_to_insist_on_the_metric() -> None:
    assert ASHA(metric="acc", mode="max").metric != "acc"


def test_a_late_value_counts_at_its_own_rung_only() -> None:
    runner = tune(max_t=27)
    runner.add("a", "b")
    for epoch in (5, 10, 15):
        runner.report("a", epoch, 0.9)
    assert [runner.report("b", epoch, 0.1) for epoch in (1, 3)] == [CONTINUE, STOP]
    scores = runner.scheduler.get_state()["scores"][0]
    assert scores == [[[1, 0.1]], [[0, 0.9], [1, 0.1]], [[0, 0.9]], []]


def test_a_warm_up_before_the_schedule_is_never_judged() -> None:
    runner = tune(max_t=3)
    runner.add("a", "b", "slow")
    for name, value in (("a", 0.5), ("b", 0.9)):
        assert runner.report(name, 1, value, epoch=1.0) == CONTINUE
    for iteration in (1, 2, 3):
        assert runner.report("slow", iteration, 0.0, epoch=0.0) == CONTINUE
    assert runner.report("slow", 4, float("nan"), epoch=0.0) == CONTINUE
    assert runner.scheduler.get_state()["scores"][0] == [[[0, 0.5], [1, 0.9]], []]
    assert runner.report("slow", 5, 0.95, epoch=1.0) == CONTINUE
    assert runner.report("slow", 6, 0.95, epoch=2.0) == CONTINUE
    assert runner.report("slow", 7, 0.95, epoch=3.0) == STOP, "max_t counts the schedule"


def test_a_later_trial_waits_for_one_that_warms_up() -> None:
    runner = tune()
    runner.add("slow", "b")
    assert runner.report("slow", 1, 0.1, epoch=0.0) == CONTINUE
    assert runner.report("b", 1, 0.5, epoch=1.0) == NOOP
    runner.report("slow", 2, 0.7, epoch=1.0)
    runner.step()
    assert runner.log == ["stop b"]


def test_a_trial_is_held_until_every_earlier_one_has_reached_its_rung() -> None:
    runner = tune()
    runner.add("a", "b", "c")
    assert runner.report("b", 1, 0.5) == NOOP
    assert runner.report("c", 1, 0.9) == NOOP
    runner.step()
    assert runner.log == []
    assert runner.report("a", 1, 0.7) == CONTINUE
    runner.step()
    assert runner.log == ["stop b", "train c"]


@pytest.mark.parametrize("end", ["complete", "fail", "remove"])
def test_held_trials_go_on_when_the_one_they_wait_for_is_over(end: str) -> None:
    runner = tune()
    runner.add("a", "b")
    assert runner.report("b", 1, 0.5) == NOOP
    if end == "complete":
        runner.complete("a", 1, 0.9)
    elif end == "fail":
        runner.fail("a")
    else:
        runner.scheduler.on_trial_remove(runner, runner.trials["a"])
    runner.step()
    assert runner.log == ["stop b" if end == "complete" else "train b"]


def test_a_trial_that_ended_unnoticed_holds_nobody() -> None:
    runner = tune()
    runner.add("a", "b")
    runner.report("b", 1, 0.5)
    runner.trials["a"].status = Trial.ERROR  # as after a refused actor reuse
    runner.step()
    assert runner.log == ["train b"]


def test_a_held_trial_that_is_stopped_from_outside_is_left_alone() -> None:
    runner = tune()
    runner.add("a", "b")
    runner.report("b", 1, 0.5)
    runner.trials["b"].status = Trial.TERMINATED
    runner.report("a", 1, 0.9)
    runner.step()
    assert runner.log == []


def test_a_held_trial_that_is_saving_is_settled_afterwards() -> None:
    runner = tune()
    runner.add("a", "b")
    runner.report("b", 1, 0.5)
    runner.trials["b"].is_saving = True
    runner.report("a", 1, 0.9)
    runner.step()
    assert runner.log == []
    runner.trials["b"].is_saving = False
    runner.step()
    assert runner.log == ["stop b"]


def test_a_trial_whose_actor_died_while_held_is_failed() -> None:
    runner = tune()
    runner.add("a", "b")
    runner.report("b", 1, 0.5)
    runner._trial_to_actor.discard(runner.trials["b"])
    runner.step()
    assert runner.log == ["lost b"]
    runner.step()
    assert runner.log == ["lost b"]


def test_a_trial_tried_again_keeps_its_place_and_is_judged_where_it_was_not() -> None:
    runner = tune(brackets=2)
    runner.add("a", "b", "c")
    before = runner.scheduler.get_state()["trials"]["b"][:2]
    runner.report("b", 3, 0.2)
    runner.fail("b")
    runner.trials["b"].status = Trial.PENDING
    runner.scheduler.on_trial_add(runner, runner.trials["b"])
    assert runner.scheduler.get_state()["trials"]["b"][:2] == before
    runner.trials["b"].status = Trial.RUNNING
    runner.report("a", 3, 0.9)
    verdict = runner.report("b", 3, 0.2)
    assert verdict == (STOP if _bracket(runner, "a") == before[1] else CONTINUE)


def test_the_earliest_waiting_trial_runs_first() -> None:
    runner = tune()
    runner.add("a", "b", status=Trial.PENDING)
    assert runner.step().trial_id == "a"
    runner.trials["a"].status = Trial.RUNNING
    assert runner.step().trial_id == "b"
    runner.trials["b"].status = Trial.RUNNING
    assert runner.step() is None
    runner.trials["a"].status = Trial.PAUSED
    assert runner.step().trial_id == "a"


def test_patience_ends_the_wait_for_a_trial_without_an_actor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(asha_module.time, "monotonic", lambda: clock.now)
    runner = tune(patience=10)
    runner.add("a", status=Trial.PENDING)
    runner.add("b")
    runner.report("b", 1, 0.5)
    for clock.now in (0.0, 9.0):
        runner.step()
    assert runner.log == []
    clock.now = 10.0
    runner.step()
    assert runner.log == ["train b"]
    assert "without trials a" in caplog.text
    runner.trials["a"].status = Trial.RUNNING
    runner.report("a", 1, 0.9)
    runner.add("c")
    assert runner.report("c", 1, 0.1) == STOP


def test_patience_does_not_run_while_a_trial_makes_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(asha_module.time, "monotonic", lambda: clock.now)
    runner = tune(patience=10)
    runner.add("a", "b")
    runner.report("b", 1, 0.5)
    for clock.now in (0.0, 99.0):
        runner.step()
    assert runner.log == []


def test_without_order_nobody_waits() -> None:
    runner = tune(ordered=False)
    runner.add("a", "b", "c")
    assert runner.report("c", 1, 0.5) == CONTINUE
    assert runner.report("a", 1, 0.4) == STOP


def test_brackets_follow_from_the_seed_and_are_mostly_the_deepest() -> None:
    def drawn(seed: int) -> list[int]:
        runner = tune(brackets=3, seed=seed)
        runner.add(*map(str, range(300)))
        return [_bracket(runner, name) for name in runner.trials]

    assert drawn(0) == drawn(0) != drawn(1)
    counts = [drawn(0).count(bracket) for bracket in range(3)]
    assert counts[0] > counts[1] > counts[2] > 0


def test_only_trials_of_one_bracket_wait_for_each_other() -> None:
    runner = tune(brackets=2, seed=0)
    runner.add(*map(str, range(20)))
    names = list(runner.trials)
    other = next(n for n in names if _bracket(runner, n) != _bracket(runner, names[0]))
    assert runner.report(other, 1, 0.5) == CONTINUE  # below the first rung, or first in it


def test_its_state_survives_json_and_pickling(tmp_path: Path) -> None:
    runner = tune()
    runner.add("a", "b", "c")
    runner.report("a", 1, 0.7)
    runner.report("b", 1, 0.8)
    state = runner.scheduler.get_state()
    assert json.loads(json.dumps(state)) == state
    runner.scheduler.save(str(tmp_path / "asha.json"))
    restored = tune()
    restored.scheduler.restore(str(tmp_path / "asha.json"))
    assert restored.scheduler.get_state() == state
    restored.add("c", "b")
    assert restored.report("c", 1, 0.75) == STOP
    assert restored.report("b", 2, 0.1) == CONTINUE
    copied = pickle.loads(pickle.dumps(runner.scheduler))
    assert copied.get_state() == state


def test_metric_and_mode_may_come_from_tune() -> None:
    scheduler = ASHA()
    with pytest.raises(ValueError, match="needs a metric and a mode"):
        scheduler.set_search_properties(None, None)
    assert scheduler.set_search_properties("acc", "min")
    assert scheduler.set_search_properties("acc", None)
    assert not scheduler.set_search_properties("loss", None)
    assert not scheduler.set_search_properties("acc", "max")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "up"}, "mode must be 'max' or 'min', got 'up'"),
        ({"reduction_factor": 2.5}, "whole number >= 2, got 2.5"),
        ({"grace_period": 0}, "grace_period must be a whole number >= 1, got 0"),
        ({"grace_period": 10}, "at most max_t = 9, got 10"),
        ({"brackets": 4}, r"from 1 to 3, the number of rungs \(1, 3, 9\), got 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tune(**settings)


def _bracket(runner: FakeTune, name: str) -> int:
    return int(runner.scheduler.get_state()["trials"][name][1])
