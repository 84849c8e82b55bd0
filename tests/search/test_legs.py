"""Stages one after the other in one Tune run."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from kdtune.search import legs as legs_module
from kdtune.search.callbacks import RunLabel
from kdtune.search.interruption import Interruption
from kdtune.search.legs import Leg, Relay, RelayScheduler
from kdtune.search.listed import ListedConfigs
from kdtune.search.schedulers import make_scheduler

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(legs_module, "time", clock)
    return clock


def leg(title: str, count: int, **changes: Any) -> Leg:
    settings: dict[str, Any] = {
        "title": title,
        "searcher": ListedConfigs([{"config": f"{title}{i}"} for i in range(count)]),
        "scheduler": make_scheduler("none"),
        "trials": count,
        "label": lambda place, config: RunLabel(name=f"{title} {place}", kind=title, tags={}),
    }
    return Leg(**{**settings, **changes})


class Race:
    """A relay, and what a run of Tune would ask of it."""

    def __init__(self, *legs: Leg, at_once: int = 2) -> None:
        self.built: list[str] = []
        self.begun: list[str] = []
        self.relay = Relay(
            self._build(legs),
            on_leg=lambda leg: self.begun.append(leg.title),
            max_concurrent=at_once,
            interruption=Interruption(),
        )

    def _build(self, legs: tuple[Leg, ...]) -> Iterator[Leg]:
        for each in legs:
            self.built.append(each.title)
            yield each

    def ask(self, trial_id: str) -> Any:
        found = self.relay.suggest(trial_id)
        return found["config"] if isinstance(found, dict) else found

    def end(self, *trial_ids: str) -> None:
        for trial_id in trial_ids:
            self.relay.on_trial_complete(trial_id, {"val/accuracy": 0.5})


def test_legs_follow_each_other_in_their_order() -> None:
    race = Race(leg("a", 1), leg("b", 2), leg("c", 1), at_once=1)
    seen = []
    for trial_id in "stuv":
        seen.append(race.ask(trial_id))
        race.end(trial_id)
    assert seen == ["a0", "b0", "b1", "c0"]
    assert race.begun == ["a", "b", "c"]
    assert race.ask("w") == Searcher.FINISHED


def test_a_leg_is_neither_built_nor_begun_while_a_trial_of_the_last_one_is_open() -> None:
    race = Race(leg("a", 3), leg("b", 1), at_once=2)
    assert [race.ask("s"), race.ask("t")] == ["a0", "a1"]
    assert race.ask("u") is None
    race.end("s")
    assert race.ask("u") == "a2"
    race.end("u")
    assert [race.ask("v"), race.ask("v")] == [None, None]
    assert (race.built, race.begun) == (["a"], ["a"])
    race.end("t")
    assert race.ask("v") == "b0"


def test_a_failed_trial_is_over_too() -> None:
    race = Race(leg("a", 1), leg("b", 1))
    assert race.ask("s") == "a0"
    race.relay.on_trial_complete("s", error=True)
    assert race.ask("t") == "b0"


def test_a_searcher_that_has_no_more_ends_its_leg() -> None:
    race = Race(leg("a", 1, trials=9), leg("b", 1))
    assert race.ask("s") == "a0"
    race.end("s")
    assert race.ask("t") == "b0"


def test_a_leg_ends_after_its_number_of_trials() -> None:
    race = Race(leg("a", 5, trials=1), leg("b", 1))
    assert race.ask("s") == "a0"
    race.end("s")
    assert race.ask("t") == "b0"


def test_a_searcher_that_waits_keeps_its_leg() -> None:
    waiting = SimpleNamespace(suggest=lambda trial_id: None)
    race = Race(leg("a", 3, searcher=waiting), leg("b", 1))
    assert [race.ask("s"), race.ask("s")] == [None, None]
    assert race.begun == ["a"]


def test_reports_and_ends_reach_the_leg_that_the_trial_belongs_to() -> None:
    told: list[tuple[str, str]] = []

    def searcher(name: str) -> Any:
        listed = ListedConfigs([{"config": name}])
        listed.on_trial_result = lambda trial_id, result: told.append((name, trial_id))
        return listed

    race = Race(leg("a", 1, searcher=searcher("a")), leg("b", 1, searcher=searcher("b")))
    race.ask("s")
    race.end("s")
    race.ask("t")
    race.relay.on_trial_result("t", {})
    race.relay.on_trial_result("s", {})
    assert told == [("b", "t"), ("a", "s")]
    assert race.relay.leg_of("s").title == "a"
    assert race.relay.label("t", {}).name == "b 0"


def test_time_counts_from_the_start_of_the_leg(clock: Clock) -> None:
    race = Race(leg("a", 1), leg("b", 9, budget_s=10.0), leg("c", 1))
    race.ask("s")
    clock.now += 1000
    race.end("s")
    assert race.ask("t") == "b0"
    clock.now += 9
    assert race.ask("u") == "b1"


def test_a_leg_whose_time_is_over_starts_no_trial_and_the_next_one_waits(clock: Clock) -> None:
    race = Race(leg("a", 9, budget_s=10.0), leg("b", 1), at_once=3)
    assert race.ask("s") == "a0"
    clock.now += 11
    assert race.ask("t") is None
    assert race.begun == ["a"]
    race.end("s")
    assert race.ask("t") == "b0"
    assert race.ask("u") is None


def test_trials_of_a_leg_whose_time_is_over_are_stopped_at_their_next_report(clock: Clock) -> None:
    race = Race(leg("a", 9, budget_s=10.0), leg("b", 1))
    scheduler = RelayScheduler(race.relay)
    race.ask("s")
    trial: Any = SimpleNamespace(trial_id="s")
    assert scheduler.on_trial_result(None, trial, {"training_iteration": 1}) == CONTINUE
    clock.now += 11
    assert scheduler.on_trial_result(None, trial, {"training_iteration": 2}) == STOP


def test_each_trial_is_judged_by_the_scheduler_of_its_own_leg() -> None:
    told: list[tuple[str, str, str]] = []

    def scheduler(name: str, verdict: str) -> Any:
        def hook(what: str) -> Any:
            def call(controller: Any, trial: Any, *_: Any) -> str:
                told.append((name, what, trial.trial_id))
                return verdict

            return call

        hooks = ("add", "result", "complete", "error", "remove")
        return SimpleNamespace(**{f"on_trial_{what}": hook(what) for what in hooks})

    race = Race(
        leg("a", 1, scheduler=scheduler("a", STOP)),
        leg("b", 1, scheduler=scheduler("b", CONTINUE)),
    )
    relay_scheduler = RelayScheduler(race.relay)
    first, second = (SimpleNamespace(trial_id=trial_id) for trial_id in "st")
    race.ask("s")
    race.end("s")
    race.ask("t")
    relay_scheduler.on_trial_add(None, second)  # type: ignore[arg-type]
    assert relay_scheduler.on_trial_result(None, first, {}) == STOP  # type: ignore[arg-type]
    assert relay_scheduler.on_trial_result(None, second, {}) == CONTINUE  # type: ignore[arg-type]
    relay_scheduler.on_trial_complete(None, second, {})  # type: ignore[arg-type]
    relay_scheduler.on_trial_error(None, first)  # type: ignore[arg-type]
    relay_scheduler.on_trial_remove(None, first)  # type: ignore[arg-type]
    assert told == [
        ("b", "add", "t"),
        ("a", "result", "s"),
        ("b", "result", "t"),
        ("b", "complete", "t"),
        ("a", "error", "s"),
        ("a", "remove", "s"),
    ]


def test_without_legs_there_is_nothing_to_do() -> None:
    race = Race()
    assert race.ask("s") == Searcher.FINISHED
    assert race.relay.leg is None
