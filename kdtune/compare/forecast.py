"""How good the trials that were cut might have become, judged by those that finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

DRAWS = 4000
FEWEST = 5
"""Finished trials below which nothing is said."""

NARROW = 1e-4
"""How near to 0 and 1 a share counts as such on the scale of log-odds."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What cutting may have cost.

    Attributes:
        chance: That at least one of the trials that were cut would have ended above the best
            finished one.
        regret: Expected amount by which the best of them would have; in the objective's unit.
        high_regret: The 95th percentile of that amount.
        blind_chance: Of the best of all being among them, had early values said nothing.
    """

    chance: float
    regret: float
    high_regret: float
    blind_chance: float


def forecast(
    finished: Sequence[Mapping[int, float]],
    finals: Sequence[float],
    cut: Sequence[Mapping[int, float]],
    *,
    share: bool,
) -> Forecast | None:
    """What the cuts may have cost; None if there were none, or too few trials finished.

    The end of a trial is predicted from its value at the cut, by a straight line through those
    that finished: their ends over their values at the same epoch, on the scale of log-odds for
    shares. The errors are theirs, drawn again for every line and every trial (a residual
    bootstrap). Trials were selected by the very value that predicts, which leaves such a line
    unbiased where it has data; that it goes on below is the assumption. Where results crowd below
    a ceiling of their own it is too gloomy.

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
        return None
    generator = np.random.default_rng(0)
    best = np.full(DRAWS, -np.inf)
    for epoch, values in sorted(groups.items()):
        pairs, early = _scale(np.array(known[epoch]), share), _scale(np.array(values), share)
        best = np.maximum(best, _draws(pairs, early, generator).max(axis=1))
    excess = np.clip((expit(best) if share else best) - max(finals), 0, None)
    return Forecast(
        chance=float((excess > 0).mean()),
        regret=float(excess.mean()),
        high_regret=float(np.percentile(excess, 95)),
        blind_chance=len(cut) / (len(cut) + len(finished)),
    )


def _scale(values: np.ndarray, share: bool) -> np.ndarray:
    return np.asarray(logit(np.clip(values, NARROW, 1 - NARROW))) if share else values


def _draws(pairs: np.ndarray, early: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """``(draws, trials)`` final values of trials cut at ``early``, by ``(n, 2)`` finished pairs."""
    x, y = pairs.T
    line = np.stack([np.ones_like(x), x], axis=1)
    solve = np.linalg.pinv(line)
    fitted = line @ solve @ y
    # A fit leaves less than the errors that it was made with.
    errors = (y - fitted) * np.sqrt(len(x) / (len(x) - 2))
    refits = (fitted + generator.choice(errors, (DRAWS, len(x)))) @ solve.T
    own = generator.choice(errors, (DRAWS, len(early)))
    return np.asarray(refits @ np.stack([np.ones_like(early), early]) + own)
