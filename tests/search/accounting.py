"""Proof from its log, its journal and MLflow that a search did everything exactly once."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from journal_in_mlflow import assert_the_same

from kdtune.search.log import Ended, Event, LoggedTrial, Reported, Suggested, read_log
from kdtune.tracking import read_journal
from kdtune.tracking.record import RunRecord

METRIC = "val/accuracy"


@dataclass
class Account:
    """What a search did, and what is wrong with it; each wrong thing is a sentence.

    Attributes:
        trials: How many trials there were, those of all stages.
        ends: How many ended how.
        reports: How many epochs were reported.
        lost: What was begun, or told, and is not there.
        doubled: What is there twice.
        left_open: What did not end.
    """

    trials: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    reports: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    left_open: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All that is wrong."""
        return [*self.lost, *self.doubled, *self.left_open]


def account(folder: Path, *, tracking_uri: str, trials: int) -> Account:
    """Hold the log, the journal and MLflow of a complete search against each other.

    Args:
        folder: Of the search.
        tracking_uri: Of MLflow, which was brought up to the journal before.
        trials: How many the search was to have, teachers and finalists not counted.

    Raises:
        AssertionError: If MLflow does not hold what the journal tells.
    """
    history = read_log(folder)
    found = Account(trials=len(history.trials))
    found.ends = Counter(trial.end.kind for trial in history.trials.values() if trial.end)
    searched = len(history.of("Search"))
    if searched != trials:
        (found.lost if searched < trials else found.doubled).append(
            f"the search has {searched} trials, not {trials}"
        )
    _check_log(history.events, found)
    # MLflow first by itself: a run that is there twice is in no journal.
    mlflow = assert_the_same(folder, tracking_uri)
    for name, record in (("journal", read_journal(folder)), ("MLflow", mlflow)):
        _check_runs(name, record.runs, history.trials.values(), found)
        if record.search.ended_ms is None:
            found.left_open.append(f"{name}: the run of the search is open")
    return found


def _check_log(events: Iterable[Event], found: Account) -> None:
    suggested: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    reported: dict[str, list[int]] = {}
    for event in events:
        match event:
            case Suggested(trial_id=trial_id):
                suggested[trial_id] += 1
            case Ended(trial_id=trial_id, kind=kind):
                # A failure is no end for good: --retry-failed tries again.
                ended[trial_id] += kind != "failed"
            case Reported(trial_id=trial_id, result=result):
                reported.setdefault(trial_id, []).append(int(result["training_iteration"]))
    for what, counts in (("suggested", suggested), ("ended", ended)):
        found.doubled += [
            f"log: trial {i} was {what} {n} times" for i, n in counts.items() if n > 1
        ]
    found.left_open += [f"log: trial {i} never ended" for i in suggested.keys() - ended.keys()]
    for trial_id, iterations in reported.items():
        found.reports += len(iterations)
        _check_once(f"log: trial {trial_id}", iterations, found)
        if set(iterations) != set(range(1, max(iterations) + 1)):
            found.lost.append(f"log: trial {trial_id} has a gap: {iterations}")


def _check_runs(
    name: str, runs: Iterable[RunRecord], trials: Iterable[LoggedTrial], found: Account
) -> None:
    by_key: dict[str, list[RunRecord]] = {}
    for run in runs:
        by_key.setdefault(run.key, []).append(run)
    logged = {trial.trial_id: trial for trial in trials}
    found.lost += [f"{name}: trial {key} has no run" for key in logged.keys() - by_key.keys()]
    found.doubled += [f"{name}: run {key} is of no trial" for key in by_key.keys() - logged.keys()]
    for key, own in by_key.items():
        if len(own) > 1:
            found.doubled.append(f"{name}: trial {key} has {len(own)} runs")
        if key in logged:
            _check_run(f"{name}: trial {key}", own[0], logged[key], found)


def _check_run(name: str, run: RunRecord, trial: LoggedTrial, found: Account) -> None:
    if run.ended_ms is None:
        found.left_open.append(f"{name} is open")
    if trial.end and run.outcome != trial.end.kind:
        found.lost.append(f"{name} is '{run.outcome}', and was '{trial.end.kind}'")
    for metric, points in run.history.items():
        # Of a warm-up all epochs are number 0.
        _check_once(f"{name}, {metric}", (p.epoch for p in points if p.epoch), found)
    told = {int(r["epoch"]): r.get(METRIC) for r in trial.reports if r.get("epoch")}
    kept = {point.epoch: point.value for point in run.history.get(METRIC, ()) if point.epoch}
    if told != kept:
        found.lost.append(f"{name}: {METRIC} is {kept}, and was {told}")


def _check_once(name: str, steps: Iterable[int], found: Account) -> None:
    twice = [step for step, count in Counter(steps).items() if count > 1]
    if twice:
        found.doubled.append(f"{name}: steps {twice} are there twice")
