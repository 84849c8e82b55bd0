"""How good the trials that were cut might have become, judged by those that finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

DRAWS = 10_000
FEWEST = 5
"""Finished trials below which nothing is said."""

NARROW = 1e-4
"""How near to 0 and 1 a share counts as such on the scale of log-odds."""

GAIN = "each gains as a finished one did"
TREND = "the line through the finished ones goes on"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What cutting may have cost, under one assumption on the trials that were cut.

    Attributes:
        assumption: :data:`GAIN`, final = value at the cut + gain, or :data:`TREND`, a straight line
            of final over that value; on the scale of log-odds for shares.
        chance: That at least one of them would have ended above the best finished one.
        regret: Expected amount by which the best of them would have; in the objective's unit.
        high_regret: The 95th percentile of that amount.
    """

    assumption: str
    chance: float
    regret: float
    high_regret: float


def forecasts(
    finished: Sequence[Mapping[int, float]],
    finals: Sequence[float],
    cut: Sequence[Mapping[int, float]],
    *,
    share: bool,
) -> list[Forecast]:
    """What the cuts may have cost, under each assumption that the finished trials can carry.

    A trial's end is predicted from its value at the cut, by the values that the finished ones had
    at the same epoch. The errors are those of the finished ones, drawn again for every fit and
    every trial (a residual bootstrap). Trials were selected by the very value that predicts, which
    leaves such a fit unbiased where it has data; that it holds below is the assumption.

    Args:
        finished: Curves by epoch of the finished trials, higher being better.
        finals: Their last values.
        cut: Curves up to the cut.
        share: Whether values are shares in [0, 1], which no prediction then leaves.
    """
    groups: dict[int, list[float]] = {}
    for curve in cut:
        groups.setdefault(max(curve), []).append(curve[max(curve)])
    known = {
        epoch: [(c[epoch], f) for c, f in zip(finished, finals, strict=True) if epoch in c]
        for epoch in groups
    }
    if not groups or min(map(len, known.values())) < FEWEST:
        return []
    found = []
    for assumption in (GAIN, TREND):
        generator = np.random.default_rng(0)
        best = np.full(DRAWS, -np.inf)
        for epoch, values in sorted(groups.items()):
            pairs, early = _scale(np.array(known[epoch]), share), _scale(np.array(values), share)
            drawn = _draws(pairs, early, generator, trend=assumption == TREND)
            best = np.maximum(best, drawn.max(axis=1))
        excess = np.clip((expit(best) if share else best) - max(finals), 0, None)
        found.append(
            Forecast(
                assumption=assumption,
                chance=float((excess > 0).mean()),
                regret=float(excess.mean()),
                high_regret=float(np.percentile(excess, 95)),
            )
        )
    return found


def _scale(values: np.ndarray, share: bool) -> np.ndarray:
    return np.asarray(logit(np.clip(values, NARROW, 1 - NARROW))) if share else values


def _draws(
    pairs: np.ndarray, early: np.ndarray, generator: np.random.Generator, *, trend: bool
) -> np.ndarray:
    """``(draws, trials)`` final values of trials cut at ``early``, by ``(n, 2)`` finished pairs."""

    def design(at: np.ndarray) -> np.ndarray:
        constant = np.ones_like(at)
        return np.stack([constant, at], axis=1) if trend else constant[:, None]

    x, y = pairs.T
    start, offset = (0.0, 0.0) if trend else (x, early)
    fitted = design(x)
    solve = np.linalg.pinv(fitted)
    centre = fitted @ solve @ (y - start)
    # A fit leaves less than the errors that it was made with.
    errors = (y - start - centre) * np.sqrt(len(x) / (len(x) - fitted.shape[1]))
    refits = (centre + generator.choice(errors, (DRAWS, len(x)))) @ solve.T
    own = generator.choice(errors, (DRAWS, len(early)))
    return np.asarray(refits @ design(early).T + offset + own)
