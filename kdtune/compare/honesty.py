"""Whether early values tell the end, and what cutting trials by them may have cost."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from kdtune.compare.forecast import FEWEST, Forecast, forecast
from kdtune.compare.halving import Replay, replay
from kdtune.compare.trials import Objective, Trial, objective_of, trials_of
from kdtune.tracking.record import SearchRecord

RESAMPLES = 500
CONFIDENCE = 0.95
SHARES = ("accuracy", "top5", "agreement")
"""How the names of metrics end that are shares in [0, 1]."""


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class Pair(NamedTuple):
    """One finished trial at a rung: its value there, and at its end."""

    trial: str
    early: float
    final: float


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rung.

    Attributes:
        epoch: Where it is.
        reached: How many trials have a value there.
        pairs: Those of them that finished. If others were cut, these are survivors: their range is
            narrow, and correlations are lower than over all trials.
        tau: Kendall's, between the value there and the final one, with the percentile interval
            of a bootstrap over trials, which collapses where all ranks agree. None with fewer than
            :data:`FEWEST` pairs, or where all values are the same.
        rho: Spearman's; the same.
        place: Of the trial that ended best, among all that reached the rung, from 1; where several
            ended best, of the first of them there.
    """

    epoch: int
    reached: int
    pairs: tuple[Pair, ...]
    tau: Estimate | None
    rho: Estimate | None
    place: int


@dataclass(frozen=True, kw_only=True)
class Honesty:
    """How far early values can be trusted in one search.

    Attributes:
        search: Its name.
        objective: What it was after.
        scheduler: Its name.
        epochs: Of a full trial.
        reduction_factor: One in so many trials passes a rung.
        trials: How many of that length there were.
        finished: How many of those ended as planned.
        cut: How many were cut.
        best: The best final value; None if no trial finished.
        rungs: Those below the full length.
        replay: What ASHA would have cut; None if the search itself cut trials.
        forecast: What cuts may have cost; None if there were none, or too few trials finished.
        notes: Sentences on what was left out or assumed.
    """

    search: str
    objective: Objective
    scheduler: str
    epochs: int
    reduction_factor: int
    trials: int
    finished: int
    cut: int
    best: float | None
    rungs: tuple[Rung, ...]
    replay: Replay | None = None
    forecast: Forecast | None = None
    notes: tuple[str, ...] = ()


def honesty(record: SearchRecord) -> Honesty:
    """Judge the rungs of a search by the trials that finished.

    Of a search whose trials were not cut, the rungs are those that ASHA would have had with the
    search's own settings or the defaults: a first one after a fifth of the epochs, one in three
    passes.
    """
    objective, everything = objective_of(record), trials_of(record)
    epochs = max((_planned(trial) for trial in everything), default=0)
    trials = [trial for trial in everything if _planned(trial) == epochs]
    finished = [trial for trial in trials if trial.final is not None]
    cut = [trial for trial in trials if trial.outcome == "cut" and trial.curve]
    factor = int(record.search.params.get("search.reduction_factor", 3))
    levels = _levels(record, epochs, factor)
    best = max((_score(trial, objective) for trial in finished), default=None)
    return Honesty(
        search=record.name,
        objective=objective,
        scheduler=record.search.params.get("search.scheduler", ""),
        epochs=epochs,
        reduction_factor=factor,
        trials=len(trials),
        finished=len(finished),
        cut=len(cut),
        best=None if best is None else objective.sign * best,
        rungs=tuple(_rung(level, trials, objective) for level in levels) if finished else (),
        replay=None if cut else _replay(finished, levels, epochs, factor, objective),
        forecast=_forecast(finished, cut, objective),
        notes=tuple(_notes(everything, trials, finished, cut, epochs)),
    )


def _planned(trial: Trial) -> int:
    planned = trial.settings.get("train.epochs")
    return planned if isinstance(planned, int) else trial.last_epoch


