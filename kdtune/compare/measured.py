"""What was measured: runs of one configuration with several seeds become one result."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kdtune.compare.result import Result
from kdtune.config import ConfigError, decode
from kdtune.contracts import Scalar
from kdtune.tracking.record import RunRecord

KINDS = ("finalist", "baseline", "finetune", "sequence", "reproduction")
"""Runs that were trained to be tested. A trial is one seed and may have been cut: not counted."""

OF_THE_MACHINE = {
    *("role", "teacher.store", "data.root", "data.image_column", "data.label_column"),
    *("train.threads", "train.device"),
    *("teacher.signals", "teacher.signals_gb", "train.precision"),
}
"""Where and how fast a run was made, and where its files lie: no part of what was run.

Whatever is tested was trained in float32 beside a running teacher.
"""

OF_SCHEDULES: Mapping[str, tuple[str, ...]] = {
    "train.milestones": ("step",),
    "train.lr_factor": ("step", "early_stop"),
    "train.first_cycle": ("cosine_restarts",),
    "train.cycle_factor": ("cosine_restarts",),
}
"""Settings that only some schedules read; another run's value of them makes no difference."""

CHOICES = ("method", "augment", "teacher.augment")
VALIDATION = "val/accuracy"
BETTER = {
    True: ("accuracy", "top5", "agreement", "images_per_s"),
    False: ("loss", "params", "params_nonzero", "macs", "latency_ms", "epoch_s", "error"),
}


def measured_results(runs: Iterable[RunRecord], metric: str = "test/accuracy") -> list[Result]:
    """One result for each configuration, in the order in which they were first run.

    Runs differ in configuration if they differ in any parameter but the seed and the machine's. A
    seed that was run twice counts once, with its latest value. A configuration of which no run has
    the metric has ``n = 0`` and a mean that is not a number: it was tried, and that is said.

    Args:
        runs: Of any kind and source; those that are not of :data:`KINDS`, parents of others and
            printed figures that were imported as runs are passed over; so is a kind of run that
            never has the metric.
        metric: Canonical name; its latest value counts.
    """
    own = [run for run in runs if run.kind in KINDS and run.key and not _printed(run)]
    kinds = {run.kind for run in own if _finite(run.value(metric))}
    groups: dict[frozenset[tuple[str, str]], list[RunRecord]] = {}
    for run in own:
        if run.kind in kinds:
            groups.setdefault(_configuration(run), []).append(run)
    several = len({run.tags.get("search") for group in groups.values() for run in group}) > 1
    return [_result(group, metric, several=several) for group in groups.values()]


def _printed(run: RunRecord) -> bool:
    return run.tags.get("source") == "reported"


def higher_is_better(metric: str) -> bool | None:
    """Which way a metric is better, by its name; None where the name does not say."""
    name = metric.rpartition("/")[2]
    return next((better for better, names in BETTER.items() if name.endswith(names)), None)


def short_name(dataset: str) -> str:
    """``parquet:/data/cifar10`` -> ``cifar10``: what it is, not where it lies."""
    return dataset.rpartition(":")[2].rstrip("/").rpartition("/")[2] or dataset


def typed(texts: Mapping[str, str]) -> dict[str, Scalar]:
    """A run's parameters as typed values; what kdtune has no such key for stays a text."""
    try:
        return decode(texts)
    except ConfigError:
        # Chains, fine-tunings and runs of older versions have keys of their own.
        return {key: _typed_alone(key, texts) for key in texts}


def _typed_alone(key: str, texts: Mapping[str, str]) -> Scalar:
    choices = {choice: texts[choice] for choice in CHOICES if choice in texts}
    try:
        return decode({**choices, key: texts[key]})[key]
    except ConfigError:
        return texts[key]


def _configuration(run: RunRecord) -> frozenset[tuple[str, str]]:
    schedule = run.params.get("train.schedule", "")
    idle = {key for key, schedules in OF_SCHEDULES.items() if schedule not in schedules}
    passed_over = {"seed", *OF_THE_MACHINE, *(idle if schedule else ())}
    return frozenset((k, v) for k, v in run.params.items() if k not in passed_over)


def _seed(run: RunRecord) -> int:
    text = run.params.get("seed", "0")
    return int(text) if text.isdecimal() else 0


class _Scores(NamedTuple):
    values: dict[int, float]
    counted: list[RunRecord]
    repeated: int


def _scores(runs: Sequence[RunRecord], metric: str) -> _Scores:
    """The latest value of each seed; a run that is still going has none."""
    latest: dict[int, RunRecord] = {}
    valued = [run for run in runs if _finite(run.value(metric))]
    for run in sorted(valued, key=lambda run: run.started_ms):
        latest[_seed(run)] = run
    counted = [latest[seed] for seed in sorted(latest)]
    values = {_seed(run): float(run.value(metric) or 0.0) for run in counted}
    return _Scores(values, counted, len(valued) - len(counted))


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _result(runs: Sequence[RunRecord], metric: str, *, several: bool) -> Result:
    values, counted, repeated = _scores(runs, metric)
    first = runs[0]
    settings = typed(dict(_configuration(first)))
    settings["dataset"] = short_name(str(settings.get("dataset", "")))
    numbers = list(values.values())
    notes = [f"{repeated} of its runs repeat a seed: the latest counts"] if repeated else []
    return Result(
        source="measured",
        settings=dict(sorted(settings.items())),
        metric=metric,
        mean=statistics.fmean(numbers) if numbers else math.nan,
        std=statistics.stdev(numbers) if len(numbers) > 1 else None,
        n=len(numbers),
        higher_is_better=higher_is_better(metric),
        values=values,
        paper=first.tags.get("paper", ""),
        label=_label(first, several=several),
        # The cells of a reproduced table are given: nobody chose among them.
        selection="" if first.kind == "reproduction" else "validation",
        note="; ".join(notes),
        validation=None if settings.get("train.on") == "train+val" else _validation(counted),
        outcomes=dict(Counter(run.outcome or "running" for run in runs)),
        run_ids=tuple(run.run_id for run in counted),
    )


def _validation(runs: Sequence[RunRecord]) -> float | None:
    found = [value for run in runs if (value := run.value(VALIDATION)) is not None]
    return statistics.fmean(found) if found and len(found) == len(runs) else None


def _label(run: RunRecord, *, several: bool) -> str:
    """The arm, and its search where runs of several are compared."""
    arm = run.tags.get("arm") or run.kind
    search = run.tags.get("search", "")
    return f"{arm} of {search}" if several and search else arm
