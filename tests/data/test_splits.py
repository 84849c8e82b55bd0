"""Stratified subsets."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdtune.data.splits import class_shares, stratified_pick


def test_shares_follow_the_proportions() -> None:
    assert class_shares([50, 30, 20], 10) == [5, 3, 2]


def test_the_largest_remainders_get_the_rest() -> None:
    # 10 * (7, 6, 4) / 17 = 4.12, 3.53, 2.35
    assert class_shares([7, 6, 4], 10) == [4, 4, 2]


def test_a_rare_class_still_gives_one() -> None:
    assert class_shares([100, 2], 10, leave=1) == [9, 1]


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=1, max_size=12),
    total=st.integers(0, 800),
    leave=st.integers(0, 1),
)
def test_shares_add_up_and_stay_within_bounds(counts: list[int], total: int, leave: int) -> None:
    shares = class_shares(counts, total, leave=leave)
    most = sum(counts) - leave * len(counts)
    assert sum(shares) == min(max(total, len(counts)), most)
    assert all(1 <= share <= count - leave for share, count in zip(shares, counts, strict=True))


def test_a_pick_and_its_rest_are_the_whole() -> None:
    labels = torch.tensor([0, 1, 2] * 20)
    picked, rest = stratified_pick(labels, 12, 0, "a")
    assert torch.equal(torch.cat([picked, rest]).sort().values, torch.arange(60))
    assert torch.bincount(labels[picked]).tolist() == [4, 4, 4]


def test_a_pick_depends_on_seed_and_stream_only() -> None:
    labels = torch.tensor([0, 1] * 50)
    first = stratified_pick(labels, 20, 0, "a")[0]
    assert torch.equal(first, stratified_pick(labels, 20, 0, "a")[0])
    assert not torch.equal(first, stratified_pick(labels, 20, 1, "a")[0])
    assert not torch.equal(first, stratified_pick(labels, 20, 0, "b")[0])


def test_a_smaller_pick_lies_inside_a_larger_one() -> None:
    labels = torch.tensor([0, 1] * 50)
    small, large = (set(stratified_pick(labels, n, 3, "a")[0].tolist()) for n in (10, 30))
    assert small < large
