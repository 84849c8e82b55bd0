"""Results and runs made by hand, with little to type."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kdtune.compare import Result
from kdtune.contracts import Scalar
from kdtune.tracking.record import Point, RunRecord

PAIR: dict[str, Scalar] = {"dataset": "cifar10", "teacher": "wrn_40_2", "student": "wrn_16_2"}


def measured(method: str, values: Sequence[float] | Mapping[int, float], **more: Any) -> Result:
    """Of seeds 1, 2 ... unless a mapping says which; settings as ``train__epochs=240``."""
    by_seed = dict(values) if isinstance(values, Mapping) else dict(enumerate(values, start=1))
    numbers = list(by_seed.values())
    return Result(
        source="measured",
        settings=_settings(method, more),
        metric=more.pop("metric", "test/accuracy"),
        mean=statistics.fmean(numbers) if numbers else float("nan"),
        std=statistics.stdev(numbers) if len(numbers) > 1 else None,
        n=len(numbers),
        values=by_seed,
        selection="validation",
        **_fields(more),
    )


def printed(method: str, mean: float, std: float | None = None, **more: Any) -> Result:
    """A figure of ``sarfraz2020``'s table T3, unless something else is given."""
    return Result(
        source="reported",
        settings=_settings(method, more),
        metric=more.pop("metric", "test/accuracy"),
        mean=mean,
        std=std,
        **{"paper": "sarfraz2020", "table": "T3", "n": 5, **_fields(more)},
    )


def _settings(method: str, more: Mapping[str, Any]) -> dict[str, Scalar]:
    own = {k.replace("__", "."): v for k, v in more.items() if k not in Result.__annotations__}
    networks = {**PAIR, **own}
    if method == "scratch":
        del networks["teacher"]
    return {**networks, "method": method}


def _fields(more: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in more.items() if key in Result.__annotations__}


def run(
    *, kind: str = "finalist", outcome: str = "finished", started: int = 0, **more: Any
) -> RunRecord:
    """A run with a test ``accuracy`` and a ``val`` of validation; all else is a parameter."""
    scores = {"test/accuracy": more.pop("accuracy", None), "val/accuracy": more.pop("val", None)}
    tags = {"kind": kind, "outcome": outcome, **more.pop("tags", {})}
    params = {
        **{"dataset": "parquet:/somewhere/cifar10", "method": "kd", "seed": "1"},
        **{"teacher": "wrn_40_2", "student": "wrn_16_2", "temperature": "4.0"},
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    return RunRecord(
        key=str(started),
        name="run",
        params=params,
        tags={"source": "measured", **tags},
        history={name: [Point(1, v, 0)] for name, v in scores.items() if v is not None},
        started_ms=started,
        run_id=f"id-{started}",
    )
