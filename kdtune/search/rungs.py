"""The arithmetic of successive halving (Li et al., 2020, arXiv:1810.05934), without Ray."""

from dataclasses import dataclass, field

import numpy as np


def milestones(*, grace_period: int, max_t: int, reduction_factor: int) -> tuple[int, ...]:
    """``grace_period * reduction_factor ** k`` up to and including ``max_t``, in whole numbers."""
    levels = []
    level = grace_period
    while level <= max_t:
        levels.append(level)
        level *= reduction_factor
    return tuple(levels)


@dataclass
class Bracket:
    """The rungs of one bracket and the scores recorded there.

    Attributes:
        levels: Epoch of each rung, rising.
        keep: Share of the trials that pass a rung, in (0, 1).
        scores: Per rung, the score (higher is better) of each trial by its order.
    """

    levels: tuple[int, ...]
    keep: float
    scores: list[dict[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scores = self.scores or [{} for _ in self.levels]

    def rung_at(self, epoch: float) -> int:
        """The highest rung at or below ``epoch``; -1 below the first."""
        return int(np.searchsorted(self.levels, epoch, side="right")) - 1

    def record(self, rung: int, order: int, score: float) -> None:
        """Keep the first score of a trial at a rung."""
        self.scores[rung].setdefault(order, score)

    def cutoff(self, rung: int, order: int, *, before: bool) -> float | None:
        """The score that trial ``order`` must reach at ``rung``; None if it has no rivals there.

        Args:
            rung: Which rung.
            order: The trial that is judged; its own score does not count.
            before: Whether only trials of a lower order count, or all that are recorded.
        """
        rivals = [
            score
            for rival, score in self.scores[rung].items()
            if rival < order or (rival != order and not before)
        ]
        return float(np.percentile(rivals, (1 - self.keep) * 100)) if rivals else None

    def passes(self, rung: int, order: int, *, before: bool) -> bool:
        """Whether trial ``order`` goes on at ``rung``; one without a score there always does."""
        cutoff = self.cutoff(rung, order, before=before)
        score = self.scores[rung].get(order)
        return cutoff is None or score is None or score >= cutoff
