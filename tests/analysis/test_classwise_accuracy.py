import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, item, made
from reciting import Always, Recites
from sklearn.metrics import confusion_matrix

from kdtune.analysis import Item, Measured, Subject
from kdtune.analysis.classwise_accuracy import ClasswiseAccuracy
from kdtune.analysis.confusion import (
    class_accuracy,
    confusion_counts,
    confusion_shares,
    group_confusion,
    most_confused,
)
from kdtune.analysis.figures import style
from kdtune.training.data import load_trial_data

NAMES = ("cat", "dog", "deer", "2")
COUNTS = np.array([[6, 4, 0, 0], [1, 9, 0, 0], [2, 3, 5, 0], [0, 0, 0, 0]])


def test_counts_and_shares_equal_values_worked_out_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 2, 2])
    counts = confusion_counts(np.array([0, 0, 1, 2, 2, 0]), labels, 3)
    assert counts.tolist() == [[2, 1, 1], [0, 0, 0], [1, 0, 1]]
    shares = confusion_shares(counts)
    assert shares[[0, 2]].tolist() == [[0.5, 0.25, 0.25], [0.5, 0.0, 0.5]]
    assert np.isnan(shares[1]).all()
    assert class_accuracy(counts)[[0, 2]].tolist() == [0.5, 0.5]
    assert math.isnan(class_accuracy(counts)[1])


def test_counts_and_shares_equal_those_of_scikit_learn() -> None:
    draws = np.random.default_rng(0)
    labels, predicted = draws.integers(0, 6, 400), draws.integers(0, 6, 400)
    counts = confusion_counts(predicted, labels, 6)
    assert np.array_equal(counts, confusion_matrix(labels, predicted))
    expected = confusion_matrix(labels, predicted, normalize="true")
    np.testing.assert_allclose(confusion_shares(counts), expected, rtol=1e-12)


