"""What a search took, and what it did not have to."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from kdtune.report.page.facts import Facts, epochs_done
from kdtune.tracking.record import RunRecord

SECONDS = "time/epoch_s"
TRIALS = "Trials"
STAGES = {
    "Teachers": ("teacher",),
    TRIALS: ("trial",),
    "Finalists and baselines": ("finalist", "baseline"),
}
"""The kinds of runs of each stage."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: how many runs it had, their epochs, and the seconds of these, all runs added."""

    name: str
    runs: int
    epochs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one search.

    Attributes:
        stages: Those that had runs.
        wall_s: From the start of the search to its end, or to the last thing it logged.
        saved_epochs: That cut trials would have gone on for.
        saved_s: The same in seconds, at the mean epoch of each of these trials.
        trained: How many teachers this search trained.
        reused: How many more were in the store; None if the search did not tell.
    """

    stages: Sequence[Stage]
    wall_s: float
    saved_epochs: int
    saved_s: float
    trained: int
    reused: int | None

    @property
    def run_s(self) -> float:
        """Seconds of all epochs, all runs added."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def saved_share(self) -> float:
        """Of the epochs that the trials would have had without cuts."""
        done = sum(stage.epochs for stage in self.stages if stage.name == TRIALS)
        return self.saved_epochs / (self.saved_epochs + done) if self.saved_epochs else 0.0


def cost(facts: Facts) -> Cost:
    """Added up from what all runs reported."""
    record = facts.record
    reused = record.search.value("search/teachers_reused")
    stages = [_stage(name, record.of_kind(*kinds)) for name, kinds in STAGES.items()]
    cut = [
        (trial.planned - trial.row.epoch, _mean_epoch_s(trial.run))
        for trial in facts.trials
        if trial.row.outcome == "cut" and trial.planned
    ]
    return Cost(
        stages=[stage for stage in stages if stage.runs],
        wall_s=(_end_ms([record.search, *record.runs]) - record.search.started_ms) / 1000,
        saved_epochs=sum(epochs for epochs, _ in cut),
        saved_s=sum(epochs * seconds for epochs, seconds in cut),
        trained=sum(run.outcome == "finished" for run in record.of_kind("teacher")),
        reused=None if reused is None else int(reused),
    )


def _stage(name: str, runs: Sequence[RunRecord]) -> Stage:
    seconds = [point.value for run in runs for point in run.history.get(SECONDS, ())]
    epochs = sum(map(epochs_done, runs))
    return Stage(name=name, runs=len(runs), epochs=epochs, seconds=sum(seconds))


def _mean_epoch_s(run: RunRecord) -> float:
    points = run.history.get(SECONDS)
    return fmean(point.value for point in points) if points else 0.0


def _end_ms(runs: Sequence[RunRecord]) -> int:
    """When the search's own run, the first, ended; else when anything was last heard of."""
    if runs[0].ended_ms is not None:
        return runs[0].ended_ms
    heard = (point.time_ms for run in runs for each in run.history.values() for point in each[-1:])
    return max([*heard, *(run.ended_ms or run.started_ms for run in runs)])
