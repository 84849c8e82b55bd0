import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, item, made
from reciting import Always, Recites
from torch import Tensor, nn

from kdtune.analysis import Item, Measured, Presented, Subject
from kdtune.analysis.figures import style
from kdtune.analysis.robustness import (
    Robustness,
    is_imbalanced,
    label_noise_response,
    tail_and_head,
)
from kdtune.contracts import Scalar
from kdtune.data import Dataset
from kdtune.training.data import load_trial_data


def _present(items: Sequence[Item]) -> Presented:
    with style():
        return Robustness().present(items)


def _recites(store: Path, kind: str, **keys: Scalar) -> Subject:
    """A subject that calls images by their ``true`` or by the ``given`` label."""
    settings = config(store, method="scratch", **keys)
    dataset = load_trial_data(settings)
    called = {"true": dataset.test.labels, "given": dataset.train.labels}[kind]
    return made(kind, settings, Recites(dataset, called))


def _wrong(dataset: Dataset) -> Tensor:
    return dataset.train.targets.ne(dataset.true_targets)


def test_the_response_to_noise_equals_values_worked_out_by_hand() -> None:
    true = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    given = np.array([0, 0, 1, 1, 2, 0, 0, 1])
    predicted = np.array([0, 2, 0, 1, 2, 0, 2, 0])
    assert label_noise_response(predicted, given, true) == {
        "wrong_labels": 5 / 8,
        "true_label_accuracy": 2 / 3,
        "recovered": 2 / 5,
        "memorised": 2 / 5,
    }


def test_what_there_are_no_images_for_is_left_out() -> None:
    labels = np.array([0, 1, 1])
    clean = label_noise_response(np.array([0, 1, 0]), labels, labels)
    assert clean == {"wrong_labels": 0, "true_label_accuracy": 2 / 3}
    spoilt = label_noise_response(labels, 1 - labels, labels)
    assert spoilt == {"wrong_labels": 1, "recovered": 1, "memorised": 0}
    with pytest.raises(ValueError, match=r"must be \(n,\) with n > 0, got \(0,\)"):
        label_noise_response(labels[:0], labels[:0], labels[:0])
    with pytest.raises(ValueError, match=r"got \(2,\), \(3,\) and \(3,\)"):
        label_noise_response(labels[:2], labels, labels)


def test_a_network_that_calls_images_by_their_true_label_recovers_all(tmp_path: Path) -> None:
    subject = _recites(tmp_path, "true", data__label_noise=0.4)
    numbers = Robustness().measure(subject).numbers
    share = _wrong(subject.dataset).double().mean().item()
    assert 0.3 < share < 0.42
    assert numbers == {
        "accuracy/test": 1,
        "true_label_accuracy/train": 1,
        "recovered/train": 1,
        "memorised/train": 0,
        "wrong_labels/train": pytest.approx(share),
    }


def test_a_network_that_calls_images_by_their_given_label_memorises_all(tmp_path: Path) -> None:
    subject = _recites(tmp_path, "given", data__label_noise=0.4)
    numbers = Robustness().measure(subject).numbers
    assert numbers["recovered/train"] == 0
    assert numbers["memorised/train"] == 1
    assert numbers["true_label_accuracy/train"] == numbers["accuracy/test"] == 1


def test_a_network_that_ignores_the_image_recovers_what_happens_to_fit(tmp_path: Path) -> None:
    settings = config(tmp_path, method="scratch", data__label_noise=0.6)
    subject = made("always 7", settings, Always(7))
    numbers = Robustness().measure(subject).numbers
    wrong = _wrong(subject.dataset)
    for name, labels in (
        ("recovered", subject.dataset.true_targets),
        ("memorised", subject.dataset.train.targets),
    ):
        expected = labels[wrong].eq(7).double().mean().item()
        assert 0 < expected < 0.3
        assert numbers[f"{name}/train"] == pytest.approx(expected)


def test_tail_and_head_are_thirds_of_the_classes() -> None:
    accuracy = np.array([0.1, 0.9, 0.3, 0.5, 0.7, 0.2, 0.8])
    images = np.array([70, 10, 60, 20, 30, 50, 40])
    assert tail_and_head(accuracy, images) == pytest.approx(((0.9 + 0.5) / 2, (0.3 + 0.1) / 2))
    assert tail_and_head(accuracy[:2], images[:2]) == pytest.approx((0.9, 0.1))
    # Of equal counts the first class is the rarer one.
    assert tail_and_head(accuracy[:3], np.array([5, 5, 5])) == pytest.approx((0.1, 0.3))


