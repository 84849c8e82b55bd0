"""One axis of a search space, in the words of Tune, of Optuna, of numpy and of a reader.

Ray and Optuna are imported where they are asked for: a space can be listed and drawn without them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kdtune.contracts import Scalar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial
    from ray.tune.search.sample import Domain


class Dimension(Protocol):
    """What every kind of axis can do; all are frozen and validated when built."""

    @property
    def kind(self) -> str:
        """``choice``, ``int`` or ``float``, with ``log`` before it on a logarithmic scale."""

    def text(self) -> str:
        """The range as a reader wants it: ``{0.0, 0.1}`` or ``1.0 .. 16.0``."""

    def contains(self, value: object) -> bool:
        """Whether ``value`` may be run on this axis."""

    def clean(self, value: Scalar) -> Scalar:
        """A contained ``value`` in the axis's own type: 4 on a float axis is 4.0."""

    def values(self) -> tuple[Scalar, ...] | None:
        """All values of a finite axis; None for a continuous one."""

    def grid(self, levels: int) -> tuple[Scalar, ...]:
        """At most ``levels`` values spread over the range, ends included; all of a choice."""

    def draw(self, rng: np.random.Generator) -> Scalar:
        """One value, uniform on the axis's scale."""

    def tune(self) -> "Domain":
        """The Ray Tune domain."""

    def optuna(self) -> "BaseDistribution":
        """The Optuna distribution."""

    def suggest(self, key: str, trial: "BaseTrial") -> Scalar:
        """The value that ``trial`` takes on this axis under the name ``key``."""


@dataclass(frozen=True)
class Choice:
    """One of a finite set of JSON scalars, without an order.

    Raises:
        ValueError: If there is no value, a value twice, or one that is no JSON scalar.
    """

    options: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise ValueError("a choice needs at least one value, got ()")
        for position, value in enumerate(self.options):
            if not _is_scalar(value):
                raise ValueError(f"a choice holds finite JSON scalars, got {value!r}")
            if value in self.options[:position]:
                raise ValueError(f"a choice holds each value once, got {value!r} twice")

    @property
    def kind(self) -> str:
        return "choice"

    def text(self) -> str:
        return "{" + ", ".join(map(_written, self.options)) + "}"

    def contains(self, value: object) -> bool:
        return any(_same(value, option) for option in self.options)

    def clean(self, value: Scalar) -> Scalar:
        return next(option for option in self.options if _same(value, option))

    def values(self) -> tuple[Scalar, ...]:
        return self.options

    def grid(self, levels: int) -> tuple[Scalar, ...]:
        return self.options

    def draw(self, rng: np.random.Generator) -> Scalar:
        return self.options[int(rng.integers(len(self.options)))]

    def tune(self) -> "Domain":
        from ray import tune

        domain: Domain = tune.choice(list(self.options))
        return domain

    def optuna(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.options)

    def suggest(self, key: str, trial: "BaseTrial") -> Scalar:
        return trial.suggest_categorical(key, self.options)


@dataclass(frozen=True)
class Int:
    """A whole number from ``low`` to ``high``, both included.

    Raises:
        ValueError: Unless ``low < high``, and ``low > 0`` on a logarithmic scale.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for end in (self.low, self.high):
            if isinstance(end, bool) or not isinstance(end, int):
                raise ValueError(f"the ends of a whole-number axis must be int, got {end!r}")
        _check_ends(self.low, self.high, self.log)

    @property
    def kind(self) -> str:
        return "log int" if self.log else "int"

    def text(self) -> str:
        return f"{self.low} .. {self.high}"

    def contains(self, value: object) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high  # type: ignore[operator]

    def clean(self, value: Scalar) -> Scalar:
        return value

    def values(self) -> tuple[Scalar, ...]:
        return tuple(range(self.low, self.high + 1))

    def grid(self, levels: int) -> tuple[Scalar, ...]:
        spread = _spread(self.low, self.high, self.log, min(levels, self.high - self.low + 1))
        return tuple(sorted({round(value) for value in spread}))

    def draw(self, rng: np.random.Generator) -> Scalar:
        if not self.log:
            return int(rng.integers(self.low, self.high + 1))
        value = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return min(max(round(value), self.low), self.high)

    def tune(self) -> "Domain":
        from ray import tune

        draw = tune.lograndint if self.log else tune.randint
        domain: Domain = draw(self.low, self.high + 1)
        return domain

    def optuna(self) -> "BaseDistribution":
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)

    def suggest(self, key: str, trial: "BaseTrial") -> Scalar:
        return trial.suggest_int(key, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Float:
    """A real number from ``low`` to ``high``.

    Raises:
        ValueError: Unless both are finite and ``low < high``, and ``low > 0`` on a logarithmic
            scale.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        _check_ends(self.low, self.high, self.log)

    @property
    def kind(self) -> str:
        return "log float" if self.log else "float"

    def text(self) -> str:
        return f"{self.low} .. {self.high}"

    def contains(self, value: object) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high  # type: ignore[operator]

    def clean(self, value: Scalar) -> Scalar:
        assert value is not None
        return float(value)

    def values(self) -> None:
        return None

    def grid(self, levels: int) -> tuple[Scalar, ...]:
        return _spread(self.low, self.high, self.log, levels)

    def draw(self, rng: np.random.Generator) -> Scalar:
        if not self.log:
            return float(rng.uniform(self.low, self.high))
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(value, self.low), self.high)

    def tune(self) -> "Domain":
        from ray import tune

        draw = tune.loguniform if self.log else tune.uniform
        domain: Domain = draw(self.low, self.high)
        return domain

    def optuna(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def suggest(self, key: str, trial: "BaseTrial") -> Scalar:
        return trial.suggest_float(key, self.low, self.high, log=self.log)


def scalars(values: Mapping[str, object]) -> dict[str, Scalar]:
    """A flat mapping as JSON scalars; numpy scalars become Python's.

    Raises:
        ValueError: On a value that is neither.
    """
    flat: dict[str, Scalar] = {}
    for key, value in values.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if not _is_scalar(plain):
            raise ValueError(f"'{key}' must be a finite JSON scalar, got {value!r}")
        flat[key] = plain  # type: ignore[assignment]
    return flat


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _written(value: Scalar) -> str:
    """A value in a list; quoted if it holds a comma of its own."""
    return f"'{value}'" if isinstance(value, str) and "," in value else str(value)


def _same(value: object, option: Scalar) -> bool:
    return value == option and isinstance(value, bool) == isinstance(option, bool)


def _check_ends(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"an axis needs finite low < high, got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic axis needs low > 0, got {low}")


def _spread(low: float, high: float, log: bool, levels: int) -> tuple[float, ...]:
    if levels < 1:
        raise ValueError(f"a grid needs at least 1 level, got {levels}")
    if levels == 1:
        return (math.sqrt(low * high) if log else (low + high) / 2,)
    space = np.geomspace if log else np.linspace
    inner = space(low, high, levels)[1:-1].tolist()
    return (low, *inner, high)
