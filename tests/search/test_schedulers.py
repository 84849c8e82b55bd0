"""Schedulers by name."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule, TrialScheduler

from kdtune.search.asha import ASHA
from kdtune.search.schedulers import SCHEDULERS, make_scheduler

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


def test_each_name_gives_its_scheduler() -> None:
    kinds = {
        "asha": ASHA,
        "hyperband": ASHA,
        "median": MedianStoppingRule,
        "none": FIFOScheduler,
    }
    assert set(SCHEDULERS) == set(kinds)
    for name, kind in kinds.items():
        scheduler = make_scheduler(name, max_t=9)
        assert isinstance(scheduler, kind)
        cloudpickle.dumps(scheduler)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'asha'"):
        make_scheduler("ahsa")


class MedianRule:
    """Ray's median rule as this module makes it, with a Tune that is played by hand."""

    def __init__(self) -> None:
        self.scheduler = make_scheduler("median", grace_period=1)
        self.trials: dict[str, Any] = {}
        self.tune: Any = SimpleNamespace(get_live_trials=lambda: [])

    def trial(self, name: str) -> Any:
        return self.trials.setdefault(name, _FakeTrial(trial_id=name))

    def report(self, name: str, iteration: int, value: float, **more: float) -> str:
        result = {"training_iteration": iteration, "val/accuracy": value, **more}
        return str(self.scheduler.on_trial_result(self.tune, self.trial(name), result))


class _FakeTrial(SimpleNamespace):
    __hash__ = object.__hash__


def test_the_median_rule_judges_no_warm_up_and_remembers_none() -> None:
    rule = MedianRule()
    for name in "abc":
        assert rule.report(name, 1, 0.5, epoch=1.0) == CONTINUE
    for iteration in (1, 2, 3):
        assert rule.report("slow", iteration, 0.9, epoch=0.0) == CONTINUE
    assert rule.report("slow", 4, 0.4, epoch=1.0) == STOP, "0.9 was no result"


def test_the_median_rule_takes_reports_without_epoch_or_metric() -> None:
    rule = MedianRule()
    for name in "abc":
        assert rule.report(name, 1, 0.5) == CONTINUE
    rule.scheduler.on_trial_complete(rule.tune, rule.trial("a"), {"training_iteration": 2})
    assert rule.report("d", 1, 0.6) == CONTINUE
    assert rule.report("e", 1, 0.4) == STOP
