"""A search goes on from any moment of its log as if nothing had happened: a Tune played by hand."""

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.experiment import Trial

from kdtune.search.callbacks import RunLabel
from kdtune.search.interruption import Interruption
from kdtune.search.legs import Leg, Relay, RelayScheduler
from kdtune.search.log import (
    Begun,
    History,
    LogDamaged,
    LoggedTrial,
    SearchLog,
    Suggested,
    read_log,
)
from kdtune.search.log_callback import LogCallback
from kdtune.search.outcomes import OutcomeCallback
from kdtune.search.samplers import make_sampler
from kdtune.search.schedulers import make_scheduler
from kdtune.search.space import Arm, Choice, Float, Space

METRIC, EPOCHS, TRIALS, AT_ONCE = "val/accuracy", 9, 14, 3
SPACE = Space(
    name="toy",
    summary="Two arms.",
    axes={"shape": Choice((0.5, 1.0, 2.0))},
    arms=(
        Arm(method="kd", axes={"alpha": Float(0, 1), "temperature": Float(1, 16, log=True)}),
        Arm(method="at", axes={"method.beta": Float(1, 100, log=True)}),
    ),
)
Ends = list[tuple[dict[str, Any], str, int, float | None]]


class PlayedTune:
    """Runs toy trials in one process, at a pace drawn from a seed, until the search is over.

    Trials are saved now and then; one that starts again makes the last report before its last
    checkpoint again, as :class:`~trainables.durable.Durable` does.
    """

    def __init__(self, folder: Path, *, sampler: str, scheduler: str, pace: int) -> None:
        self.chance = random.Random(pace)
        self.log, history = SearchLog(folder), read_log(folder)
        self.record = OutcomeCallback(metric=METRIC, mode="max")
        leg = Leg(
            title="Search",
            searcher=make_sampler(sampler, SPACE, seed=3, max_concurrent=AT_ONCE),
            scheduler=make_scheduler(scheduler, max_t=EPOCHS, brackets=2 - (scheduler != "asha")),
            trials=TRIALS,
            label=lambda place, config: RunLabel(name="", kind="trial", tags={}),
            recalled=history.of("Search"),
        )
        interruption = Interruption()
        self.relay = Relay(
            iter([leg]),
            on_leg=lambda leg: None,
            on_recall=self._recall,
            max_concurrent=AT_ONCE,
            log=self.log,
            history=history,
            interruption=interruption,
        )
        self.scheduler = RelayScheduler(self.relay)
        logging = LogCallback(
            self.log,
            objectives=[METRIC],
            mode="max",
            elapsed_s=self.relay.elapsed_s,
            journal_error=lambda: "",
            interruption=interruption,
        )
        self.followers = [self.record, logging]
        self.trials: list[Any] = []
        self.ready: list[Any] = []
        self._trial_to_actor: set[Any] = set()
        self._actor_cache = SimpleNamespace(has_cached_object=lambda kind: False)
        self.search_alg = SimpleNamespace(is_finished=lambda: True)

    def run(self) -> Ends:
        number = 0
        while True:
            again = self.relay.next_unfinished()
            if again:
                self._start(again.trial_id, again.config, again)
                continue
            config = self.relay.suggest(f"t{number}-{self.chance.random()}")
            number += 1
            if isinstance(config, dict):
                self._start(list(self.relay._owners)[-1], config, None)
                continue
            if self.relay._unfinished:
                continue
            if config == self.relay.FINISHED and not self.get_live_trials():
                break
            self.scheduler.choose_trial_to_run(self)
            if self.ready:
                self._epoch(self.ready.pop(self.chance.randrange(len(self.ready))))
        self.log.close()
        leg = self.relay.leg
        assert leg is not None
        ends = [self.record.outcome(trial_id) for trial_id in leg.trial_ids]
        return [(dict(e.config), e.kind, e.epoch, e.value) for e in ends if e]

    # The part of Tune's controller that a scheduler meets

    def get_live_trials(self) -> list[Any]:
        return [trial for trial in self.trials if trial.status == Trial.RUNNING]

    def get_trials(self) -> list[Any]:
        return []

    def stop_trial(self, trial: Any) -> None:
        self.scheduler.on_trial_complete(self, trial, trial.last_result)
        self.relay.on_trial_complete(trial.trial_id, trial.last_result)
        for follower in self.followers:
            follower.on_trial_complete(0, self.trials, trial)
        trial.status = Trial.TERMINATED

    def _schedule_trial_train(self, trial: Any) -> None:
        self.ready.append(trial)

    def _recall(self, trial: LoggedTrial) -> None:
        for place, follower in enumerate(self.followers):
            follower.recall(trial, place)

    def _start(self, trial_id: str, config: Any, logged: LoggedTrial | None) -> None:
        saved = logged.checkpoints[-1].iteration if logged and logged.checkpoints else 0
        trial = PlayedTrial(
            trial_id=trial_id,
            config=config,
            status=Trial.RUNNING,
            is_saving=False,
            last_result={},
            done=max(saved - 1, 0),
            placement_group_factory=None,
        )
        self.trials.append(trial)
        self._trial_to_actor.add(trial)
        self.scheduler.on_trial_add(self, trial)
        for follower in self.followers:
            follower.on_trial_start(0, self.trials, trial)
        self.ready.append(trial)

    def _epoch(self, trial: Any) -> None:
        trial.done += 1
        quality = trial.config.get("alpha", trial.config.get("method.beta", 50) / 100)
        value = quality * (1 - 0.8 ** (trial.done * trial.config["shape"]))
        over = trial.done == EPOCHS
        result = {
            METRIC: value,
            "epoch": float(trial.done),
            "finished": float(over),
            "training_iteration": trial.done,
        }
        verdict = "STOP" if over else self.scheduler.on_trial_result(self, trial, result)
        if verdict != "STOP":
            self.relay.on_trial_result(trial.trial_id, result)
        trial.last_result = result
        for follower in self.followers:
            follower.on_trial_result(0, self.trials, trial, result)
        if verdict == "STOP":
            self.stop_trial(trial)
            return
        if self.chance.random() < 0.7:
            place = SimpleNamespace(path=f"/x/checkpoint_{trial.done:06d}")
            for follower in self.followers:
                follower.on_checkpoint(0, self.trials, trial, place)
        if verdict == "CONTINUE":
            self.ready.append(trial)


