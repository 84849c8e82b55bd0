"""Ray Tune's hooks, told to the tracking sink and to the live display.

Tune calls its hooks in the driver's loop, and one exception in one of them ends the whole search;
so a hook here does a few dictionary operations, and whatever goes wrong in it is logged once.
"""

import functools
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ray.tune import Callback
from ray.tune.experiment import Trial

from kdtune.config import ConfigError, parse
from kdtune.contracts import Scalar

METRIC_PREFIXES = ("val/", "train/", "test/", "teacher/", "prune/")
METRIC_NAMES = ("lr", "time/epoch_s", "images_per_s")
"""What is logged of a report; never Ray's own keys, never the configuration."""

ERROR_CHARACTERS = 2000
FLUSH_TIMEOUT_S = 30.0
logger = logging.getLogger(__name__)

C = TypeVar("C", bound="GuardedCallback")
P = ParamSpec("P")


def guarded(hook: Callable[Concatenate[C, P], None]) -> Callable[Concatenate[C, P], None]:
    """A hook that never raises: its first failure is logged, later ones are not."""

    @functools.wraps(hook)
    def safe(self: C, /, *args: P.args, **info: P.kwargs) -> None:
        try:
            hook(self, *args, **info)
        except Exception:  # One misbehaving hook would end the search for all trials.
            if not self.complained:
                self.complained = True
                logger.exception("%s.%s failed", type(self).__name__, hook.__name__)

    return safe


class GuardedCallback(Callback):  # type: ignore[misc]
    """Base of callbacks whose hooks are all :func:`guarded`."""

    complained = False


@dataclass(kw_only=True)
class Progress:
    """What the reports of one trial said so far.

    Attributes:
        epoch: The last one reported, from 1.
        value: The metric there; None if the report had none.
        best: Best finite value of the metric.
        best_epoch: Where that was.
        ended: Whether a report said that it was the last planned one.
        diverged: Whether a report said that the loss was no longer a number.
    """

    epoch: int = 0
    value: float | None = None
    best: float | None = None
    best_epoch: int = 0
    ended: bool = False
    diverged: bool = False

    def read(self, result: Mapping[str, Any], metric: str, mode: str) -> bool:
        """Take one report; False if it repeats an epoch, as a retried trial does."""
        epoch = int(result["training_iteration"])
        repeated = epoch <= self.epoch
        self.epoch = epoch
        # A trainable that says nothing of its plan is taken to have ended as planned.
        self.ended = bool(result.get("finished", True))
        self.diverged = bool(result.get("diverged", False))
        value = result.get(metric)
        self.value = float(value) if _is_number(value) else None
        if self.value is not None and math.isfinite(self.value):
            sign = -1 if mode == "min" else 1
            if self.best is None or sign * self.value > sign * self.best:
                self.best, self.best_epoch = self.value, epoch
        return not repeated

    @property
    def outcome(self) -> str:
        """How a trial that ended without an error ended."""
        if self.diverged:
            return "diverged"
        return "finished" if self.ended else "cut"


@dataclass(frozen=True, kw_only=True)
class RunLabel:
    """How a trial appears in MLflow: its run's name, its ``kind``, and tags of its own."""

    name: str
    kind: str
    tags: Mapping[str, str]


