"""What trials are compared by: metrics, how a person reads them, and which way is better."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from kdtune.registry import nearest
from kdtune.report.settings import MISSING

Mode = Literal["max", "min"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a metric is written.

    Attributes:
        label: What a column or an axis is called.
        mode: Which way is better, if nobody says otherwise.
        unit: Empty for a count and for a number without one.
        scale: What a value is multiplied with to be in ``unit``.
        form: Of a number in that unit, as for :func:`format`.
    """

    label: str
    mode: Mode = "max"
    unit: str = ""
    scale: float = 1.0
    form: str = ".4g"

    @property
    def heading(self) -> str:
        """Label and unit."""
        return f"{self.label} {self.unit}".rstrip()

    def text(self, value: float | None) -> str:
        """A value without its unit."""
        return MISSING if value is None else format(self.scale * value, self.form)

    def quantity(self, value: float | None) -> str:
        """A value with its unit."""
        return f"{self.text(value)} {self.unit}".rstrip()


MEASURES = {
    "val/accuracy": Measure(label="val acc.", unit="%", scale=100, form=".2f"),
    "val/top5": Measure(label="val top 5", unit="%", scale=100, form=".2f"),
    "val/agreement": Measure(label="agreement with teacher", unit="%", scale=100, form=".2f"),
    "val/loss": Measure(label="val loss", mode="min", unit="nats"),
    "train/loss": Measure(label="training loss", mode="min", unit="nats"),
    "student/params": Measure(label="parameters", mode="min", form=",.0f"),
    "student/params_nonzero": Measure(label="non-zero parameters", mode="min", form=",.0f"),
    "student/macs": Measure(label="multiply-adds", mode="min", form=",.0f"),
    "student/latency_ms": Measure(label="latency", mode="min", unit="ms", form=".3g"),
    "time/epoch_s": Measure(label="epoch", mode="min", unit="s", form=".3g"),
    "images_per_s": Measure(label="images per second", form=",.0f"),
}
"""The metrics that every trial reports, bar ``val/agreement`` of one without a teacher."""

ALIASES = {
    "accuracy": "val/accuracy",
    "params": "student/params",
    "params_nonzero": "student/params_nonzero",
    "macs": "student/macs",
    "latency": "student/latency_ms",
}
"""Short names of some of them."""


@dataclass(frozen=True)
class Goal:
    """One objective of a search: a metric, and which way is better."""

    metric: str
    mode: Mode

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise ValueError(f"mode must be 'max' or 'min', got '{self.mode}'")

    @property
    def measure(self) -> Measure:
        """How the metric is written; by its own name if it is none of :data:`MEASURES`."""
        return MEASURES.get(self.metric, Measure(label=self.metric, mode=self.mode))

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """The mode in Optuna's words."""
        return "minimize" if self.mode == "min" else "maximize"

    def cost(self, value: float | None) -> float:
        """For sorting, the best first; what is no finite number comes last."""
        if value is None or not math.isfinite(value):
            return math.inf
        return value if self.mode == "min" else -value

    def best(self, values: Iterable[float]) -> float:
        """The best of at least one value."""
        return min(values, key=self.cost)

    def __str__(self) -> str:
        return f"{self.metric}:{self.mode}"


ACCURACY = Goal("val/accuracy", "max")
"""What a search is after unless told otherwise."""


def goal_of(text: str) -> Goal:
    """``student/params:min``, ``params:min`` or ``params`` as a goal.

    Raises:
        ValueError: If no trial reports such a metric, or the mode is unknown.
    """
    name, _, mode = text.partition(":")
    metric = ALIASES.get(name, name)
    if metric not in MEASURES:
        raise ValueError(f"unknown objective '{name}'{nearest(name, [*MEASURES, *ALIASES])}")
    if mode not in ("", "max", "min"):
        raise ValueError(f"an objective is METRIC:max or METRIC:min, got '{text}'")
    return Goal(metric, mode or MEASURES[metric].mode)  # type: ignore[arg-type]


def check_goals(goals: Sequence[Goal]) -> None:
    """Whether a search can go for ``goals``.

    Raises:
        ValueError: If there is none, one is given twice, or no trial reports a metric.
    """
    if not goals:
        raise ValueError("a search needs at least one objective, got none")
    for place, goal in enumerate(goals):
        goal_of(str(goal))
        if goal.metric in [other.metric for other in goals[:place]]:
            raise ValueError(f"each objective is given once, got '{goal.metric}' twice")
