"""Paired tests over shared seeds, by hand and against scipy."""

import math
from dataclasses import replace

import pytest
from made_results import measured
from scipy.stats import ttest_rel

from kdtune.compare.paired import PairedTest, paired_tests
from kdtune.compare.pivot import pivot
from kdtune.compare.result import Result

SCRATCH = measured("scratch", [0.90, 0.91, 0.92])


def _tests(
    *results: Result, against: str = "scratch", by: tuple[str, ...] = ("method",)
) -> dict[object, PairedTest]:
    return {test.row: test for test in paired_tests(pivot(results, by=by), against=against)}


def test_a_test_by_hand() -> None:
    test = _tests(SCRATCH, measured("kd", [0.92, 0.94, 0.93]))[("kd",)]
    # Differences 0.02, 0.03, 0.01: mean 0.02, deviation 0.01, t = 0.02 sqrt(3) / 0.01.
    t = 0.02 * math.sqrt(3) / 0.01
    assert test.difference == pytest.approx(0.02)
    # Two degrees of freedom: P(|T| > t) = 1 - t / sqrt(t^2 + 2), and t_0.975 = 4.302653.
    assert test.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert (test.low, test.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert test.corrected == pytest.approx(test.p)
    assert (test.reference, test.seeds, test.why) == (("scratch",), (1, 2, 3), "")


def test_only_shared_seeds_count() -> None:
    own = {2: 0.95, 3: 0.93, 4: 0.10, 7: 0.2}
    test = _tests(SCRATCH, measured("kd", own))[("kd",)]
    assert test.seeds == (2, 3)
    assert test.difference == pytest.approx((0.04 + 0.01) / 2)
    assert test.p == pytest.approx(ttest_rel([0.95, 0.93], [0.91, 0.92]).pvalue)


def test_what_cannot_be_tested_says_why() -> None:
    found = _tests(
        SCRATCH,
        measured("kd", {8: 0.9, 9: 0.9}),
        measured("at", {1: 0.95}),
        measured("sp", [0.91, 0.92, 0.93]),
    )
    reasons = {row: (test.p, test.difference, test.why) for row, test in found.items()}
    assert reasons[("kd",)] == (None, None, "no seeds in common")
    assert reasons[("at",)] == (None, pytest.approx(0.05), "one seed in common, a test needs two")
    assert reasons[("sp",)] == (None, pytest.approx(0.01), "the same difference for every seed")


def test_a_test_that_stands_in_several_columns_is_corrected_once() -> None:
    alone = measured("dml", [0.92, 0.94, 0.93])
    alone = replace(alone, settings={k: v for k, v in alone.settings.items() if k != "teacher"})
    taught = [measured("kd", [0.91, 0.94, 0.94], teacher=name) for name in ("vgg13", "vgg19")]
    found = paired_tests(pivot([SCRATCH, alone, *taught], by=("method",)), against="scratch")
    corrected = {(test.row[0], test.p, test.corrected) for test in found}
    assert (len(found), len(corrected)) == (4, 2)
    # Three hypotheses: two of kd, with the same p, and one of dml, which has the least.
    (p_dml, dml), (p_kd, kd) = (
        next((p, q) for row, p, q in corrected if row == name) for name in ("dml", "kd")
    )
    assert p_dml < p_kd < 3 * p_dml
    assert (dml, kd) == pytest.approx((p_kd, p_kd))


def test_p_values_are_corrected_over_all_columns_by_hand() -> None:
    results = []
    for dataset in ("cifar10", "cifar100"):
        results.append(measured("scratch", [0.90, 0.91, 0.92], dataset=dataset))
        results.append(measured("kd", [0.92, 0.94, 0.93], dataset=dataset))
    results.append(measured("at", [0.95, 0.97, 0.96]))
    results.append(measured("sp", [0.91, 0.90, 0.94]))
    tests = paired_tests(pivot(results, by=["method"]), against="scratch")
    ps = sorted((test.p or 0.0, test.corrected or 0.0) for test in tests)
    assert len(ps) == 4
    (p1, c1), (p2, c2), (p3, c3), (p4, c4) = ps
    # Benjamini and Hochberg: p_i m / i, and never more than the next one's.
    assert c4 == pytest.approx(p4)
    assert c3 == pytest.approx(min(p3 * 4 / 3, c4))
    assert c2 == pytest.approx(min(p2 * 4 / 2, c3))
    assert c1 == pytest.approx(min(p1 * 4, c2))
    assert p2 == pytest.approx(p3)


def test_a_row_is_tested_against_the_reference_that_is_otherwise_like_it() -> None:
    plain, mixed = ({"augment": augment} for augment in ("none", "cutmix"))
    found = _tests(
        measured("scratch", [0.90, 0.91], **plain),
        measured("scratch", [0.80, 0.82], **mixed),
        measured("kd", [0.95, 0.97], **plain),
        measured("kd", [0.90, 0.93], **mixed),
        measured("kd", [0.90, 0.93], augment="mixup"),
        by=("method", "augment"),
    )
    assert found[("kd", "none")].difference == pytest.approx(0.055)
    assert found[("kd", "cutmix")].difference == pytest.approx(0.105)
    assert "several references" in found[("kd", "mixup")].why
    alone = _tests(
        measured("scratch", [0.90, 0.91], **plain),
        measured("kd", [0.90, 0.93], **mixed),
        by=("method", "augment"),
    )
    assert alone[("kd", "cutmix")].reference == ("scratch", "none")


def test_any_row_can_be_the_reference() -> None:
    found = _tests(SCRATCH, measured("kd", [0.92, 0.94, 0.93]), against="kd")
    assert list(found) == [("scratch",)]
    assert found[("scratch",)].difference == pytest.approx(-0.02)
    assert not _tests(SCRATCH, measured("kd", [0.92, 0.94, 0.93]), against="at")


def test_columns_are_not_mixed() -> None:
    other = measured("scratch", [0.5, 0.6, 0.55], train__epochs=12)
    assert not _tests(other, measured("kd", [0.92, 0.94, 0.93], train__epochs=240))
