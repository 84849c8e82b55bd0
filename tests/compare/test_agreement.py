"""Kendall's tau between the papers' order of methods and the measured one."""

import pytest
from made_results import measured, printed

from kdtune.compare.agreement import Agreement, agreements
from kdtune.compare.beside import besides
from kdtune.compare.pivot import pivot
from kdtune.compare.result import Result

OURS = [measured(m, [v]) for m, v in (("kd", 0.94), ("at", 0.93), ("sp", 0.92), ("rkd", 0.91))]


def _agreements(theirs: list[Result], ours: list[Result] = OURS) -> tuple[Agreement, ...]:
    return agreements(besides(pivot(ours, by=["method"]), pivot(theirs, by=["method"])))


def test_one_pair_out_of_order_by_hand() -> None:
    theirs = [printed(m, v) for m, v in (("kd", 0.8), ("at", 0.7), ("sp", 0.5), ("rkd", 0.6))]
    (found,) = _agreements(theirs)
    # Five of six pairs agree. Of 24 orders of four, four have at most one pair out of order.
    assert found.tau == pytest.approx((5 - 1) / 6)
    assert found.p == pytest.approx(2 * 4 / 24)
    assert found.rows == (("kd",), ("at",), ("sp",), ("rkd",))
    assert found.incomparable == ()


def test_fewer_than_three_methods_make_no_order() -> None:
    assert not _agreements([printed("kd", 0.8), printed("at", 0.7), printed("fsp", 0.6)])


def test_teachers_take_no_part() -> None:
    teacher = [printed("scratch", 0.9, student="wrn_40_2", role="teacher")]
    own = [measured("scratch", [0.9], student="wrn_40_2", role="teacher")]
    theirs = [printed("kd", 0.8), printed("at", 0.7), *teacher]
    assert not _agreements(theirs, [*OURS[:2], *own])


def test_an_order_of_other_conditions_is_marked_by_row() -> None:
    theirs = [printed("kd", 0.8, temperature=4.0), printed("at", 0.7), printed("sp", 0.6)]
    (found,) = _agreements(theirs)
    assert found.incomparable == (("kd",),)


def test_of_several_figures_of_a_method_the_closest_counts() -> None:
    theirs = [printed("kd", 0.1, generation=5), printed("kd", 0.8), printed("at", 0.7)]
    (found,) = _agreements([*theirs, printed("sp", 0.6)])
    assert found.tau == pytest.approx(1.0)
    # With two equally close, the method is left out, and two are too few.
    assert not _agreements([printed("kd", 0.81), *theirs[1:], printed("sp", 0.6)][:3])


def test_papers_are_asked_one_by_one() -> None:
    one = [printed(m, v) for m, v in (("kd", 0.8), ("at", 0.7), ("sp", 0.5))]
    two = [printed(m, v, paper="wang2020") for m, v in (("kd", 0.5), ("at", 0.6), ("sp", 0.7))]
    assert [a.tau for a in _agreements([*one, *two])] == pytest.approx([1.0, -1.0])


def test_a_paper_that_ties_all_has_no_order() -> None:
    (found,) = _agreements([printed(m, 0.8) for m in ("kd", "at", "sp")])
    assert (found.tau, found.p) == (None, None)