def test_classes_without_test_images_are_left_out_of_the_thirds() -> None:
    accuracy = np.array([math.nan, 0.5, 0.0, 0.0, 0.0, math.nan])
    tail, head = tail_and_head(accuracy, np.arange(6))
    assert (tail, head) == (0.5, 0.0)
    assert math.isnan(tail_and_head(accuracy[:3], np.arange(3))[0])


@pytest.mark.parametrize(
    ("images", "uneven"),
    [([50, 100], True), ([51, 100], False), ([0, 1], True), ([7], False), ([104, 109, 107], False)],
)
def test_a_tail_has_half_the_images_of_the_head_or_fewer(images: list[int], uneven: bool) -> None:
    assert is_imbalanced(np.array(images)) is uneven


def test_imbalance_is_seen_in_the_numbers_of_each_class(tmp_path: Path) -> None:
    settings = config(tmp_path, method="scratch", data__imbalance=0.2)
    dataset = load_trial_data(settings)
    # Right on classes 0 and 8 alone: one of the rarest three, one of the most frequent three.
    called = torch.where(dataset.test.labels == 8, 8, 0)
    measured = Robustness().measure(made("two", settings, Recites(dataset, called)))
    images = measured.arrays["images"].tolist()
    assert images == torch.bincount(dataset.train.targets).tolist() == sorted(images)
    assert measured.arrays["class_accuracy"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    assert measured.numbers["tail_accuracy/test"] == pytest.approx(1 / 3)
    assert measured.numbers["head_accuracy/test"] == pytest.approx(1 / 3)
    assert "recovered/train" not in measured.numbers


def test_class_sizes_are_of_the_true_labels(tmp_path: Path) -> None:
    subject = _recites(tmp_path, "true", data__imbalance=0.2, data__label_noise=0.6)
    measured = Robustness().measure(subject)
    sizes = torch.bincount(subject.dataset.true_targets)
    assert measured.arrays["images"].tolist() == sizes.tolist()
    assert not torch.equal(sizes, torch.bincount(subject.dataset.train.targets, minlength=10))
    assert measured.numbers["recovered/train"] == measured.numbers["tail_accuracy/test"] == 1


@pytest.mark.parametrize("on", ["train", "train+val"])
def test_without_noise_and_imbalance_only_accuracy_is_left(tmp_path: Path, on: str) -> None:
    subject = _recites(tmp_path, "true", train__on=on)
    measured = Robustness().measure(subject)
    assert measured.numbers == {
        "accuracy/test": 1,
        "true_label_accuracy/train": 1,
        "wrong_labels/train": 0,
    }
    assert measured.arrays["images"].sum() == len(subject.dataset.train)
    assert set(_present([item(subject, measured)]).figures) == {"accuracy_by_class_size"}


def _invented(label: str, store: Path, *, recovered: float = 0.5, **keys: Scalar) -> Item:
    settings = config(store, **keys)
    numbers = {"accuracy/test": recovered + 0.1, "true_label_accuracy/train": 0.9}
    if settings.data.label_noise:
        numbers |= {"recovered/train": recovered, "memorised/train": 0.25}
    gamma = settings.data.imbalance
    images = np.full(3, 9) if gamma is None else np.array([9, 1, 1 + round(2 * gamma)])
    arrays = {
        "names": np.array(["a", "b", "c"]),
        "images": images,
        "class_accuracy": np.array([0.25, 0.5, recovered]),
        "test_images": np.array(30),
    }
    return Item(label=label, config=settings, measured=Measured(numbers=numbers, arrays=arrays))


def test_several_noise_levels_make_a_line_for_each_method(tmp_path: Path) -> None:
    items = [
        _invented("kd 0", tmp_path, data__label_noise=0.0),
        _invented("kd 0.2, seed 0", tmp_path, recovered=0.6, data__label_noise=0.2),
        _invented("kd 0.2, seed 1", tmp_path, recovered=0.8, data__label_noise=0.2, seed=1),
        _invented("kd 0.4", tmp_path, recovered=0.3, data__label_noise=0.4),
        _invented("alone", tmp_path, method="scratch", data__label_noise=0.4),
    ]
    shown = _present(items)
    assert set(shown.figures) == {"label_noise"}
    axes = shown.figures["label_noise"].axes
    lines = [container.lines[0] for container in axes[0].containers]
    assert [c.get_label() for c in axes[0].containers] == ["kd", "scratch"]
    assert lines[0].get_xdata().tolist() == pytest.approx([20, 40])
    assert lines[0].get_ydata().tolist() == pytest.approx([70, 30])
    tested = axes[2].containers[0].lines[0]
    assert tested.get_xdata().tolist() == pytest.approx([0, 20, 40])
    rows = {row[0]: row[1:] for row in shown.tables[0].rows}
    assert rows["kd 0"][:5] == ["kd", 0.0, None, 0, pytest.approx(60)]
    assert rows["kd 0.2: mean of 2 seeds"][6] == pytest.approx(70)
    assert rows["kd 0.2: sample std of 2 seeds"][6] == pytest.approx(math.sqrt(200))


def test_one_noise_level_makes_a_row_for_each_configuration(tmp_path: Path) -> None:
    items = [
        _invented("kd", tmp_path, recovered=0.6, data__label_noise=0.2),
        _invented("alone", tmp_path, method="scratch", data__label_noise=0.2),
    ]
    axis = _present(items).figures["label_noise"].axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["kd", "alone"]
    found = {c.get_label(): c.lines[0].get_xdata().tolist() for c in axis.containers}
    assert found == {
        "recovered": pytest.approx([60.0, 50.0]),
        "memorised": pytest.approx([25.0, 25.0]),
    }


def test_each_imbalance_makes_a_panel_and_a_table_with_the_rarest_class_first(
    tmp_path: Path,
) -> None:
    items = [
        _invented("kd, gamma 0.5", tmp_path, data__imbalance=0.5),
        _invented("alone, gamma 0.5", tmp_path, method="scratch", data__imbalance=0.5),
        _invented("kd, gamma 2", tmp_path, recovered=0.75, data__imbalance=2.0),
        _invented("balanced", tmp_path),
    ]
    shown = _present(items)
    assert set(shown.figures) == {"accuracy_by_class_size"}
    assert [len(table.columns) for table in shown.tables[1:]] == [4, 3]
    assert shown.tables[2].rows == [["b", 1, 50.0], ["c", 5, 75.0], ["a", 9, 25.0]]
    panels = [axis for axis in shown.figures["accuracy_by_class_size"].axes if axis.lines]
    assert [axis.get_title(loc="left") for axis in panels] == [
        "Imbalance gamma 0.5",
        "Imbalance gamma 2",
    ]
    assert [line.get_label() for line in panels[0].lines] == ["kd", "scratch"]
    assert panels[0].lines[0].get_color() == panels[1].lines[0].get_color()
    assert panels[1].lines[0].get_ydata().tolist() == [50, 75, 25]


def test_classes_of_several_seeds_are_shown_with_their_deviation(tmp_path: Path) -> None:
    items = [
        _invented("kd, seed 0", tmp_path, recovered=0.5, data__imbalance=2.0),
        _invented("kd, seed 1", tmp_path, recovered=0.75, data__imbalance=2.0, seed=1),
        _invented("alone", tmp_path, method="scratch", data__imbalance=2.0),
    ]
    table = _present(items).tables[1]
    assert table.columns == ["class", "training images", "kd, mean", "kd, std", "alone"]
    assert table.rows == [
        ["b", 1, 50.0, 0.0, 50.0],
        ["c", 5, 62.5, pytest.approx(math.sqrt(312.5)), 50.0],
        ["a", 9, 25.0, 0.0, 25.0],
    ]
    assert table.notes[0] == "30 test images."
    assert table.notes[1].endswith("their seed: n = 2 of kd; n = 1 of alone. Seeds 0, 1.")


def test_a_class_without_test_images_has_neither_mean_nor_deviation(tmp_path: Path) -> None:
    items = [
        _invented(f"kd, seed {seed}", tmp_path, data__imbalance=2.0, seed=seed) for seed in (0, 1)
    ]
    for each in items:
        each.measured.arrays["class_accuracy"][2] = math.nan
    assert _present(items).tables[1].rows[1] == ["c", 5, None, None]


def test_trained_students_give_the_same_bits_twice(subjects: Sequence[Subject]) -> None:
    def state(model: nn.Module) -> list[Tensor]:
        return [tensor.clone() for tensor in model.state_dict().values()]

    for subject in subjects:
        before = state(subject.student)
        first, again = (Robustness().measure(subject) for _ in range(2))
        assert first.numbers == again.numbers
        assert all(math.isfinite(value) for value in first.numbers.values())
        assert first.numbers["accuracy/test"] > 0.2
        assert all(map(torch.equal, before, state(subject.student)))
