"""The trials of a search as analyses read them: settings, one curve each, and what was searched."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdtune.compare.measured import OF_THE_MACHINE, short_name, typed
from kdtune.contracts import Scalar
from kdtune.tracking.record import RunRecord, SearchRecord

ARM = "arm"
"""Name of the axis that says which alternative of a space a trial was drawn from."""

NO_AXES = {*OF_THE_MACHINE, "dataset", "seed", "data.seed", "teacher.seed"}
"""Settings that replicate a run or say where it was made."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a search was after: a metric, and whether more of it is better."""

    metric: str
    higher_is_better: bool

    @property
    def sign(self) -> float:
        """What a value is multiplied with so that more is better."""
        return 1.0 if self.higher_is_better else -1.0


ACCURACY = Objective(metric="val/accuracy", higher_is_better=True)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial.

    Attributes:
        name: What a person calls it.
        order: Its place among the trials of its search, from 0.
        arm: Of a space with several; else empty.
        outcome: As in :class:`~kdtune.tracking.record.RunRecord`.
        settings: Typed; ``dataset`` is the short name.
        curve: The objective after each epoch of the schedule, from 1, finite values alone.
    """

    name: str
    order: int
    arm: str = ""
    outcome: str
    settings: Mapping[str, Scalar]
    curve: Mapping[int, float] = field(default_factory=dict)

    @property
    def last_epoch(self) -> int:
        """The last one that was measured; 0 if none was."""
        return max(self.curve, default=0)

    @property
    def final(self) -> float | None:
        """The value after the last epoch; None for a trial that did not finish."""
        return self.curve.get(self.last_epoch) if self.outcome == "finished" else None


def objective_of(record: SearchRecord) -> Objective:
    """The first objective of a search; accuracy on validation where it does not say."""
    text = record.search.params.get("search.objectives", "").partition(",")[0].strip()
    metric, _, mode = text.partition(":")
    return Objective(metric=metric, higher_is_better=mode != "min") if metric else ACCURACY


def trials_of(record: SearchRecord, objective: Objective | None = None) -> list[Trial]:
    """The trials of a search in the order in which they were suggested.

    Args:
        record: Of the search.
        objective: Whose curves; by default the search's own.
    """
    metric = (objective or objective_of(record)).metric
    runs = record.of_kind("trial")
    found = [_trial(run, place, metric) for place, run in enumerate(runs)]
    return sorted(found, key=lambda trial: trial.order)


def settings_of(run: RunRecord) -> dict[str, Scalar]:
    """A run's settings, typed; ``dataset`` is the short name."""
    settings = typed(run.params)
    if "dataset" in settings:
        settings["dataset"] = short_name(str(settings["dataset"]))
    return settings


def axes_of(trials: Sequence[Trial]) -> list[str]:
    """The keys that the trials differ in: what was searched, as far as they tell.

    A key counts if all trials have it and it has several values; so do the arms of a space, under
    :data:`ARM`, ahead of everything that follows from them. Of keys that always change together,
    such as a share and the stages that it is the mean of, the first counts.
    """
    own = [key for key in (trials[0].settings if trials else ()) if key not in NO_AXES]
    shared = [key for key in own if all(key in trial.settings for trial in trials)]
    axes: list[str] = []
    for key in (ARM, *shared):
        varies = len({setting(trial, key) for trial in trials}) > 1
        if varies and not any(_follows(key, axis, trials) for axis in axes):
            axes.append(key)
    return axes


def setting(trial: Trial, axis: str) -> Scalar:
    """The value of an axis, :data:`ARM` included; None for a key that the trial has not."""
    return trial.arm if axis == ARM else trial.settings.get(axis)


def _follows(key: str, axis: str, trials: Sequence[Trial]) -> bool:
    """Whether ``axis`` settles ``key``; one with a value for every trial would settle anything."""
    values = {setting(trial, axis) for trial in trials}
    pairs = {(setting(trial, axis), setting(trial, key)) for trial in trials}
    return 2 * len(values) <= len(trials) and len(pairs) == len(values)


def _trial(run: RunRecord, place: int, metric: str) -> Trial:
    told = run.tags.get("trial", "")
    curve = {
        point.epoch: point.value
        for point in run.history.get(metric, ())
        if point.epoch > 0 and math.isfinite(point.value)
    }
    return Trial(
        name=run.name,
        order=int(told) if told.isdecimal() else place,
        arm=run.tags.get("space.arm", ""),
        outcome=run.outcome,
        settings=settings_of(run),
        curve=curve,
    )
