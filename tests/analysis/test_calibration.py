import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, item
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from kdtune.analysis import ANALYSES, Item, Measured, Presented, Subject
from kdtune.analysis.calibration import (
    Calibration,
    binned,
    brier_score,
    expected_calibration_error,
    fitted_temperature,
    maximum_calibration_error,
    scored,
)
from kdtune.analysis.figures import style
from kdtune.analysis.reading import answers


def _of(confidence: Sequence[float], right: Sequence[bool], bins: int) -> tuple[float, float]:
    sorted_in = binned(torch.tensor(confidence, dtype=torch.float64), torch.tensor(right), bins)
    return expected_calibration_error(sorted_in), maximum_calibration_error(sorted_in)


def _noise(rows: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits and labels that follow them, about as well as a network does."""
    numbers = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=numbers, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=numbers)[:, 0]
    return logits, labels


def _calibrated() -> tuple[Tensor, Tensor]:
    """Three classes; of samples with probabilities p, the shares p have each label."""
    groups = [((0.5, 0.3, 0.2), 10), ((0.8, 0.1, 0.1), 10), ((0.2, 0.2, 0.6), 5)]
    logits, labels = [], []
    for shares, count in groups:
        logits += [[math.log(share) for share in shares]] * count
        labels += [c for c, share in enumerate(shares) for _ in range(round(share * count))]
    return torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)


def _ece_by_loop(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """The usual form: a mask for each bin, and the gap weighted by the share that it holds."""
    sure, top = probabilities.max(axis=1), probabilities.argmax(axis=1)
    total = 0.0
    for k in range(bins):
        inside = (sure > k / bins) & (sure <= (k + 1) / bins)
        if inside.any():
            gap = abs((top[inside] == labels[inside]).mean() - sure[inside].mean())
            total += gap * inside.mean()
    return float(total)


def test_errors_equal_values_worked_out_by_hand() -> None:
    # (0, 1/2]: 0.3 and 0.5, one of them right: gap 0.1. (1/2, 1]: 0.7, 0.9, 1.0, right, wrong,
    # right: gap 0.2.
    ece, mce = _of([0.3, 0.5, 0.7, 0.9, 1.0], [True, False, True, False, True], bins=2)
    assert ece == pytest.approx((2 * 0.1 + 3 * 0.2) / 5, rel=1e-12)
    assert mce == pytest.approx(0.2, rel=1e-12)


def test_an_edge_belongs_to_the_bin_below_it_and_zero_to_the_first() -> None:
    edges = torch.arange(16, dtype=torch.float64) / 15
    counts = binned(edges, torch.ones(16, dtype=torch.bool), 15).count
    assert counts.tolist() == [2] + [1] * 14
    # 3 * 0.1 is above 0.3: only the quotient 3 / 10 is the edge that one reads.
    right = torch.ones(9, dtype=torch.bool)
    for kind in (torch.float64, torch.float32):
        tenths = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], dtype=kind)
        above = torch.nextafter(tenths, torch.ones(9, dtype=kind))
        assert binned(tenths, right, 10).count.tolist() == [1] * 9 + [0]
        assert binned(above, right, 10).count.tolist() == [0] + [1] * 9


def test_empty_bins_count_for_nothing() -> None:
    sorted_in = binned(torch.tensor([0.95]), torch.tensor([True]), 10)
    assert sorted_in.gaps[:9].tolist() == [0.0] * 9
    assert expected_calibration_error(sorted_in) == pytest.approx(0.05, rel=1e-6)
    assert maximum_calibration_error(sorted_in) == pytest.approx(0.05, rel=1e-6)


def test_one_bin_compares_mean_confidence_with_accuracy() -> None:
    logits, labels = _noise(300, 6, seed=0)
    numbers, _ = scored(logits, labels, 1)
    gap = abs(numbers["confidence"] - numbers["accuracy"])
    assert numbers["ece"] == pytest.approx(gap, rel=1e-9)
    assert numbers["mce"] == numbers["ece"]


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_the_error_equals_another_implementation(bins: int) -> None:
    logits, labels = _noise(2000, 10, seed=1)
    probabilities = (3 * logits).softmax(dim=1).numpy()
    expected = _ece_by_loop(probabilities, labels.numpy(), bins)
    assert expected > 0.05
    numbers, _ = scored(3 * logits, labels, bins)
    assert numbers["ece"] == pytest.approx(expected, rel=1e-5)


def test_logits_that_are_right_as_often_as_they_say_have_no_error() -> None:
    numbers, _ = scored(*_calibrated(), 15)
    assert numbers["ece"] == pytest.approx(0, abs=1e-12)
    assert numbers["mce"] == pytest.approx(0, abs=1e-12)
    assert numbers["accuracy"] == pytest.approx(numbers["confidence"], rel=1e-12)


def test_a_network_that_is_always_sure_and_always_wrong_has_the_largest_errors() -> None:
    logits = torch.tensor([[800.0, 0.0], [800.0, 0.0]])
    numbers, _ = scored(logits, torch.tensor([1, 1]), 15)
    assert numbers["ece"] == numbers["mce"] == 1
    assert numbers["brier"] == 2
    assert numbers["nll"] == 800


def test_the_brier_score_equals_a_value_worked_out_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    expected = 0.5**2 + 0.7**2 + 0.2**2
    assert brier_score(logits, torch.tensor([1])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", [0.25, 1.0, 3.0])
def test_a_calibrated_network_times_k_has_the_temperature_k(k: float) -> None:
    logits, labels = _calibrated()
    scaling = fitted_temperature(k * logits, labels)
    assert scaling.temperature == pytest.approx(k, rel=1e-6)
    assert not scaling.at_bound


def test_the_temperature_goes_with_the_scale_of_the_logits() -> None:
    logits, labels = _noise(500, 5, seed=2)
    own = fitted_temperature(logits, labels).temperature
    assert own != pytest.approx(1, abs=1e-3)
    scaled = fitted_temperature(3.7 * logits, labels).temperature
    assert scaled == pytest.approx(3.7 * own, rel=1e-6)


def test_the_temperature_is_where_newton_finds_it() -> None:
    logits, labels = _noise(500, 5, seed=3)
    logits = 4 * logits
    inverse = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    for _ in range(20):
        loss = functional.cross_entropy(inverse * logits, labels)
        (slope,) = torch.autograd.grad(loss, inverse, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, inverse)
        with torch.no_grad():
            inverse -= slope / curvature
    found = fitted_temperature(logits, labels).temperature
    assert found == pytest.approx(1 / inverse.item(), rel=1e-5)


def test_a_fit_that_nothing_stops_ends_at_the_bound_and_says_so() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    right, wrong = torch.tensor([0, 1]), torch.tensor([1, 0])
    low, high = fitted_temperature(logits, right), fitted_temperature(logits, wrong)
    assert (low.temperature, low.at_bound) == (pytest.approx(0.05), True)
    assert (high.temperature, high.at_bound) == (pytest.approx(20.0), True)


def test_arguments_that_do_not_fit_are_refused() -> None:
    hits = torch.tensor([True, False])
    with pytest.raises(ValueError, match="bins must be >= 1, got 0"):
        binned(torch.tensor([0.5, 0.5]), hits, 0)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got 0.5 to 1.5"):
        binned(torch.tensor([0.5, 1.5]), hits, 3)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        binned(torch.tensor([0.5, math.nan]), hits, 3)
    with pytest.raises(ValueError, match=r"\(n,\) with n >= 1, got \(1,\) and \(2,\)"):
        binned(torch.tensor([0.5]), hits, 3)
    with pytest.raises(ValueError, match="n >= 1"):
        fitted_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Calibration(bins=0)


def test_trained_networks_give_the_same_finite_numbers_twice(subjects: Sequence[Subject]) -> None:
    analysis = ANALYSES.get("calibration")()
    first, again = (analysis.measure(subjects[0]) for _ in range(2))
    assert first.numbers == again.numbers
    assert all(np.array_equal(first.arrays[key], again.arrays[key]) for key in first.arrays)
    assert all(map(math.isfinite, first.numbers.values()))
    assert {name.split("/")[1] for name in first.numbers} == {"val", "test"}


def test_the_temperature_is_fitted_on_validation_and_tried_on_test(
    subjects: Sequence[Subject],
) -> None:
    subject = subjects[2]
    numbers = Calibration(bins=10).measure(subject).numbers
    val, test = (
        answers(subject.student, subject, split)
        for split in (subject.dataset.val, subject.dataset.test)
    )
    temperature = fitted_temperature(val.logits, val.labels).temperature
    assert numbers["temperature/val"] == temperature
    probabilities = (test.logits.double() / temperature).softmax(dim=1).numpy()
    expected = _ece_by_loop(probabilities, test.labels.numpy(), 10)
    assert numbers["ece_scaled/test"] == pytest.approx(expected, rel=1e-5)
    at_t = functional.cross_entropy(test.logits.double() / temperature, test.labels).item()
    assert numbers["nll_scaled/test"] == pytest.approx(at_t, rel=1e-9)
    assert numbers["nll_scaled/test"] < numbers["nll/test"]


def test_scaling_leaves_the_accuracy_as_it_is() -> None:
    logits, labels = _noise(400, 10, seed=4)
    scaling = fitted_temperature(5 * logits, labels)
    before, _ = scored(5 * logits, labels, 15)
    after, _ = scored(5 * logits / scaling.temperature, labels, 15)
    assert before["accuracy"] == after["accuracy"]
    assert after["ece"] < before["ece"]


def test_a_run_without_a_teacher_has_the_numbers_of_its_student(
    subjects: Sequence[Subject],
) -> None:
    taught, alone = (Calibration().measure(subjects[place]) for place in (0, 2))
    assert not any(name.startswith("teacher_") for name in alone.numbers)
    assert {f"teacher_{name}" for name in alone.numbers} < set(taught.numbers)
    assert "teacher_bins" not in alone.arrays
    with style():
        shown = Calibration().present([item(subjects[0], taught), item(subjects[2], alone)])
    students, teachers = shown.tables
    assert [row[0] for row in students.rows] == ["T = 1", "alone"]
    assert [row[0] for row in teachers.rows] == ["T = 1"]


def _present(folder: Path, count: int, **keys: float | str) -> Presented:
    bins = np.array([[3, 0, 20], [0.2, 0, 0.9], [0.5, 0, 0.8]])
    names = ("accuracy", "confidence", "ece", "mce", "nll", "brier", "ece_scaled", "nll_scaled")
    numbers = {f"{name}/test": 0.25 for name in names}
    numbers |= {"temperature/val": 0.05, "temperature_at_bound/val": 1.0}
    arrays = {
        "samples": np.array([20, 23]),
        "student_bins": bins,
        "student_scaled_bins": bins,
    }
    items = [
        Item(
            label=f"finalist 1, seed {seed}",
            config=config(folder, seed=seed, **keys),
            measured=Measured(numbers=numbers, arrays=arrays),
        )
        for seed in range(count)
    ]
    with style():
        return Calibration(bins=3).present(items)


def test_many_subjects_are_spread_over_figures_and_averaged(tmp_path: Path) -> None:
    shown = _present(tmp_path, 13)
    assert list(shown.figures) == ["calibration", "reliability_1", "reliability_2"]
    assert shown.tables[-1].rows[0][:4] == ["finalist 1", 13, 25.0, 0.0]


def test_notes_tell_what_the_temperature_rests_on(tmp_path: Path) -> None:
    shown = _present(tmp_path, 1, train__on="train+val")
    assert list(shown.figures) == ["calibration", "reliability"]
    notes = " ".join(shown.tables[0].notes)
    for said in (
        "n: val 20, test 23 images",
        "Trained on the validation images too: finalist 1, seed 0.",
        "T of the student is at an end of its range, 0.05 to 20",
        "The temperature is chosen on val",
    ):
        assert said in notes
