"""What successive halving would have cut of trials that all ran to their end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ORDERS = 200
"""How many orders of the same trials tell how much of a replay is luck."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The rule of ASHA, applied afterwards.

    It holds the trials as they were: a sampler that learns would have suggested others.

    Attributes:
        survivors: Per rung, how many trials pass it.
        regrets: Per rung, how much better the best of all trials ended than the best of those that
            pass this rung and all before; >= 0, in the unit of the objective.
        epochs_saved: Share of all epochs that would not have been run.
        mean_regret: Over :data:`ORDERS` random orders of the trials, after the last rung: a trial
            is judged against earlier ones alone.
        worst_regret: The 95th percentile over those orders.
        harmless: Share of those orders in which a trial as good as the best survives.
    """

    survivors: tuple[int, ...]
    regrets: tuple[float, ...]
    epochs_saved: float
    mean_regret: float
    worst_regret: float
    harmless: float


def replay(
    scores: np.ndarray, finals: np.ndarray, *, rungs: Sequence[int], epochs: int, keep: float
) -> Replay:
    """What ASHA would have done.

    Args:
        scores: ``(trials, rungs)`` values at the rungs in the order of the trials, higher better.
        finals: ``(trials,)`` values at the end.
        rungs: Epochs of the rungs, rising.
        epochs: Of a full trial.
        keep: Share that passes a rung, in (0, 1).
    """
    passed = rungs_passed(scores, keep=keep)
    levels = range(1, len(rungs) + 1)
    lengths = np.array([*rungs, epochs])[passed]
    generator = np.random.default_rng(0)
    orders = [generator.permutation(len(finals)) for _ in range(ORDERS)]
    shuffled = [
        _regret(finals[order], rungs_passed(scores[order], keep=keep) >= len(rungs))
        for order in orders
    ]
    return Replay(
        survivors=tuple(int((passed >= level).sum()) for level in levels),
        regrets=tuple(_regret(finals, passed >= level) for level in levels),
        epochs_saved=float(1 - lengths.sum() / (epochs * len(finals))),
        mean_regret=float(np.mean(shuffled)),
        worst_regret=float(np.percentile(shuffled, 95)),
        harmless=float(np.mean(np.array(shuffled) == 0)),
    )


def rungs_passed(scores: np.ndarray, *, keep: float) -> np.ndarray:
    """How many rungs each trial passes: ``(trials,)`` whole numbers.

    A trial passes a rung unless it is below the ``1 - keep`` quantile of the earlier trials that
    reached it; the first one there always does (Li et al., 2020, arXiv:1810.05934, as
    :class:`kdtune.search.rungs.Bracket` has it with trials judged in order).

    Args:
        scores: ``(trials, rungs)`` in the order of the trials, higher being better.
        keep: Share that passes a rung.
    """
    seen: list[list[float]] = [[] for _ in range(scores.shape[1])]
    passed = np.zeros(len(scores), dtype=int)
    for trial, row in enumerate(scores):
        for rivals, score in zip(seen, row, strict=True):
            passes = not rivals or score >= np.percentile(rivals, (1 - keep) * 100)
            rivals.append(float(score))
            if not passes:
                break
            passed[trial] += 1
    return passed


def _regret(finals: np.ndarray, survives: np.ndarray) -> float:
    return float(finals.max() - finals[survives].max())
