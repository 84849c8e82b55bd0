import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, item, made
from torch import Tensor, nn

from kdtune.analysis import Subject
from kdtune.analysis.figures import style
from kdtune.analysis.target_entropy import (
    TargetEntropy,
    listed_temperatures,
    own_temperature,
    target_entropy,
)
from kdtune.contracts import Scalar


class Says(nn.Module):
    """The same logits for every image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


class Silent(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("only the teacher is to be asked")


def _random(rows: int = 50, classes: int = 7) -> Tensor:
    return 5 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(0))


def _subject(store: Path, logits: Tensor, label: str = "run", **keys: Scalar) -> Subject:
    return made(label, config(store, **keys), Silent(), Says(logits))


@pytest.mark.parametrize("classes", [2, 10, 200])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 64.0])
def test_uniform_targets_have_the_entropy_ln_c(classes: int, temperature: float) -> None:
    logits = torch.full((3, classes), 17.5)
    entropy = target_entropy(logits, temperature)
    assert entropy.dtype == torch.float64
    assert entropy.item() == pytest.approx(math.log(classes), rel=1e-14)


def test_at_a_high_temperature_the_entropy_reaches_ln_c_from_below() -> None:
    logits = _random()
    entropies = [target_entropy(logits, 10.0**power).item() for power in range(-1, 5)]
    assert entropies == sorted(entropies)
    assert entropies[0] < 0.3 * math.log(7)
    assert 0 < math.log(7) - entropies[-1] < 1e-6


def test_one_hot_targets_have_no_entropy() -> None:
    assert target_entropy(1e30 * torch.eye(5), 4.0).item() == 0
    assert target_entropy(_random(), 1e-6).item() == pytest.approx(0, abs=1e-12)


def test_logits_and_temperature_scaled_together_give_the_same_entropy() -> None:
    logits = _random().double()
    entropy = target_entropy(logits, 3.0).item()
    assert target_entropy(8 * logits, 24.0).item() == pytest.approx(entropy, rel=1e-14)
    assert target_entropy(logits + 100, 3.0).item() == pytest.approx(entropy, rel=1e-12)
    assert target_entropy(logits, 6.0).item() > 1.2 * entropy


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_of_two_classes_the_entropy_is_that_of_one_probability(temperature: float) -> None:
    # Odds of 3 to 1 give ln 4 - 3/4 ln 3.
    logits = torch.tensor([[0.0, temperature * math.log(3)]], dtype=torch.float64)
    expected = math.log(4) - 0.75 * math.log(3)
    assert target_entropy(logits, temperature).item() == pytest.approx(expected, rel=1e-14)


def test_the_entropy_is_the_mean_over_images() -> None:
    logits = torch.stack([torch.zeros(4), torch.tensor([1e6, 0.0, 0.0, 0.0])])
    assert target_entropy(logits, 1.0).item() == pytest.approx(math.log(4) / 2, rel=1e-14)


def test_the_entropy_equals_another_implementation() -> None:
    logits = _random().double()
    powers = np.exp(logits.numpy() / 3)
    shares = powers / powers.sum(axis=1, keepdims=True)
    expected = np.mean([sum(-p * np.log(p) for p in row) for row in shares])
    assert target_entropy(logits, 3.0).item() == pytest.approx(float(expected), rel=1e-12)


def test_what_has_no_entropy_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        target_entropy(torch.zeros(2, 3), 0.0)
    with pytest.raises(ValueError, match=r"must be \(n, C\) with n > 0, got \(0, 3\)"):
        target_entropy(torch.zeros(0, 3), 1.0)
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        target_entropy(torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="must be finite"):
        target_entropy(torch.tensor([[0.0, math.nan]]), 1.0)


def test_temperatures_are_listed_with_commas() -> None:
    assert listed_temperatures("0.5, 1,64") == (0.5, 1.0, 64.0)


@pytest.mark.parametrize("text", ["", "1,", "1,1", "2,1", "0,1", "-1", "1,inf", "nan", "one"])
def test_other_temperatures_are_refused_before_any_work(text: str) -> None:
    with pytest.raises(ValueError, match=f"must be rising numbers > 0.*got '{text}'"):
        TargetEntropy(temperatures=text)


def test_the_metrics_are_of_the_given_temperatures_and_of_the_runs_own(tmp_path: Path) -> None:
    row = torch.zeros(1, 10)
    row[0, 2] = 5.0
    subject = _subject(tmp_path, row, temperature=5.0)
    numbers = TargetEntropy(temperatures="0.5,5").measure(subject).numbers
    # p = e / (e + 9) at T = 5.
    p = math.e / (math.e + 9)
    expected = -p * math.log(p) + (1 - p) * math.log(math.e + 9)
    assert set(numbers) == {
        "target_entropy_t0_5/train",
        "target_entropy_t5/train",
        "target_entropy/train",
    }
    assert numbers["target_entropy/train"] == numbers["target_entropy_t5/train"]
    assert numbers["target_entropy/train"] == pytest.approx(expected, rel=1e-9)


def test_a_method_that_reads_no_logits_of_its_teacher_has_no_temperature(tmp_path: Path) -> None:
    features = _subject(tmp_path, torch.zeros(1, 10), method="at", alpha=0.0)
    assert own_temperature(features.config) is None
    assert "target_entropy/train" not in TargetEntropy().measure(features).numbers
    with_kd = _subject(tmp_path, torch.zeros(1, 10), method="at", alpha=0.5, temperature=3.0)
    assert own_temperature(with_kd.config) == 3


def test_the_training_images_are_those_of_the_run(tmp_path: Path) -> None:
    both = _subject(tmp_path, torch.zeros(1, 10), train__on="train+val")
    limited = _subject(tmp_path, torch.zeros(1, 10), data__train_limit=50)
    for subject, expected in ((both, 1078 + 360), (limited, 50)):
        assert TargetEntropy().measure(subject).arrays["images"] == expected


def test_a_run_without_a_teacher_is_refused(subjects: Sequence[Subject]) -> None:
    with pytest.raises(ValueError, match="needs a run with a teacher, got method 'scratch'"):
        TargetEntropy().measure(subjects[2])


def test_students_of_one_teacher_make_one_curve(tmp_path: Path) -> None:
    made_of = [
        _subject(tmp_path, torch.zeros(1, 10), "a", temperature=1.0, label_smoothing=0.1),
        _subject(tmp_path / "elsewhere", torch.zeros(1, 10), "b", seed=7, label_smoothing=0.1),
        _subject(tmp_path, torch.eye(10)[:1], "c", temperature=1.0),
        _subject(tmp_path, torch.eye(10)[:1], "d", train__on="train+val"),
    ]
    analysis = TargetEntropy(temperatures="1,2")
    items = [item(subject, analysis.measure(subject)) for subject in made_of]
    with style():
        shown = analysis.present(items)
    teachers, runs = shown.tables
    assert [row[0] for row in teachers.rows] == [
        "resnet8x0.5, smoothing 0.1, 3 epochs",
        "resnet8x0.5, plain, 3 epochs, train.on train",
        "resnet8x0.5, plain, 3 epochs, train.on train+val",
    ]
    assert [row[1:5] for row in teachers.rows] == [
        [0.1, 3, 0, 1078],
        [0.0, 3, 0, 1078],
        [0.0, 3, 0, 1438],
    ]
    assert teachers.columns[5:] == ["T = 1", "T = 2", "maximum ln C"]
    assert teachers.rows[0][5:] == pytest.approx([math.log(10)] * 3)
    assert [row[0] for row in runs.rows] == ["a", "b", "c", "d"]
    assert [row[3] for row in runs.rows] == [1.0, 4.0, 1.0, 4.0]
    axis = shown.figures["target_entropy"].axes[0]
    curves = [line for line in axis.lines if line.get_marker() != "None"]
    assert [line.get_label() for line in curves] == [row[0] for row in teachers.rows]
    assert axis.get_xscale() == "log"
    assert [line.get_linestyle() for line in axis.lines if line not in curves] == ["--"]


def test_teachers_that_differ_otherwise_are_told_apart(tmp_path: Path) -> None:
    made_of = [
        _subject(tmp_path, torch.zeros(1, 10), "a"),
        _subject(tmp_path, torch.zeros(1, 10), "b", teacher__lr=0.2),
    ]
    analysis = TargetEntropy()
    with style():
        shown = analysis.present([item(each, analysis.measure(each)) for each in made_of])
    assert [row[0] for row in shown.tables[0].rows] == [
        "resnet8x0.5, plain, 3 epochs, train.lr 0.1",
        "resnet8x0.5, plain, 3 epochs, train.lr 0.2",
    ]


def test_a_teacher_from_a_file_is_called_by_it(tmp_path: Path) -> None:
    keys = {
        "teacher_epochs": None,
        "teacher.full_epochs": None,
        "teacher.weights": "/models/big.safetensors",
    }
    subject = _subject(tmp_path, torch.zeros(1, 10), **keys)
    analysis = TargetEntropy()
    with style():
        shown = analysis.present([item(subject, analysis.measure(subject))])
    assert shown.tables[0].rows[0][:4] == ["resnet8x0.5 from big.safetensors", None, None, None]


def test_trained_teachers_give_the_same_bits_twice(subjects: Sequence[Subject]) -> None:
    analysis = TargetEntropy()
    measured = [analysis.measure(subject) for subject in subjects[:2]]
    again = [analysis.measure(subject) for subject in subjects[:2]]
    assert [m.numbers for m in measured] == [m.numbers for m in again]
    curve = measured[0].arrays["entropies"].tolist()
    assert curve == sorted(curve)
    assert 0 < curve[0] < curve[-1] < math.log(10)
    assert curve == measured[1].arrays["entropies"].tolist()
    for subject, found in zip(subjects, measured, strict=False):
        temperature = own_temperature(subject.config)
        assert temperature is not None
        own = found.numbers[f"target_entropy_t{temperature:g}/train"]
        assert found.numbers["target_entropy/train"] == own