class PlayedTrial(SimpleNamespace):
    __hash__ = object.__hash__


def cuts(log: bytes, chance: random.Random) -> Iterator[int]:
    """Lengths to which a killed driver may have written a log."""
    yield from (0, 1, len(log) - 1, len(log))
    yield from sorted({chance.randrange(2, len(log) - 1) for _ in range(20)})


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [("tpe", "asha"), ("random", "asha"), ("tpe", "none"), ("nsga2", "none"), ("grid", "asha")],
)
def test_whatever_part_of_the_log_is_left_the_search_ends_as_if_undisturbed(
    tmp_path: Path, sampler: str, scheduler: str
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = PlayedTune(whole, sampler=sampler, scheduler=scheduler, pace=0).run()
    assert len(expected) == TRIALS
    kinds = {kind for _, kind, _, _ in expected}
    assert kinds == ({"finished", "cut"} if scheduler == "asha" else {"finished"})
    log = (whole / "search.log").read_bytes()
    for length in cuts(log, random.Random(7)):
        part = tmp_path / str(length)
        part.mkdir()
        (part / "search.log").write_bytes(log[:length])
        resumed = PlayedTune(part, sampler=sampler, scheduler=scheduler, pace=length)
        assert resumed.run() == expected
        ended = [trial.end is not None for trial in read_log(part).trials.values()]
        assert ended == [True] * TRIALS


def test_a_suggestion_that_the_sampler_no_longer_makes_is_imposed_on_it(tmp_path: Path) -> None:
    PlayedTune(tmp_path, sampler="tpe", scheduler="none", pace=0).run()
    history = read_log(tmp_path)
    asked = [event for event in history.events if isinstance(event, Suggested)]
    other = make_sampler("tpe", SPACE, seed=4, max_concurrent=AT_ONCE, ordered=False)
    for event in asked[:5]:
        other.suggest_again(event.trial_id, event.config)
    trials = other.study.trials  # type: ignore[attr-defined]
    running = [SPACE.suggest(_Fixed(t.params)) for t in trials if not t.state.is_finished()]
    assert running == [dict(event.config) for event in asked[:5]]
    with pytest.raises(ValueError, match="no arm of space 'toy'"):
        other.suggest_again("x", {"method": "kd", "shape": 3.0})


def test_a_sampler_without_a_memory_refuses_a_log_of_another_seed() -> None:
    sampler = make_sampler("random", SPACE, seed=4)
    with pytest.raises(ValueError, match="the space or the seed is not the one"):
        sampler.suggest_again("x", SPACE.sample(np.random.default_rng(0)))


class _Fixed:
    """An Optuna trial whose parameters are known."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def suggest_float(self, name: str, *_: Any, **__: Any) -> float:
        return float(self.params[name])

    def suggest_categorical(self, name: str, *_: Any) -> Any:
        return self.params[name]


# The file


def begun() -> Begun:
    return Begun(asked={"trials": 3}, digest="d", search_id="s", workers=2)


def suggested(trial_id: str) -> Suggested:
    return Suggested(leg="Search", trial_id=trial_id, config={"lr": 0.1, "x": None}, at_s=0.5)


def test_a_log_is_read_as_it_was_written_and_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    log = SearchLog(tmp_path)
    log.put(begun())
    log.put(suggested("a"))
    log.close()
    with (tmp_path / "search.log").open("ab") as file:
        file.write(b"1234abcd {half a li")
    assert read_log(tmp_path).events == (begun(), suggested("a"))
    log.put(suggested("b"))
    assert read_log(tmp_path).events == (begun(), suggested("a"), suggested("b"))


def test_no_log_is_no_history(tmp_path: Path) -> None:
    assert read_log(tmp_path) == History()


def test_a_damaged_line_is_named_with_a_way_out(tmp_path: Path) -> None:
    log = SearchLog(tmp_path)
    for event in (begun(), suggested("a"), suggested("b")):
        log.put(event)
    text = (tmp_path / "search.log").read_bytes()
    (tmp_path / "search.log").write_bytes(text.replace(b'"a"', b'"z"'))
    with pytest.raises(LogDamaged, match=r"line 2 of 3 .* is damaged.*sed -i '2,\$d'"):
        read_log(tmp_path)


def test_a_log_that_cannot_be_written_stops_the_search_and_names_the_file(tmp_path: Path) -> None:
    log, stop = SearchLog(tmp_path / "gone"), Interruption()
    relay = Relay(iter(()), on_leg=lambda leg: None, max_concurrent=1, log=log, interruption=stop)
    relay.leg = Leg(
        title="Search",
        searcher=make_sampler("random", SPACE),
        scheduler=make_scheduler("none"),
        trials=1,
        label=lambda place, config: RunLabel(name="", kind="trial", tags={}),
    )
    assert relay.suggest("a") is None
    assert stop.asked
    assert stop.error is not None
    assert stop.error.filename == str(tmp_path / "gone" / "search.log")
    assert relay.suggest("b") == relay.FINISHED
