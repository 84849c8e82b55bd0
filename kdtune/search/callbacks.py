"""Ray Tune callbacks: one writes trials to the tracking sink, one feeds the live display."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ray.tune.experiment import Trial

from kdtune.config import ConfigError, TrialConfig, parse
from kdtune.contracts import Scalar
from kdtune.report.settings import describe
from kdtune.search.datasets import inputs_of
from kdtune.search.log import LoggedTrial
from kdtune.search.trial_follower import Progress, TrialFollower, guarded, number
from kdtune.tracking.events import DatasetUse
from kdtune.training.sequence import SequenceConfig, parse_sequence

METRIC_PREFIXES = (
    *("val/", "train/", "weighted/", "test/"),
    *("teacher/", "student/", "companion/", "prune/"),
    *("generation/", "scratch/", "ensemble/", "checkpoint/"),
)
METRIC_NAMES = ("lr", "time/epoch_s", "images_per_s")
"""What is logged of a report; never Ray's own keys, never the configuration."""

TAGGED_PARAMS = ("method", "dataset", "teacher", "student")
MEASURED = {"source": "measured"}
"""Tells runs from the figures of papers, which are ``reported``."""

CLOSE_TIMEOUT_S = 30.0
logger = logging.getLogger(__name__)


class RunSink(Protocol):
    """What a tracking callback writes to; see :class:`kdtune.tracking.MLflowSink`."""

    def start_run(
        self,
        key: str,
        *,
        name: str,
        params: Mapping[str, Scalar],
        tags: Mapping[str, str],
        inputs: Sequence[DatasetUse] = (),
    ) -> None: ...

    def log(self, key: str, *, epoch: int, metrics: Mapping[str, float]) -> None: ...

    def end_run(
        self,
        key: str,
        *,
        outcome: str,
        epoch: int | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None: ...

    def end(self, outcome: str) -> None: ...

    def close(self, timeout_s: float) -> object: ...


@dataclass(frozen=True, kw_only=True)
class RunLabel:
    """How a trial appears: name, ``kind`` and tags of its run, and its line in the display.

    ``title`` is empty where the searched settings say enough.
    """

    name: str
    kind: str
    tags: Mapping[str, str]
    title: str = ""


class TrackingCallback(TrialFollower):
    """Writes each trial to a run of its own: parameters, data, metrics at step = epoch, outcome.

    Args:
        sink: Where to.
        kind: Tag of the runs: ``trial``, ``teacher``, ``finalist`` or ``baseline``.
        base_tags: Tags that all runs share, such as ``space``.
        metric: Whose best value is written once more at the end, as ``best/val_accuracy``.
        mode: ``max`` or ``min``.
        label: Names and tags a run by trial id and configuration, in place of ``kind``.
        last_tags: What a run is tagged with at its end, by trial id.
        ends_search: Whether the search's own run ends with this Tune run. Set it to False if
            more is to come (finalists), and end and close the sink yourself.
    """

    def __init__(
        self,
        sink: RunSink,
        *,
        kind: str = "trial",
        base_tags: Mapping[str, str] | None = None,
        metric: str = "val/accuracy",
        mode: str = "max",
        label: Callable[[str, Mapping[str, Any]], RunLabel] | None = None,
        last_tags: Callable[[str], Mapping[str, str]] | None = None,
        ends_search: bool = True,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._sink = sink
        self._kind = kind
        self._base_tags = dict(base_tags or {})
        self._label = label
        self._last_tags = last_tags
        self._ends_search = ends_search

    def started(self, trial: Trial, progress: Progress) -> None:
        params, inputs = logged(trial.config)
        label = self._label_of(trial, progress.index)
        own = {k: str(params[k]) for k in TAGGED_PARAMS if params.get(k) is not None}
        tags = {**own, **self._base_tags, **label.tags, **MEASURED, "kind": label.kind}
        tags["trial_id"] = trial.trial_id
        self._sink.start_run(
            trial.trial_id, name=label.name, params=params, tags=tags, inputs=inputs
        )

    def _label_of(self, trial: Trial, index: int) -> RunLabel:
        if self._label:
            return self._label(trial.trial_id, trial.config)
        return RunLabel(name=f"{self._kind} {index}", kind=self._kind, tags={"trial": str(index)})

    def reported(self, trial_id: str, result: Mapping[str, Any], progress: Progress) -> None:
        metrics = logged_metrics(result, self.metric)
        self._sink.log(trial_id, epoch=progress.epoch, metrics=metrics)

    def ended(self, trial_id: str, outcome: str, progress: Progress, error: str) -> None:
        metrics: dict[str, float] = {}
        if progress.best is not None:
            name = self.metric.replace("/", "_")
            metrics = {f"best/{name}": progress.best, "best/epoch": progress.best_epoch}
        tags = dict(self._last_tags(trial_id)) if self._last_tags else {}
        if error:
            tags["error"] = error
        self._sink.end_run(
            trial_id, outcome=outcome, epoch=progress.epoch, metrics=metrics, tags=tags
        )

    def concluded(self, *, complete: bool) -> None:
        if self._ends_search:
            self._sink.end("finished" if complete else "stopped")
            report = self._sink.close(CLOSE_TIMEOUT_S)
            if getattr(report, "lost", 0):
                logger.warning("%s", report)


class Stage(Protocol):
    """What a progress callback feeds; see :class:`kdtune.report.progress.Display`."""

    def trial_started(self, trial_id: str, label: str, epochs: int | None) -> None: ...

    def trial_reported(self, trial_id: str, epoch: int, value: float | None) -> None: ...

    def trial_ended(self, trial_id: str, outcome: str, value: float | None) -> None: ...

    def tick(self) -> None: ...


class ProgressCallback(TrialFollower):
    """Feeds the live display with the trials of the stage that it is in.

    A copy made by pickling shows nothing. A search that is resumed shows the trials that ended
    before.

    Args:
        display: Already in its stage.
        metric: Shown for each trial.
        mode: ``max`` or ``min``.
        label: Short text by trial id and configuration; by default the searched axes.
        epochs: How many a trial plans, by its configuration; None where that cannot be told.
    """

    def __init__(
        self,
        display: Stage,
        *,
        metric: str = "val/accuracy",
        mode: str = "max",
        label: Callable[[str, Mapping[str, Any]], str] | None = None,
        epochs: Callable[[Mapping[str, Any]], int | None] | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._display: Stage | None = display
        self._label = label
        self._epochs = epochs
        self._texts: dict[str, tuple[str, int | None]] = {}
        self._over: dict[str, tuple[str, int | None, int, str, float | None]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_display": None, "_label": None, "_epochs": None}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "over": dict(self._over)}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._over = dict(state["over"])
        self._replay()

    @guarded
    def _replay(self) -> None:
        for trial_id, (text, epochs, epoch, outcome, value) in self._over.items():
            if self._display:
                self._display.trial_started(trial_id, text, epochs)
                self._display.trial_reported(trial_id, epoch, value)
                self._display.trial_ended(trial_id, outcome, value)

    def recall(self, trial: LoggedTrial, index: int) -> None:
        """Show a trial of an earlier process as it was left."""
        super().recall(trial, index)
        progress = self.progress_of(trial)
        self._show(trial.trial_id, trial.config, index)
        if trial.reports:
            self.reported(trial.trial_id, trial.reports[-1], progress)
        if trial.end is not None:
            self.ended(trial.trial_id, trial.end.kind, progress, trial.end.error)

    def started(self, trial: Trial, progress: Progress) -> None:
        self._show(trial.trial_id, trial.config, progress.index)

    def _show(self, trial_id: str, config: Mapping[str, Any], index: int) -> None:
        if self._display and trial_id not in self._texts:
            text = self._text(trial_id, config, index)
            epochs = self._epochs(config) if self._epochs else planned_epochs(config)
            self._texts[trial_id] = (text, epochs)
            self._display.trial_started(trial_id, text, epochs)

    def _text(self, trial_id: str, config: Mapping[str, Any], index: int) -> str:
        if self._label:
            return self._label(trial_id, config)
        return f"trial {index}  {describe(config)}"

    def reported(self, trial_id: str, result: Mapping[str, Any], progress: Progress) -> None:
        if self._display:
            self._display.trial_reported(trial_id, progress.epoch, progress.value)

    def ended(self, trial_id: str, outcome: str, progress: Progress, error: str) -> None:
        text, epochs = self._texts.get(trial_id, (trial_id, None))
        self._over[trial_id] = (text, epochs, progress.epoch, outcome, progress.value)
        if self._display:
            self._display.trial_ended(trial_id, outcome, progress.value)

    @guarded
    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        if self._display:
            self._display.tick()


def logged(config: Mapping[str, Any]) -> tuple[dict[str, Scalar], tuple[DatasetUse, ...]]:
    """A trial's parameters in canonical form, and the data it reads.

    Of other trainables the scalars that they have, and no data.
    """
    try:
        params = dict(_parsed(config).flat())
    except ConfigError:
        return {k: v for k, v in config.items() if isinstance(v, str | int | float | bool)}, ()
    return params, inputs_of(params)


def planned_epochs(config: Mapping[str, Any]) -> int | None:
    """How many epochs a trial will run if nothing cuts it; None for other trainables."""
    try:
        parsed = _parsed(config)
        return parsed.epochs if isinstance(parsed, SequenceConfig) else parsed.train.published[-1]
    except ConfigError:
        epochs = config.get("train.epochs")
        return epochs if isinstance(epochs, int) else None


def _parsed(config: Mapping[str, Any]) -> TrialConfig | SequenceConfig:
    return parse_sequence(config) if "chain" in config else parse(config)


def logged_metrics(result: Mapping[str, Any], metric: str) -> dict[str, float]:
    """The numbers of a report that are kdtune's own, and ``metric`` whatever its name."""
    names = (*METRIC_NAMES, metric)
    numbers = {
        key: number(v)
        for key, v in result.items()
        if key in names or key.startswith(METRIC_PREFIXES)
    }
    return {key: value for key, value in numbers.items() if value is not None}
