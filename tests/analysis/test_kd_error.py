import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, item, made
from pydantic import ValidationError
from torch import Tensor, nn

from kdtune import models
from kdtune.analysis import ANALYSES, Item, Measured, Subject
from kdtune.analysis.figures import style
from kdtune.analysis.kd_error import KDError, ce_loss, kd_error, kd_loss
from kdtune.analysis.reading import answers
from kdtune.config import TrialConfig
from kdtune.training.evaluate import scores

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [0.0, 1.0, 5.0], [1.0, 0.0, 0.5]])


def _noise(rows: int, classes: int, seed: int) -> Tensor:
    return 4 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


def _spelt_out(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """T^2 * KL(teacher || student), summed sample by sample in plain Python."""
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = ([math.exp(z / temperature) for z in row] for row in (theirs, ours))
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


def test_the_error_counts_samples_with_other_top_classes() -> None:
    teacher = LOGITS.clone()
    teacher[1] = torch.tensor([9.0, 0.0, 0.0])
    assert kd_error(LOGITS, teacher) == 0.25
    assert kd_error(LOGITS, LOGITS.roll(1, dims=1)) == 1.0


def test_the_error_looks_at_classes_alone() -> None:
    teacher = _noise(50, 5, seed=1)
    assert kd_error(7 * teacher - 3, teacher) == 0
    student = _noise(50, 5, seed=2)
    assert kd_error(student, teacher) == kd_error(teacher, student) > 0


def test_the_loss_equals_a_value_worked_out_by_hand() -> None:
    # At T = 2 the odds of the teacher are 3 : 1, those of the student 1 : 1.
    teacher = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert kd_loss(student, teacher, 2.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 64.0])
def test_the_loss_equals_a_sum_spelt_out(temperature: float) -> None:
    student, teacher = _noise(20, 7, seed=3), _noise(20, 7, seed=4)
    expected = _spelt_out(student, teacher, temperature)
    assert kd_loss(student, teacher, temperature) == pytest.approx(expected, rel=1e-9)
    assert kd_loss(teacher, teacher + 2, temperature) == pytest.approx(0, abs=1e-12)


def test_cross_entropy_equals_a_value_worked_out_by_hand() -> None:
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    expected = -(math.log(0.25) + math.log(0.5)) / 2
    assert ce_loss(logits, torch.tensor([1, 0])) == pytest.approx(expected, rel=1e-6)


def test_tensors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"both be \(n, C\), got \(4, 3\) and \(4, 2\)"):
        kd_error(LOGITS, LOGITS[:, :2])
    with pytest.raises(ValueError, match="at least one sample"):
        kd_loss(LOGITS[:0], LOGITS[:0], 1.0)
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        kd_loss(LOGITS, LOGITS, 0)
    with pytest.raises(ValueError, match=r"\(n,\) with n >= 1"):
        ce_loss(LOGITS, torch.tensor([1]))


def test_options_out_of_range_are_refused_with_the_nearest_choice() -> None:
    with pytest.raises(ValidationError, match="unknown split 'tets'; did you mean 'test'"):
        KDError(splits="train,tets")
    with pytest.raises(ValidationError, match="once each, got 'val,val'"):
        KDError(splits="val,val")
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        KDError(temperature=-1.0)
    assert KDError(splits="test, train").chosen == ("train", "test")


def test_trained_students_give_the_same_finite_numbers_twice(subjects: Sequence[Subject]) -> None:
    analysis = ANALYSES.get("kd_error")()
    subject = subjects[1]
    first, again = analysis.measure(subject), analysis.measure(subject)
    assert first.numbers == again.numbers
    assert all(map(math.isfinite, first.numbers.values()))
    assert len(first.numbers) == 3 * 6
    for split in ("train", "val", "test"):
        number = {name.split("/")[0]: v for name, v in first.numbers.items() if split in name}
        assert number["kd_error"] + number["agreement"] == pytest.approx(1, abs=1e-12)
        # Where exactly one of two is right, they disagree.
        assert number["kd_error"] >= abs(number["student_error"] - number["teacher_error"])


def test_errors_and_cross_entropy_are_those_of_the_evaluation(
    subjects: Sequence[Subject],
) -> None:
    subject = subjects[0]
    assert subject.teacher is not None
    numbers = KDError(splits="val,test").measure(subject).numbers
    for split in ("val", "test"):
        student, teacher = (
            answers(model, subject, getattr(subject.dataset, split))
            for model in (subject.student, subject.teacher)
        )
        ours, theirs = (scores(said.logits, said.labels) for said in (student, teacher))
        assert numbers[f"student_error/{split}"] == pytest.approx(1 - ours["accuracy"])
        assert numbers[f"teacher_error/{split}"] == pytest.approx(1 - theirs["accuracy"])
        assert numbers[f"ce_loss/{split}"] == pytest.approx(ours["loss"], rel=1e-5)