def _levels(record: SearchRecord, epochs: int, factor: int) -> list[int]:
    """The epochs at which the search judged, or would have, below the full length."""
    told = record.search.params.get("search.grace_period", "")
    level = int(told) if told.isdecimal() else math.ceil(epochs / 5)
    levels = []
    while 0 < level < epochs:
        levels.append(level)
        level *= factor
    return levels


def _score(trial: Trial, objective: Objective, epoch: int | None = None) -> float:
    """Higher is better; the final value, or that of an epoch."""
    return objective.sign * trial.curve[trial.last_epoch if epoch is None else epoch]


def _rung(epoch: int, trials: Sequence[Trial], objective: Objective) -> Rung:
    there = [trial for trial in trials if epoch in trial.curve]
    ended = [(trial, final) for trial in there if (final := trial.final) is not None]
    best = max((objective.sign * final for _, final in ended), default=0.0)
    winners = [trial for trial, final in ended if objective.sign * final == best]
    ahead = max((_score(trial, objective, epoch) for trial in winners), default=math.inf)
    pairs = tuple(Pair(trial.name, trial.curve[epoch], final) for trial, final in ended)
    early, finals = np.array([p.early for p in pairs]), np.array([p.final for p in pairs])
    return Rung(
        epoch=epoch,
        reached=len(there),
        pairs=pairs,
        tau=_correlation(early, finals, _tau),
        rho=_correlation(early, finals, _rho),
        place=1 + sum(_score(trial, objective, epoch) > ahead for trial in there),
    )


def _tau(early: np.ndarray, final: np.ndarray) -> float:
    return float(stats.kendalltau(early, final).statistic)


def _rho(early: np.ndarray, final: np.ndarray) -> float:
    return float(stats.spearmanr(early, final).statistic)


def _correlation(
    early: np.ndarray, final: np.ndarray, statistic: Callable[[np.ndarray, np.ndarray], float]
) -> Estimate | None:
    if len(early) < FEWEST or not np.ptp(early) or not np.ptp(final):
        return None
    with warnings.catch_warnings():
        # A resample whose values are all alike has no rank correlation.
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (early, final),
            statistic,
            paired=True,
            vectorized=False,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).bootstrap_distribution
    low, high = np.nanpercentile(found, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
    return Estimate(statistic(early, final), float(low), float(high))


def _replay(
    finished: Sequence[Trial],
    levels: Sequence[int],
    epochs: int,
    factor: int,
    objective: Objective,
) -> Replay | None:
    known = [trial for trial in finished if all(level in trial.curve for level in levels)]
    if not levels or len(known) < FEWEST:
        return None
    scores = [[_score(trial, objective, level) for level in levels] for trial in known]
    finals = [_score(trial, objective) for trial in known]
    return replay(np.array(scores), np.array(finals), rungs=levels, epochs=epochs, keep=1 / factor)


def _forecast(
    finished: Sequence[Trial], cut: Sequence[Trial], objective: Objective
) -> Forecast | None:
    def curves(trials: Sequence[Trial]) -> list[dict[int, float]]:
        return [{e: objective.sign * v for e, v in trial.curve.items()} for trial in trials]

    finals = [_score(trial, objective) for trial in finished]
    share = objective.higher_is_better and objective.metric.endswith(SHARES)
    return forecast(curves(finished), finals, curves(cut), share=share)


def _notes(
    everything: Sequence[Trial],
    trials: Sequence[Trial],
    finished: Sequence[Trial],
    cut: Sequence[Trial],
    epochs: int,
) -> list[str]:
    notes = []
    if other := len(everything) - len(trials):
        notes.append(f"{other} trials of fewer than {epochs} epochs are left out")
    if other := len(trials) - len(finished) - len(cut):
        notes.append(f"{other} trials that diverged, failed or were stopped are left out")
    if cut and finished:
        notes.append(
            f"only {len(finished)} of {len(trials)} trials were seen to the end, the best ones "
            "early on: rank correlations among them are lower than over all trials"
        )
    if len(finished) < FEWEST:
        notes.append(f"{len(finished)} trials finished; below {FEWEST}, nothing is estimated")
    return notes