class RunSink(Protocol):
    """What a tracking callback writes to; see :class:`kdtune.tracking.MLflowSink`."""

    def start_run(
        self, key: str, *, name: str, params: Mapping[str, Scalar], tags: Mapping[str, str]
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

    def end(
        self,
        outcome: str,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None: ...

    def flush(self, timeout_s: float) -> bool: ...

    def close(self, timeout_s: float) -> object: ...


class TrackingCallback(GuardedCallback):
    """Writes each trial to a run of its own: parameters, metrics at step = epoch, outcome.

    Args:
        sink: Where to.
        kind: Tag of the runs: ``trial``, ``teacher``, ``finalist`` or ``baseline``.
        base_tags: Tags that all runs share, such as ``space``.
        metric: Whose best value is written once more at the end, as ``best/val_accuracy``.
        mode: ``max`` or ``min``.
        label: Names and tags a run by trial id and configuration, in place of ``kind``.
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
        ends_search: bool = True,
    ) -> None:
        self.sink = sink
        self.kind = kind
        self.base_tags = dict(base_tags or {})
        self.metric = metric
        self.mode = mode
        self.label = label
        self.ends_search = ends_search
        self._open: dict[str, Progress] = {}

    def get_state(self) -> dict[str, Any]:
        return {"open": {key: asdict(progress) for key, progress in self._open.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        # Tune calls this before setup(), so setup() must not start from nothing.
        self._open = {key: Progress(**values) for key, values in state["open"].items()}

    @guarded
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._open.setdefault(trial.trial_id, Progress())
        params = logged_params(trial.config)
        label = self._label_of(trial, trials.index(trial))
        own = {key: str(params[key]) for key in ("method", "dataset", "teacher", "student")
               if params.get(key) is not None}
        tags = {**own, **self.base_tags, **label.tags, "kind": label.kind}
        self.sink.start_run(
            trial.trial_id, name=label.name, params=params, tags={**tags, "trial_id": trial.trial_id}
        )

    def _label_of(self, trial: Trial, index: int) -> RunLabel:
        if self.label:
            return self.label(trial.trial_id, trial.config)
        return RunLabel(name=f"{self.kind} {index}", kind=self.kind, tags={"trial": str(index)})

    @guarded
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        progress = self._open.setdefault(trial.trial_id, Progress())
        if progress.read(result, self.metric, self.mode):
            metrics = logged_metrics(result, self.metric)
            self.sink.log(trial.trial_id, epoch=progress.epoch, metrics=metrics)

    @guarded
    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        if trial.trial_id in self._open:
            self._end(trial.trial_id, self._open[trial.trial_id].outcome)

    @guarded
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        if trial.trial_id in self._open:
            self._end(trial.trial_id, "failed", {"error": error_text(trial)})

    @guarded
    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:
        stopped = list(self._open)
        for trial_id in stopped:
            self._end(trial_id, "stopped")
        if not self.ends_search:
            return
        self.sink.end("stopped" if stopped else "finished")
        report = self.sink.close(FLUSH_TIMEOUT_S)
        if getattr(report, "lost", 0):
            logger.warning("%s", report)

    def _end(
        self, trial_id: str, outcome: str, tags: Mapping[str, str] | None = None
    ) -> None:
        progress = self._open.pop(trial_id)
        metrics: dict[str, float] = {}
        if progress.best is not None:
            name = self.metric.replace("/", "_")
            metrics = {f"best/{name}": progress.best, "best/epoch": progress.best_epoch}
        self.sink.end_run(
            trial_id, outcome=outcome, epoch=progress.epoch, metrics=metrics, tags=tags
        )


class Stage(Protocol):
    """What a progress callback feeds; see :class:`kdtune.report.progress.Display`."""

    def trial_started(self, trial_id: str, label: str, epochs: int | None) -> None: ...

    def trial_reported(self, trial_id: str, epoch: int, value: float | None) -> None: ...

    def trial_ended(self, trial_id: str, outcome: str, value: float | None) -> None: ...

    def tick(self) -> None: ...


class ProgressCallback(GuardedCallback):
    """Feeds the live display. A copy made by pickling shows nothing.

    Args:
        display: In the stage that this Tune run is.
        describe: Short text of a configuration.
        metric: Shown for each trial.
        mode: ``max`` or ``min``.
        epochs: How many a trial plans, from its configuration; None if it cannot be told.
    """

    def __init__(
        self,
        display: Stage,
        *,
        describe: Callable[[Mapping[str, Any]], str],
        metric: str = "val/accuracy",
        mode: str = "max",
        epochs: Callable[[Mapping[str, Any]], int | None] | None = None,
    ) -> None:
        self._display: Stage | None = display
        self._describe = describe
        self._epochs = epochs or _planned_epochs
        self.metric = metric
        self.mode = mode
        self._seen: dict[str, Progress] = {}