def test_predictions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must both be \(n,\), got \(1,\) and \(2,\)"):
        confusion_counts(np.array([0]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match=r"must be in \[0, 2\), got 0 to 2"):
        confusion_counts(np.array([0]), np.array([2]), 2)


def test_the_confusion_of_a_group_is_what_its_classes_take_for_each_other() -> None:
    shares = confusion_shares(COUNTS)
    assert group_confusion(shares, (0, 1)) == pytest.approx((0.4 + 0.1) / 2)
    assert group_confusion(shares, (0, 1, 2)) == pytest.approx((0.4 + 0.1 + 0.5) / 3)
    assert group_confusion(shares, (2, 0)) == pytest.approx((0.2 + 0.0) / 2)
    assert group_confusion(shares, (0, 3)) == 0  # class 3 has no images
    assert math.isnan(group_confusion(shares[2:, 2:], (1,)))


def test_pairs_are_ordered_by_their_confusion_and_then_by_class() -> None:
    shares = confusion_shares(COUNTS)
    assert most_confused(shares, range(3), 9) == [(0, 1), (1, 2), (0, 2)]
    assert most_confused(shares, (2, 0, 1), 1) == [(0, 1)]
    assert most_confused(shares, (0, 2), 5) == [(0, 2)]
    assert most_confused(shares, (1,), 5) == []
    assert most_confused(np.full((3, 3), 0.25), range(3), 3) == [(0, 1), (0, 2), (1, 2)]
    of_none = confusion_shares(np.zeros((2, 2), dtype=np.int64))
    assert most_confused(of_none, range(2), 5) == []


def test_unknown_or_too_few_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown class '77'"):
        ClasswiseAccuracy(classes="0,77").measure(_always(tmp_path))
    with pytest.raises(ValueError, match="two classes or more, got 'cat'"):
        ClasswiseAccuracy(similar="cat")


def _always(store: Path, label: int = 3) -> Subject:
    return made("always", config(store, method="scratch"), Always(label))


def test_a_network_that_is_always_right_confuses_nothing(tmp_path: Path) -> None:
    settings = config(tmp_path, method="scratch", data__label_noise=0.4)
    dataset = load_trial_data(settings)
    subject = made("right", settings, Recites(dataset, dataset.test.labels))
    numbers = ClasswiseAccuracy().measure(subject).numbers
    for split in ("val", "train"):  # the training images too, whose labels are noisy
        assert numbers[f"mean_class_accuracy/{split}"] == 1
        assert numbers[f"worst_class_accuracy/{split}"] == 1
        assert numbers[f"similar_confusion/{split}"] == 0


def test_a_network_that_always_says_one_class_takes_all_others_for_it(tmp_path: Path) -> None:
    subject = _always(tmp_path)
    numbers = ClasswiseAccuracy().measure(subject).numbers
    for split in ("val", "train"):
        assert numbers[f"mean_class_accuracy/{split}"] == pytest.approx(0.1)
        assert numbers[f"worst_class_accuracy/{split}"] == 0
        # Five pairs with class 3: all of the other class, none of class 3.
        assert numbers[f"similar_confusion/{split}"] == pytest.approx(0.5)


def test_the_class_set_is_what_numbers_are_of(tmp_path: Path) -> None:
    subject = _always(tmp_path)
    some = ClasswiseAccuracy(classes="3,8").measure(subject).numbers
    assert some["mean_class_accuracy/val"] == pytest.approx(0.5)
    assert some["similar_confusion/val"] == pytest.approx(0.5)
    without = ClasswiseAccuracy(classes="1,8").measure(subject).numbers
    assert without["mean_class_accuracy/val"] == without["similar_confusion/val"] == 0
    alone = ClasswiseAccuracy(classes="3").measure(subject).numbers
    assert alone["worst_class_accuracy/train"] == 1
    assert "similar_confusion/val" not in alone


def test_similar_classes_can_be_given(tmp_path: Path) -> None:
    subject = _always(tmp_path)
    three = ClasswiseAccuracy(similar="3,8,9").measure(subject).numbers
    assert three["similar_confusion/val"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="unknown class 'ten'"):
        ClasswiseAccuracy(similar="3,ten").measure(subject)


def test_a_class_taken_for_another_counts_for_that_pair(tmp_path: Path) -> None:
    settings = config(tmp_path, method="scratch")
    dataset = load_trial_data(settings)
    called = torch.where(dataset.test.labels == 4, 9, dataset.test.labels)
    subject = made("takes 4 for 9", settings, Recites(dataset, called))
    analysis = ClasswiseAccuracy(pairs=1)
    measured = analysis.measure(subject)
    assert measured.numbers["mean_class_accuracy/val"] == pytest.approx(0.9)
    assert measured.numbers["similar_confusion/val"] == pytest.approx(0.5)
    with style():
        shown = analysis.present([item(subject, measured)])
    runs, classes, pairs = shown.tables
    assert runs.rows[0][:3] == ["takes 4 for 9", 0, "4"]
    assert [row[1] for row in classes.rows] == pytest.approx([100.0] * 4 + [0] + [100] * 5 + [90])
    assert pairs.columns == ["run", "n", "4 / 9"]
    assert pairs.rows == [["takes 4 for 9", 1, pytest.approx(50)]]
    assert not shown.numbers


def test_among_several_runs_similar_classes_are_the_same_for_all(
    subjects: Sequence[Subject],
) -> None:
    analysis = ClasswiseAccuracy(pairs=2)
    measured = [analysis.measure(subject) for subject in subjects]
    with style():
        shown = analysis.present([item(s, m) for s, m in zip(subjects, measured, strict=True)])
    pairs = shown.tables[2]
    for subject, own, row in zip(subjects, measured, pairs.rows, strict=True):
        shared = shown.numbers[subject.label]["shared_similar_confusion/val"]
        assert row[0] == subject.label
        assert 100 * shared == pytest.approx(sum(row[2:]) / 2)
        # A run's own most confused pairs are confused most.
        assert own.numbers["similar_confusion/val"] >= shared - 1e-12
    with style():
        given = ClasswiseAccuracy(similar="3,8").present(
            [item(s, m) for s, m in zip(subjects, measured, strict=True)]
        )
    assert not given.numbers


def test_trained_students_give_the_same_bits_twice(subjects: Sequence[Subject]) -> None:
    for subject in subjects:
        first, again = (ClasswiseAccuracy().measure(subject) for _ in range(2))
        assert first.numbers == again.numbers
        assert all(0 <= value <= 1 for value in first.numbers.values())
        labels = subject.dataset.val.targets.numpy()
        counts = first.arrays["val"]
        assert np.array_equal(counts.sum(axis=1), np.bincount(labels, minlength=10))
        _, accuracy = subject.history["val/accuracy"][-1]
        assert np.trace(counts) / counts.sum() == pytest.approx(accuracy)


def test_training_on_validation_images_is_said(tmp_path: Path) -> None:
    subject = made("all", config(tmp_path, method="scratch", train__on="train+val"), Always(0))
    analysis = ClasswiseAccuracy()
    with style():
        shown = analysis.present([item(subject, analysis.measure(subject))])
    assert "train+val" in shown.tables[0].notes[-1]
    assert "360 val and 1438 train" in shown.tables[0].notes[0]


def _invented(label: str, store: Path, names: Sequence[str], **keys: object) -> Item:
    draws = np.random.default_rng(len(label))
    counts = draws.integers(0, 5, (len(names), len(names))) + 20 * np.eye(len(names), dtype=int)
    return Item(
        label=label,
        config=config(store, **keys),
        measured=Measured(
            numbers={}, arrays={"names": np.array(list(names)), "val": counts, "train": counts}
        ),
    )


def test_a_matrix_is_drawn_for_each_run_or_for_each_configuration(tmp_path: Path) -> None:
    def panels(items: Sequence[Item]) -> list[str]:
        with style():
            figure = ClasswiseAccuracy().present(items).figures["class_confusion"]
        return [axis.get_title(loc="left") for axis in figure.axes if axis.images]

    runs = [_invented(f"run, seed {k}", tmp_path, "abc", seed=k) for k in range(7)]
    assert panels(runs[:6]) == [run.label for run in runs[:6]]
    assert panels(runs) == ["run"]
    many = [_invented(f"run {k}", tmp_path, "abc", train__epochs=k + 1) for k in range(14)]
    assert panels(many) == [run.label for run in many[:12]]


def test_of_many_classes_those_with_the_lowest_accuracy_are_drawn(tmp_path: Path) -> None:
    names = [f"class {k}" for k in range(45)]
    subject = _invented("run", tmp_path, names)
    lowest = np.argsort(class_accuracy(subject.measured.arrays["val"]), kind="stable")[:40]
    with style():
        shown = ClasswiseAccuracy().present([subject])
    axis = shown.figures["class_accuracy"].axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [names[k] for k in lowest]
    assert len(shown.tables[1].rows) == 46


@pytest.mark.filterwarnings("error")
def test_one_class_alone_and_one_without_images_can_be_shown(tmp_path: Path) -> None:
    run = _invented("run", tmp_path, "abc")
    run.measured.arrays["val"][1] = 0
    with style():
        alone = ClasswiseAccuracy(classes="a").present([run])
        whole = ClasswiseAccuracy().present([run])
    assert [len(table.columns) for table in alone.tables] == [9, 3]
    assert whole.tables[1].rows[1][1] is None
    matrix = whole.figures["class_confusion"].axes[0]
    assert not [text for text in matrix.texts if text.get_position()[1] == 1]


def test_the_mean_over_seeds_is_what_is_drawn_and_listed(tmp_path: Path) -> None:
    runs = [
        _invented("run, seed 1", tmp_path, "abc", seed=1),
        _invented("run, seed 22", tmp_path, "abc"),
    ]
    each = [class_accuracy(run.measured.arrays["val"]) for run in runs]
    assert not np.allclose(*each)
    with style():
        shown = ClasswiseAccuracy().present(runs)
    expected = 100 * np.mean(each, axis=0)
    assert [row[1] for row in shown.tables[1].rows[:3]] == pytest.approx(expected.tolist())
    dots = shown.figures["class_accuracy"].axes[0].collections
    assert len(dots) == 1
    assert dots[0].get_offsets()[:, 0].tolist() == pytest.approx(expected.tolist())


def _three_runs(folder: Path) -> list[Item]:
    """Two of one configuration, and one of another."""
    return [
        _invented("run, seed 1", folder, "abc", seed=1),
        _invented("run, seed 22", folder, "abc", seed=22),
        _invented("other", folder, "abc", alpha=0.5),
    ]


def test_accuracies_of_several_seeds_are_shown_with_their_deviation(tmp_path: Path) -> None:
    runs = _three_runs(tmp_path)
    with style():
        classes = ClasswiseAccuracy().present(runs).tables[1]
    assert classes.columns[1:5] == [
        *("run, val, mean", "run, val, std"),
        *("run, train, mean", "run, train, std"),
    ]
    assert classes.columns[5:] == ["other, val", "other, train"]
    each = 100 * np.array([class_accuracy(run.measured.arrays["val"]) for run in runs[:2]])
    each = np.column_stack([each, each.mean(axis=1)])
    assert [row[1] for row in classes.rows] == pytest.approx(each.mean(axis=0).tolist())
    assert [row[2] for row in classes.rows] == pytest.approx(each.std(axis=0, ddof=1).tolist())
    assert "n = 2 of run; n = 1 of other. Seeds 0, 1, 22." in classes.notes[0]


def test_confusions_of_several_seeds_are_shown_with_their_deviation(tmp_path: Path) -> None:
    runs = _three_runs(tmp_path)
    with style():
        pairs = ClasswiseAccuracy(pairs=1, similar="a,b").present(runs).tables[2]
    assert pairs.columns == ["run", "n", "a / b, mean", "a / b, std"]
    shares = [confusion_shares(run.measured.arrays["val"]) for run in runs]
    each = [100 * group_confusion(own, (0, 1)) for own in shares]
    deviation = abs(each[0] - each[1]) / math.sqrt(2)
    assert deviation > 0
    assert pairs.rows == [
        ["run", 2, pytest.approx((each[0] + each[1]) / 2), pytest.approx(deviation)],
        ["other", 1, pytest.approx(each[2]), None],
    ]
    assert pairs.notes[-1].endswith("n = 2 of run; n = 1 of other. Seeds 0, 1, 22.")


def test_a_class_that_one_of_the_seeds_has_no_images_of_has_no_mean(tmp_path: Path) -> None:
    runs = _three_runs(tmp_path)
    runs[0].measured.arrays["val"][1] = 0
    with style():
        classes = ClasswiseAccuracy().present(runs).tables[1]
    assert classes.rows[1][1:3] == [None, None]
    assert None not in classes.rows[0]


def test_runs_of_other_classes_cannot_be_set_side_by_side(tmp_path: Path) -> None:
    items = [_invented("one", tmp_path, "abc"), _invented("other", tmp_path, "abd", seed=1)]
    with pytest.raises(ValueError, match="those of 'other' are not those of 'one'"):
        ClasswiseAccuracy().present(items)
