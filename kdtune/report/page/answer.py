"""Which recipe, how sure: the finalist to use, and how its scores differ from the others'."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from kdtune.report.page.facts import Arm, Facts

LEVEL = 0.95
"""Of all intervals of the page."""
ALIKE = 1e-12
"""What sums of floats may differ by."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean difference of two arms over the seeds that both were run with, in shares.

    Attributes:
        mean: Of the differences.
        low, high: Ends of the paired t interval at :data:`LEVEL`; None for a single seed, and where
            all seeds have the same difference.
        n: How many seeds.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def interval(self) -> str:
        """In points: ``+0.85 to +4.61``; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"{points(self.low)} to {points(self.high)}"


def difference(scores: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """How much higher ``scores`` are than ``base``, seed by seed; None without a shared seed."""
    from scipy import stats

    seeds = sorted(scores.keys() & base.keys())
    gaps = [scores[seed] - base[seed] for seed in seeds]
    if not gaps:
        return None
    mean, n = fmean(gaps), len(gaps)
    if n == 1 or max(gaps) - min(gaps) < ALIKE:
        return Difference(mean=mean, low=None, high=None, n=n)
    half = float(stats.sem(gaps) * stats.t.ppf((1 + LEVEL) / 2, n - 1))
    return Difference(mean=mean, low=mean - half, high=mean + half, n=n)


def recommended(facts: Facts) -> Arm | None:
    """The finalist with the best mean of the first objective over its new seeds.

    Test has no say, so that the test score of the chosen one is no best of several. Where the
    finalists were trained on validation as well, it is the first finalist: the search's own best.
    """
    able = [arm for arm in facts.arms if not arm.baseline and arm.scores]
    scored = [arm for arm in able if arm.chosen_by]
    if chosen_by_validation(facts) and scored:
        return min(scored, key=lambda arm: facts.goal.cost(fmean(arm.chosen_by.values())))
    return able[0] if able else None


def chosen_by_validation(facts: Facts) -> bool:
    """Whether the finalists' own validation scores say which is best."""
    return facts.record.search.params.get("search.finalists_on", "train") == "train"


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign: ``+2.73``."""
    return f"{100 * share:+.2f}".replace("-", "\u2212")
