"""How much each searched axis matters, by two measures of Optuna.

fANOVA (Hutter, Hoos and Leyton-Brown, 2014): the share of the variance of the result that an axis
explains alone, by a random forest. PED-ANOVA (Watanabe et al., 2023, arXiv:2304.10255): how much
the values of an axis differ between the best trials and all.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from scipy.stats import rankdata

from kdtune.compare.fanova import main_effects
from kdtune.compare.trials import (
    NO_AXES,
    Objective,
    Trial,
    axes_of,
    objective_of,
    setting,
    trials_of,
)
from kdtune.contracts import Scalar
from kdtune.tracking.record import SearchRecord

FEWEST = 20
"""Trials below which nothing is said."""

RESAMPLES = 60
TREES, FOREST_SEEDS = 16, 5
BEST = 10
"""Trials that PED-ANOVA sets against all; with its own tenth of 20 to 100 it would have 2 to 10."""

LEVELS = 6
"""Numbers with at least so many values are a range; with fewer, choices."""

COPY = "shuffled "
"""Before the name of an axis: the axis with its values dealt out anew among the trials."""

CLEAR = 0.95
INTERVAL = (5, 95)
MEASURES = ("fANOVA", "PED-ANOVA")


@dataclass(frozen=True, kw_only=True)
class AxisImportance:
    """One axis under one measure.

    Attributes:
        axis: Its key, or ``arm``.
        measure: One of :data:`MEASURES`.
        share: Of the importance of all axes, in [0, 1].
        low, high: Percentiles 5 and 95 over bootstrap resamples of the trials and seeds of the
            forest; a resample repeats trials, so they need not lie around ``share``.
        beats_noise: How often the axis comes before all of the shuffled copies of the axes that
            are put beside them, in [0, 1].
    """

    axis: str
    measure: str
    share: float
    low: float
    high: float
    beats_noise: float

    @property
    def clear(self) -> bool:
        """Whether chance alone is an unlikely reason for its importance."""
        return self.beats_noise >= CLEAR


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What matters in one search.

    Attributes:
        search: Its name.
        arm: The arm that it is of; empty for all trials together.
        metric: Of the objective.
        epoch: The one whose values were compared; 0 for the end of full trials.
        n: How many trials.
        axes: Axis by axis under each measure, the greatest first; empty where ``refused`` says why.
        refused: Why there are no numbers; else empty.
        notes: Sentences on what was left out or assumed.
    """

    search: str
    arm: str = ""
    metric: str
    epoch: int = 0
    n: int
    axes: tuple[AxisImportance, ...] = ()
    refused: str = ""
    notes: tuple[str, ...] = ()


def importance(record: SearchRecord) -> list[Importance]:
    """The importance of the axes of a search: over all its trials, then arm by arm.

    Trials are compared at their end if enough finished. If not, at the latest epoch that enough
    trials reached: what counts early is not what counts in the end, and those that were cut before
    are missing. Axes are those that the trials differ in, see
    :func:`~kdtune.compare.trials.axes_of`. Over all trials these are the ones that every arm has,
    and the arm itself; the first is followed by each arm that has enough trials.

    A range enters by the rank of its values among the trials, so that neither measure depends on a
    scale: every stretch counts as much as the search was there.
    """
    objective, trials = objective_of(record), trials_of(record)
    arms = list(dict.fromkeys(trial.arm for trial in trials if trial.arm))
    found = [_importance(record.name, "", trials, objective)]
    if len(arms) > 1:
        own = ([trial for trial in trials if trial.arm == arm] for arm in arms)
        parts = (
            _importance(record.name, arm, part, objective)
            for arm, part in zip(arms, own, strict=True)
        )
        found += [part for part in parts if part.axes]
    return found


def _importance(search: str, arm: str, trials: Sequence[Trial], objective: Objective) -> Importance:
    epoch, known = _comparable(trials)
    axes = axes_of(known)
    values = np.array([objective.sign * _value(trial, epoch) for trial in known])
    found = Importance(search=search, arm=arm, metric=objective.metric, epoch=epoch, n=len(known))
    if len(known) < FEWEST:
        refused = f"{len(known)} trials can be compared, and importances need {FEWEST}"
        return replace(found, refused=refused)
    if not axes:
        return replace(found, refused="the trials do not differ in any axis")
    if not np.ptp(values):
        return replace(found, refused="all trials have the same result")
    columns = {axis: _column([setting(trial, axis) for trial in known]) for axis in axes}
    return replace(
        found,
        axes=tuple(each for name in MEASURES for each in _measured(name, columns, values)),
        notes=tuple(_notes(trials, known, axes, epoch)),
    )


def _comparable(trials: Sequence[Trial]) -> tuple[int, list[Trial]]:
    """The epoch to compare at, 0 for the end, and the trials that have a value there."""
    finished = [trial for trial in trials if trial.final is not None]
    if len(finished) >= FEWEST:
        return 0, finished
    epochs = sorted({epoch for trial in trials for epoch in trial.curve}, reverse=True)
    for epoch in epochs:
        there = [trial for trial in trials if epoch in trial.curve]
        if len(there) >= FEWEST:
            return epoch, there
    return 0, finished


