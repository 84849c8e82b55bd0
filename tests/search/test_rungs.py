"""Whole-number rungs and cutoffs."""

import numpy as np
import pytest
from ray.tune.schedulers.async_hyperband import _Bracket

from kdtune.search.rungs import Bracket, milestones


@pytest.mark.parametrize(
    ("grace_period", "max_t", "reduction_factor", "levels"),
    [
        (1, 243, 3, (1, 3, 9, 27, 81, 243)),
        (1, 1000, 10, (1, 10, 100, 1000)),
        (1, 9, 3, (1, 3, 9)),
        (2, 9, 2, (2, 4, 8)),
        (9, 9, 4, (9,)),
    ],
)
def test_the_top_rung_is_kept(
    grace_period: int, max_t: int, reduction_factor: int, levels: tuple[int, ...]
) -> None:
    found = milestones(grace_period=grace_period, max_t=max_t, reduction_factor=reduction_factor)
    assert found == levels


def test_an_epoch_belongs_to_the_highest_rung_below_it() -> None:
    bracket = Bracket((2, 4, 8), keep=0.5)
    assert [bracket.rung_at(epoch) for epoch in (1, 2, 3, 4, 7, 8, 99)] == [-1, 0, 0, 1, 1, 2, 2]


def test_cutoffs_equal_those_of_ray() -> None:
    rng, theirs = np.random.default_rng(0), _Bracket(1, 9, 3, 0)
    ours = Bracket((1,), keep=1 / 3)
    recorded: dict[str, float] = {}
    for order, score in enumerate(rng.uniform(size=40)):
        ours.record(0, order, float(score))
        cutoff = theirs.cutoff(recorded)
        assert ours.cutoff(0, order, before=False) == cutoff
        assert ours.passes(0, order, before=False) == (cutoff is None or score >= cutoff)
        recorded[str(order)] = float(score)


def test_in_order_only_earlier_trials_count() -> None:
    bracket = Bracket((1,), keep=0.5)
    for order, score in ((2, 0.9), (0, 0.1), (1, 0.2)):
        bracket.record(0, order, score)
    assert bracket.passes(0, 0, before=True)
    assert not bracket.passes(0, 0, before=False)
    assert bracket.cutoff(0, 2, before=True) == pytest.approx(0.15)


def test_the_first_score_at_a_rung_stands() -> None:
    bracket = Bracket((1,), keep=0.5)
    bracket.record(0, 0, 0.1)
    bracket.record(0, 0, 0.9)
    assert bracket.scores == [{0: 0.1}]