def test_the_loss_is_at_the_temperature_of_the_run_unless_told(
    subjects: Sequence[Subject],
) -> None:
    subject = subjects[1]
    assert subject.teacher is not None
    split = subject.dataset.test
    student, teacher = (
        answers(model, subject, split).logits for model in (subject.student, subject.teacher)
    )
    for option, used in ((0.0, 3.0), (2.0, 2.0)):
        measured = KDError(splits="test", temperature=option).measure(subject)
        expected = _spelt_out(student.double(), teacher.double(), used)
        assert measured.numbers["kd_loss/test"] == pytest.approx(expected, rel=1e-9)


def test_a_student_that_is_its_teacher_is_at_no_distance(tmp_path: Path) -> None:
    network = _network()
    subject = made("same", config(tmp_path), network, network)
    numbers = KDError().measure(subject).numbers
    assert numbers["kd_error/test"] == numbers["kd_loss/test"] == 0
    assert numbers["agreement/train"] == 1
    assert numbers["student_error/val"] == numbers["teacher_error/val"]


def test_losses_are_on_the_labels_that_the_run_saw(tmp_path: Path) -> None:
    network = _network()
    clean = made("clean", config(tmp_path), network, network)
    noisy = made("noisy", config(tmp_path, data__label_noise=0.9), network, network)
    subjects = [clean, noisy]
    a, b = (KDError().measure(subject) for subject in subjects)
    assert a.numbers["ce_loss/train"] != b.numbers["ce_loss/train"]
    for split in ("val", "test"):
        assert a.numbers[f"ce_loss/{split}"] == b.numbers[f"ce_loss/{split}"]
    with style():
        shown = KDError().present([item(clean, a), item(noisy, b)])
    assert "Noisy labels on train, as the run saw them: noisy." in shown.tables[0].notes


def test_a_run_without_a_teacher_is_refused_by_name(subjects: Sequence[Subject]) -> None:
    assert KDError.needs_teacher
    with pytest.raises(ValueError, match="'alone' has none; leave it out"):
        KDError().measure(subjects[2])


def test_tables_have_the_layout_of_the_printed_ones(tmp_path: Path) -> None:
    with style():
        shown = KDError().present([_made_up("a, seed 0", config(tmp_path))])
    second, third, by_split = shown.tables
    assert second.columns == [
        *("Run", "Student", "Teacher"),
        *("KD error (%, train)", "KD error (%, val)", "KD error (%, test)"),
    ]
    assert second.rows == [["a, seed 0", "resnet8x0.25", "resnet8x0.5", 1.0, 2.0, 3.0]]
    assert third.columns[3:] == [
        *("T", "Top-1 error (%, test)", "CE (train)", "KD (train)", "KD (val)", "KD (test)")
    ]
    error = pytest.approx(30.0)
    assert third.rows == [["a, seed 0", "resnet8x0.5", "kd", 4.0, error, 0.1, 0.01, 0.02, 0.03]]
    assert [row[:3] for row in by_split.rows][2] == ["a, seed 0", "test", 30]
    assert "n: train 10, val 20, test 30 images. Seeds: 0." in second.notes[0]


def test_fewer_splits_give_tables_of_those(tmp_path: Path) -> None:
    with style():
        shown = KDError(splits="val").present([_made_up("a", config(tmp_path), splits=("val",))])
    assert list(shown.tables[0].columns)[3:] == ["KD error (%, val)"]
    assert list(shown.tables[1].columns)[4:] == ["Top-1 error (%, val)", "CE (val)", "KD (val)"]


def test_notes_say_which_temperature_the_loss_has(tmp_path: Path) -> None:
    items = [
        _made_up("soft", config(tmp_path, temperature=2.0)),
        _made_up("maps", config(tmp_path, method="at", alpha=0.0)),
    ]
    with style():
        own = KDError().present(items).tables[1].notes
        one = KDError(temperature=5.0).present(items).tables[1].notes
    assert any("T is a default: maps." in note for note in own)
    assert any("different T do not compare" in note for note in own)
    assert one[-1].endswith("with T = 5 for all runs, as asked.")


def test_seeds_of_one_configuration_are_averaged(tmp_path: Path) -> None:
    items = [_made_up(f"a, seed {seed}", config(tmp_path, seed=seed)) for seed in (0, 1)]
    items[1] = replace(
        items[1],
        measured=Measured(
            numbers={**items[1].measured.numbers, "kd_error/train": 0.03},
            arrays=items[1].measured.arrays,
        ),
    )
    with style():
        averaged = KDError().present(items).tables[-1]
    assert averaged.rows[0][:4] == ["a", 2, 2.0, pytest.approx(math.sqrt(2))]


def _network() -> nn.Module:
    return models.build("resnet8x0.25", classes=10, channels=1, size=8, seed=0)


def _made_up(
    label: str, config: TrialConfig, splits: Sequence[str] = ("train", "val", "test")
) -> Item:
    numbers = {}
    for place, split in enumerate(splits, 1):
        shares = {"kd_error": 0.01, "agreement": 0.2, "student_error": 0.1, "teacher_error": 0.05}
        losses = {"ce_loss": 0.1, "kd_loss": 0.01}
        numbers |= {f"{name}/{split}": place * v for name, v in (shares | losses).items()}
    samples = np.arange(1, len(splits) + 1) * 10
    return Item(
        label=label, config=config, measured=Measured(numbers=numbers, arrays={"samples": samples})
    )