def _value(trial: Trial, epoch: int) -> float:
    return trial.curve[epoch or trial.last_epoch]


class _Column(NamedTuple):
    """An axis as Optuna takes it: its values trial by trial, and what they are drawn from."""

    values: list[Scalar]
    distribution: BaseDistribution


def _column(values: Sequence[Scalar]) -> _Column:
    distinct = list(dict.fromkeys(values))
    if len(distinct) < LEVELS or not all(isinstance(value, int | float) for value in distinct):
        return _Column(list(values), CategoricalDistribution(distinct))
    ranks = (rankdata(values) - 1) / (len(values) - 1)
    return _Column([float(rank) for rank in ranks], FloatDistribution(0, 1))


def _measured(
    measure: str, columns: Mapping[str, _Column], values: np.ndarray
) -> list[AxisImportance]:
    """One measure of every axis, the greatest first."""
    generator = np.random.default_rng(0)
    axes, n = list(columns), len(values)
    every = np.arange(n)
    whole = [_shares(measure, columns, values, every, seed=seed) for seed in range(FOREST_SEEDS)]
    drawn: dict[str, list[float]] = {axis: [] for axis in axes}
    wins = dict.fromkeys(axes, 0)
    for resample in range(RESAMPLES):
        rows = _resampled(values, generator)
        again = _shares(measure, columns, values, rows, seed=resample)
        copies = {COPY + axis: _dealt(column, generator) for axis, column in columns.items()}
        beside = _shares(measure, {**columns, **copies}, values, every, seed=resample)
        noise = max(beside[copy] for copy in copies)
        for axis in axes:
            drawn[axis].append(again[axis])
            wins[axis] += int(beside[axis] > noise)
    low, high = (
        dict(zip(axes, np.percentile([drawn[axis] for axis in axes], p, axis=1), strict=True))
        for p in INTERVAL
    )
    shares = [
        AxisImportance(
            axis=axis,
            measure=measure,
            share=float(np.mean([each[axis] for each in whole])),
            low=float(low[axis]),
            high=float(high[axis]),
            beats_noise=wins[axis] / RESAMPLES,
        )
        for axis in axes
    ]
    return sorted(shares, key=lambda each: -each.share)


def _resampled(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """As many trials, drawn with replacement; anew where all have the same result."""
    while True:
        rows = generator.integers(len(values), size=len(values))
        if np.ptp(values[rows]):
            return rows


def _dealt(column: _Column, generator: np.random.Generator) -> _Column:
    order = generator.permutation(len(column.values))
    return column._replace(values=[column.values[place] for place in order])


def _shares(
    measure: str,
    columns: Mapping[str, _Column],
    values: np.ndarray,
    rows: np.ndarray,
    *,
    seed: int,
) -> dict[str, float]:
    """The share of each axis among the trials ``rows``, summing to 1."""
    if measure == "PED-ANOVA":
        return _ped_anova(columns, values, rows)
    axes = sorted(columns)
    encoded = [_encoded(columns[axis])[rows] for axis in axes]
    effects = main_effects(encoded, values[rows], trees=TREES, seed=seed)
    total = sum(effects)  # 0 where all is interplay: no axis then comes before another.
    shares = [effect / total if total else 1 / len(axes) for effect in effects]
    return dict(zip(axes, shares, strict=True))


def _encoded(column: _Column) -> np.ndarray:
    """``(N, k)``: a range as it is, choices as a column each."""
    if isinstance(column.distribution, CategoricalDistribution):
        choices = column.distribution.choices
        return np.array([[float(value == each) for each in choices] for value in column.values])
    return np.array(column.values)[:, None]


def _ped_anova(
    columns: Mapping[str, _Column], values: np.ndarray, rows: np.ndarray
) -> dict[str, float]:
    with _quiet():
        study = optuna.create_study(direction="maximize")
    distributions = {axis: column.distribution for axis, column in columns.items()}
    study.add_trials(
        [
            optuna.create_trial(
                params={axis: column.values[row] for axis, column in columns.items()},
                distributions=distributions,
                value=float(values[row]),
            )
            for row in rows
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(0.1, BEST / len(values)))
    return get_param_importances(study, evaluator=evaluator)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of every study that it makes."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def _notes(
    trials: Sequence[Trial], known: Sequence[Trial], axes: Sequence[str], epoch: int
) -> list[str]:
    notes = []
    if epoch:
        notes.append(
            f"too few trials finished, so all that reached epoch {epoch} are compared there: what "
            "counts that early need not count in the end"
        )
    if other := len(trials) - len(known):
        notes.append(f"{other} of {len(trials)} trials are not among them")
    own = {key for trial in known for key in trial.settings} - set(axes)
    partial = sorted(
        key
        for key in own - NO_AXES
        if len({trial.settings[key] for trial in known if key in trial.settings}) > 1
        and any(key not in trial.settings for trial in known)
    )
    if partial:
        notes.append(f"not all of them have, and so are left out: {', '.join(partial)}")
    return notes
