"""Whether factors act on each other as the papers claim, as far as runs can tell."""

import itertools
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from kdtune.compare.claims import CLAIMS, Claim, Contrast, Level, Settings
from kdtune.compare.levels import Levels, level_name, levels_of, one_sided
from kdtune.compare.measured import OF_THE_MACHINE
from kdtune.compare.trials import ACCURACY, NO_AXES, Objective, settings_of
from kdtune.contracts import Scalar
from kdtune.tracking.record import RunRecord

CONFIDENCE = 0.95
CONTEXT = (
    *("dataset", "student", "teacher", "method", "train.epochs", "train.on"),
    *("data.label_noise", "data.imbalance", "data.train_limit", "data.val_fraction"),
)
"""What runs must share to be compared, unless it is a factor."""

KINDS = ("finalist", "baseline", "reproduction")
"""Runs that are tested and start from nothing, as trials do."""

TESTED = Objective(metric="test/accuracy", higher_is_better=True)
AGREES, DISAGREES, OPEN = "as claimed", "against the claim", "undecided"


class Cell(NamedTuple):
    """The runs at one level of each factor.

    Attributes:
        levels: As people read them, in the order of the factors.
        mean, std: Of the values; the deviation is not a number for a single one.
        n: How many values: runs, or configurations, see :class:`Interaction`.
        half: Half the width of the 95 % t interval of the mean; not a number for a single value.
    """

    levels: tuple[str, ...]
    mean: float
    std: float
    n: int
    half: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One contrast.

    Attributes:
        contrast: What was asked.
        value: In the unit of the metric, higher being better.
        low, high: Its 95 % interval, by Welch's t over the cells.
        verdict: :data:`AGREES` or :data:`DISAGREES` where the interval leaves 0 out, else
            :data:`OPEN`.
        sides: What was compared: the low and the high levels of each factor.
    """

    contrast: Contrast
    value: float
    low: float
    high: float
    verdict: str
    sides: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """What runs of one dataset and student say about one claim.

    Attributes:
        claim: Which.
        metric: What was compared.
        context: What all runs share: dataset, student ...
        controlled: Whether the runs differ in the factors and the seed alone. Then each run is a
            value; else each configuration is, other settings vary beside the factors, as whoever
            drew them chose, and a difference may be theirs.
        beside: Those other settings.
        runs: How many.
        cells: Levels that there are, in rising order.
        estimates: The contrasts that can be told.
        binned: Factors whose numbers were put into bins of about as many runs each.
        missing: Sentences: which runs there would have to be.
        commands: What would make them.
    """

    claim: Claim
    metric: str = ""
    context: Mapping[str, Scalar] = field(default_factory=dict)
    controlled: bool = False
    beside: tuple[str, ...] = ()
    runs: int = 0
    cells: tuple[Cell, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    binned: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class _Run(NamedTuple):
    """A run: its settings, its value (higher is better), its level of each factor of a claim."""

    settings: Settings
    value: float
    dataset: str
    levels: tuple[Level, ...] = ()


def interactions(
    runs: Iterable[RunRecord],
    *,
    objective: Objective = ACCURACY,
    sizes: Mapping[str, int] | None = None,
) -> list[Interaction]:
    """What the runs say about each claim: one entry for every dataset and student that can tell.

    Runs that were tested come first; where they cannot tell, finished trials by their objective.
    A claim that no runs can tell has one entry without estimates, which says what is missing.

    Args:
        runs: Of one search or several; the same run twice counts once.
        objective: What trials are compared by.
        sizes: Parameters of networks by name, for those that no run among ``runs`` has as student.
    """
    runs = list(runs)
    known = {**(sizes or {}), **_sizes(runs)}
    tested = [run for run in runs if run.kind in KINDS]
    tried = [run for run in runs if run.kind == "trial" and run.outcome == "finished"]
    pools = [(goal, _values(own, goal)) for goal, own in ((TESTED, tested), (objective, tried))]
    found: list[Interaction] = []
    for claim in CLAIMS:
        told = [each for goal, pool in pools for each in _told(claim, goal, pool, known)]
        sure = [each for each in told if each.estimates]
        # What was tested does not mix with what was validated.
        found += [each for each in sure if each.metric == sure[0].metric]
        if not sure:
            blank = Interaction(claim=claim, missing=("finished runs",))
            found.append(max(told, key=lambda each: each.runs, default=blank))
    return found


def _sizes(runs: Iterable[RunRecord]) -> dict[str, int]:
    """Parameters of the networks that some run trained whole."""
    whole = [run for run in runs if run.params.get("prune_ratio", "0.0") in ("0", "0.0")]
    return {
        run.params["student"]: int(params)
        for run in whole
        if "student" in run.params and (params := run.value("student/params"))
    }


def _values(runs: Sequence[RunRecord], objective: Objective) -> list[_Run]:
    """Each configuration and seed once, with the latest of its values."""
    latest: dict[str, _Run] = {}
    for run in runs:
        value = run.value(objective.metric)
        if value is None or not math.isfinite(value) or run.tags.get("source") == "reported":
            continue
        settings = settings_of(run)
        own = {key: text for key, text in settings.items() if key not in OF_THE_MACHINE}
        dataset = run.params.get("dataset", "")
        latest[repr(sorted(own.items()))] = _Run(settings, objective.sign * value, dataset)
    return list(latest.values())


def _told(
    claim: Claim, goal: Objective, pool: Sequence[_Run], sizes: Mapping[str, int]
) -> list[Interaction]:
    """One entry for each context, the ones with most runs first."""
    owned = [key for factor in claim.factors for key in factor.owns]
    keys = [key for key in CONTEXT if key not in owned]
    found = []
    for context, runs in _contexts(pool, keys):
        taking = [
            run._replace(levels=levels)
            for run in runs
            if None not in (levels := tuple(f.level(run.settings, sizes) for f in claim.factors))
        ]
        told = Interaction(claim=claim, metric=goal.metric, context=context, runs=len(taking))
        found.append(_judged(told, taking, goal) if taking else _untold(told, runs, sizes))
    return sorted(found, key=lambda each: -each.runs)


def _untold(told: Interaction, runs: Sequence[_Run], sizes: Mapping[str, int]) -> Interaction:
    """No run has a level of every factor."""
    names = [
        factor.name
        for factor in told.claim.factors
        if all(factor.level(run.settings, sizes) is None for run in runs)
    ]
    missing = f"runs that tell their {' and '.join(names) or 'levels of all factors'}"
    return replace(told, missing=(missing,), commands=_commands(told.claim, runs))


def _contexts(
    pool: Sequence[_Run], keys: Sequence[str]
) -> Iterator[tuple[dict[str, Scalar], list[_Run]]]:
    """Runs that share ``keys``; one without a teacher goes with those of every teacher."""
    taught = [run for run in pool if "teacher" in run.settings] or pool
    contexts = {repr(own): own for run in taught for own in [_part(run, keys)]}
    for context in contexts.values():
        alone = {key: value for key, value in context.items() if key != "teacher"}
        yield context, [run for run in pool if _part(run, keys) in (context, alone)]


def _part(run: _Run, keys: Sequence[str]) -> dict[str, Scalar]:
    return {key: run.settings[key] for key in keys if key in run.settings}


def _judged(told: Interaction, runs: Sequence[_Run], goal: Objective) -> Interaction:
    claim = told.claim
    columns = [
        levels_of(factor, [run.levels[place] for run in runs])
        for place, factor in enumerate(claim.factors)
    ]
    beside = _beside(claim, runs, columns)
    cells: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for place, run in enumerate(runs):
        own = cells.setdefault(tuple(column.of[place] for column in columns), {})
        own.setdefault(str(place) if not beside else _configuration(run), []).append(run.value)
    values = {
        levels: np.array([np.mean(cells[levels][unit]) for unit in cells[levels]])
        for levels in itertools.product(*(column.order for column in columns))
        if levels in cells
    }
    unit = "configurations" if beside else "runs"
    judged = [_estimate(each, claim, columns, values, unit=unit) for each in claim.contrasts]
    missing = list(dict.fromkeys(each for each in judged if isinstance(each, str)))
    return replace(
        told,
        controlled=not beside,
        beside=tuple(beside),
        cells=tuple(_cell(levels, goal.sign * own) for levels, own in values.items()),
        estimates=tuple(each for each in judged if isinstance(each, Estimate)),
        binned=tuple(f.name for f, c in zip(claim.factors, columns, strict=True) if c.binned),
        missing=tuple(missing),
        commands=_commands(claim, runs) if missing else (),
    )


def _beside(claim: Claim, runs: Sequence[_Run], columns: Sequence[Levels]) -> list[str]:
    """Settings in which runs differ beside the factors and the seed.

    One that a factor brings along counts where it differs between runs of the same levels.
    """
    owned = tuple(key for factor in claim.factors for key in factor.owns)
    binned = {f.owns[0] for f, c in zip(claim.factors, columns, strict=True) if c.binned}
    places = list(zip(*(column.of for column in columns), strict=True))
    found = []
    for key in sorted({key for run in runs for key in run.settings} - NO_AXES - binned):
        own = key in owned or key.startswith(tuple(each for each in owned if each[-1] == "."))
        values: dict[object, set[Scalar]] = {}
        for place, run in zip(places, runs, strict=True):
            if key in run.settings:
                values.setdefault(place if own else None, set()).add(run.settings[key])
        if any(len(each) > 1 for each in values.values()):
            found.append(key)
    return found


def _configuration(run: _Run) -> str:
    return repr(sorted((key, v) for key, v in run.settings.items() if key not in NO_AXES))


def _cell(levels: tuple[str, ...], values: np.ndarray) -> Cell:
    n, std = len(values), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n) if n > 1 else std
    return Cell(levels, float(values.mean()), std, n, half)


def _estimate(
    contrast: Contrast,
    claim: Claim,
    columns: Sequence[Levels],
    values: Mapping[tuple[str, ...], np.ndarray],
    *,
    unit: str,
) -> Estimate | str:
    """The contrast with its interval; or a sentence on what is missing for it."""
    sides: list[list[tuple[int, tuple[str, ...]]]] = []
    for factor, column in zip(claim.factors, columns, strict=True):
        asked = factor.name in (*contrast.of, *contrast.at)
        # A side that has a name is known for what it is without the other one.
        alone = bool(factor.low) and factor.name in contrast.at
        if asked and not (column.high and (column.low or alone)):
            return one_sided(factor, column)
        low, high = (-1, column.low), (1, column.high)
        every = (1, tuple(column.order))
        sides.append([low, high] if factor.name in contrast.of else [high] if asked else [every])
    known = {levels: own for levels, own in values.items() if len(own) > 1}
    weights: dict[tuple[str, ...], float] = {}
    for corner in itertools.product(*_complete(sides, known)):
        sign = math.prod(each for each, _ in corner)
        own = [
            cell for cell in itertools.product(*(levels for _, levels in corner)) if cell in known
        ]
        if not own:
            names = [" or ".join(levels) for _, levels in corner]
            return f"at least two {unit} with {_with(claim, names)}"
        for cell in own:
            weights[cell] = weights.get(cell, 0.0) + sign / len(own)
    value, low_end, high_end = _interval(weights, known)
    # Values that are all alike have no spread to judge by.
    sure = low_end < high_end and (low_end > 0 or high_end < 0)
    verdict = AGREES if sure and value * contrast.expected > 0 else DISAGREES if sure else OPEN
    return Estimate(
        contrast=contrast,
        value=value,
        low=low_end,
        high=high_end,
        verdict=verdict,
        sides={
            factor.name: (column.low, column.high)
            for factor, column in zip(claim.factors, columns, strict=True)
            if factor.name in (*contrast.of, *contrast.at)
        },
    )


def _with(claim: Claim, names: Sequence[str]) -> str:
    return ", ".join(level_name(f, name) for f, name in zip(claim.factors, names, strict=True))


def _complete(
    sides: Sequence[Sequence[tuple[int, tuple[str, ...]]]],
    known: Mapping[tuple[str, ...], np.ndarray],
) -> list[list[tuple[int, tuple[str, ...]]]]:
    """The sides with those levels alone that were run on every side of the other factors."""

    def everywhere(place: int, level: str) -> bool:
        others = [each if p != place else [(1, (level,))] for p, each in enumerate(sides)]
        return all(
            any(cell in known for cell in itertools.product(*(levels for _, levels in corner)))
            for corner in itertools.product(*others)
        )

    return [
        [
            (sign, tuple(level for level in levels if everywhere(place, level)) or levels)
            for sign, levels in own
        ]
        for place, own in enumerate(sides)
    ]


def _interval(
    weights: Mapping[tuple[str, ...], float], known: Mapping[tuple[str, ...], np.ndarray]
) -> tuple[float, float, float]:
    """The weighted sum of cell means with its interval: Welch's t, by Satterthwaite's degrees."""
    value = sum(weight * float(known[cell].mean()) for cell, weight in weights.items())
    if not any(np.ptp(known[cell]) for cell in weights):
        return value, value, value
    parts = [
        (weight**2 * float(known[cell].var(ddof=1)) / len(known[cell]), len(known[cell]) - 1)
        for cell, weight in weights.items()
    ]
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / own for part, own in parts)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * math.sqrt(variance)
    return value, value - half, value + half


def _commands(claim: Claim, runs: Sequence[_Run]) -> tuple[str, ...]:
    """What makes the missing runs, for the data and networks of those that there are."""
    run = next((run for run in runs if "teacher" in run.settings), runs[0])
    data = {"dataset": run.dataset, "data-root": str(run.settings.get("data.root", ""))}
    named = {key: str(run.settings.get(key, "")) for key in ("teacher", "student")}
    epochs = run.settings.get("train.epochs")
    filled = {
        "data": _options(data),
        "networks": _options({**data, **named}),
        "student": shlex.quote(named["student"]),
        "epochs": str(epochs),
        "more_epochs": str(4 * epochs) if isinstance(epochs, int) else "",
    }
    return tuple(command.format(**filled) for command in claim.commands)


def _options(given: Mapping[str, str]) -> str:
    return " ".join(f"--{name} {shlex.quote(value)}" for name, value in given.items() if value)
