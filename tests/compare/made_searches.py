"""Searches made by hand: trials with the curves that a test wants."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdtune.contracts import Scalar
from kdtune.tracking import canonical_params
from kdtune.tracking.record import Point, RunRecord, SearchRecord

PLAIN: dict[str, Scalar] = {
    "dataset": "digits",
    "student": "resnet8x0.125",
    "teacher": "resnet8",
    "method": "kd",
    "seed": 0,
    "prune_ratio": 0.0,
}


def run(
    settings: Mapping[str, Scalar] | None = None,
    *,
    metrics: Mapping[str, float | Sequence[float]] | None = None,
    **tags: str,
) -> RunRecord:
    """A run of epochs 1, 2 ... by its metrics; a tag ``kind`` says what it is."""
    history = {}
    for name, values in (metrics or {}).items():
        listed = [values] if isinstance(values, float) else list(values)
        history[name] = [Point(epoch, value, epoch) for epoch, value in enumerate(listed, start=1)]
    params = {**PLAIN, **(settings or {})}
    if params["method"] == "scratch":
        del params["teacher"]
    return RunRecord(
        key=tags.get("trial", ""),
        name=f"{tags.get('kind', 'trial')} {tags.get('trial', '')}".strip(),
        params=canonical_params(params),
        tags={"kind": "trial", "outcome": "finished", **tags},
        history=history,
        started_ms=0,
    )


def trial(number: int, curve: Sequence[float], *, epochs: int, **settings: Any) -> RunRecord:
    """A trial with these accuracies, cut where they end before ``epochs``."""
    named = {key.replace("__", "."): value for key, value in settings.items()}
    outcome = "finished" if len(curve) == epochs else "cut"
    arm = {"space.arm": named.pop("arm")} if "arm" in named else {}
    return run(
        {"train.epochs": epochs, **named},
        metrics={"val/accuracy": curve},
        trial=str(number),
        outcome=outcome,
        **arm,
    )


def search(runs: Sequence[RunRecord], **params: Scalar) -> SearchRecord:
    """A search named ``made``; ``grace_period=2`` is its parameter ``search.grace_period``."""
    return SearchRecord(
        experiment="made",
        tracking_uri="",
        search=RunRecord(
            key="",
            name="made",
            params=canonical_params({f"search.{key}": value for key, value in params.items()}),
            tags={"kind": "search"},
            started_ms=0,
        ),
        runs=runs,
    )
