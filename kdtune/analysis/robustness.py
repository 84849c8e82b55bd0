"""What label noise and class imbalance do to a student (Sarfraz et al., 2020, sections IV-B, C)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from kdtune.analysis import robustness_figures
from kdtune.analysis.base import ANALYSES, Analysis, Item, Measured, Presented, Subject, Table
from kdtune.analysis.confusion import Counts, Shares, class_accuracy, confusion_counts
from kdtune.analysis.reading import answers
from kdtune.analysis.replicates import (
    Replicates,
    replicates,
    seed_rows,
    seeds_of,
    spread_columns,
    spread_explained,
)
from kdtune.contracts import Scalar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMBALANCED = 2
"""Ratio of the most frequent class's images to the rarest one's, from which on there is a head and
a tail; a stratified split of equal classes stays below."""

SHOWN = {
    "accuracy/test": "test accuracy",
    "true_label_accuracy/train": "right on true labels",
    "recovered/train": "recovered",
    "memorised/train": "memorised",
    "wrong_labels/train": "wrong labels",
    "tail_accuracy/test": "rarest third, test",
    "head_accuracy/test": "most frequent third, test",
}
"""Metrics, and the heads of their columns."""


def label_noise_response(predicted: Counts, given: Counts, true: Counts) -> dict[str, float]:
    """What a network makes of training images whose label may have been replaced.

    Args:
        predicted: ``(n,)`` its classes.
        given: ``(n,)`` the labels that it was trained on.
        true: ``(n,)`` the labels as they were.

    Returns:
        Shares in [0, 1]: ``wrong_labels`` of the images; ``true_label_accuracy`` on those whose
        given label is true; of those whose label is wrong, ``recovered``, which the network calls
        by the true one, and ``memorised``, which it calls by the wrong one. What there are no
        images for is left out.

    Raises:
        ValueError: If the lengths differ or are 0.
    """
    if not (predicted.shape == given.shape == true.shape) or predicted.size == 0:
        raise ValueError(
            "predictions, given and true labels must be (n,) with n > 0, got "
            f"{predicted.shape}, {given.shape} and {true.shape}"
        )
    wrong = given != true
    found = {"wrong_labels": float(wrong.mean())}
    if not wrong.all():
        found["true_label_accuracy"] = float((predicted == true)[~wrong].mean())
    if wrong.any():
        found["recovered"] = float((predicted == true)[wrong].mean())
        found["memorised"] = float((predicted == given)[wrong].mean())
    return found


def tail_and_head(accuracy: Shares, images: Counts) -> tuple[float, float]:
    """Mean accuracy of the rarest third of the classes, and of the most frequent third.

    Args:
        accuracy: ``(C,)`` of each class, in [0, 1]; NaN is left out of the means.
        images: ``(C,)`` training images of each class; of equal ones the first counts as rarer.

    Returns:
        Plain means over ``C // 3`` classes each, at least 1; NaN where no class has an accuracy.
    """
    order = np.argsort(images, kind="stable")
    third = max(1, len(order) // 3)
    tail, head = (accuracy[order[part]] for part in (slice(third), slice(-third, None)))
    return _mean(tail), _mean(head)


def _mean(values: Shares) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


@ANALYSES.register("robustness")
class Robustness(Analysis):
    """What a student made of label noise and of class imbalance in its training data.

    The metrics are shares in [0, 1]. ``accuracy/test`` is top-1 on the clean test images. On plain
    training images ``wrong_labels/train`` is the share whose label was replaced by a wrong one,
    ``true_label_accuracy/train`` the accuracy on the others, and of the wrongly labelled ones
    ``recovered/train`` are called by their true label, ``memorised/train`` by the wrong one; the
    last two only where there are any. ``tail_accuracy/test`` and ``head_accuracy/test`` are the
    mean accuracies of the rarest and of the most frequent third of the classes, where the most
    frequent class has twice the training images of the rarest one or more. Source: sarfraz2020,
    sections IV-B and IV-C, which print test accuracy alone.
    """

    summary: ClassVar[str] = (
        "Label noise recovered or memorised; accuracy of rare and common classes"
    )
    source: ClassVar[str] = "sarfraz2020 T5, T6"

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        data, student = subject.dataset, subject.student
        on_test = answers(student, subject, data.test)
        counts = confusion_counts(on_test.top1.numpy(), on_test.labels.numpy(), data.classes)
        accuracy, true = class_accuracy(counts), data.true_targets.numpy()
        images = np.bincount(true, minlength=data.classes)
        on_train = answers(student, subject, data.train)
        response = label_noise_response(on_train.top1.numpy(), on_train.labels.numpy(), true)
        numbers = {
            "accuracy/test": float(np.trace(counts) / counts.sum()),
            **{f"{name}/train": share for name, share in response.items()},
        }
        if is_imbalanced(images):
            tail, head = tail_and_head(accuracy, images)
            found = {"tail_accuracy/test": tail, "head_accuracy/test": head}
            numbers |= {name: share for name, share in found.items() if np.isfinite(share)}
        return Measured(
            numbers=numbers,
            arrays={
                "names": np.array(data.class_names),
                "images": images,
                "class_accuracy": accuracy,
                "test_images": np.array(len(data.test)),
            },
        )

    def present(self, items: Sequence[Item]) -> Presented:
        noisy = [item for item in items if "recovered/train" in item.measured.numbers]
        uneven = [item for item in items if is_imbalanced(held_images(item))]
        by_size = uneven or ([] if noisy else items)
        drawn: dict[str, Figure] = {}
        if noisy:
            drawn["label_noise"] = robustness_figures.label_noise(items)
        if by_size:
            drawn["accuracy_by_class_size"] = robustness_figures.by_class_size(
                list(by_class_size(by_size).values())
            )
        sizes = [_classes(group) for group in by_class_size(by_size).values()]
        return Presented(tables=[_runs(items), *sizes], figures=drawn)


def is_imbalanced(images: Counts) -> bool:
    """Whether classes have so different numbers of training images that there is a tail."""
    return len(images) > 1 and bool(images.max() >= IMBALANCED * images.min())


def held_images(item: Item) -> Counts:
    """``(C,)`` training images of each class of an item."""
    return item.measured.arrays["images"].astype(np.int64)


def by_class_size(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Items together whose classes, and the numbers of their training images, are the same."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        arrays = item.measured.arrays
        key = repr((arrays["names"].tolist(), arrays["images"].tolist()))
        groups.setdefault(key, []).append(item)
    return groups


def _runs(items: Sequence[Item]) -> Table:
    kept = [name for name in SHOWN if any(name in item.measured.numbers for item in items)]

    def cells(item: Item) -> list[Scalar]:
        numbers = item.measured.numbers
        shares = [100 * numbers[name] if name in numbers else None for name in kept]
        data = item.config.data
        return [
            item.config.method,
            100 * data.label_noise,
            data.imbalance,
            item.config.seed,
            *shares,
        ]

    tests = sorted({int(item.measured.arrays["test_images"]) for item in items})
    trained = sorted({int(item.measured.arrays["images"].sum()) for item in items})
    notes = [
        f"Plain images, the delivered student in eval mode; {_or(tests)} test images, clean and "
        f"never trained on, and {_or(trained)} training images; {seeds_of(items)}.",
    ]
    if "recovered/train" in kept:
        notes.append(
            "Recovered and memorised are shares of the training images whose label is wrong: "
            "called by their true label, or by the wrong one."
        )
    if "tail_accuracy/test" in kept:
        notes.append("Thirds are of the classes, by the number of their training images.")
    return Table(
        title="Accuracy under label noise and class imbalance (%)",
        columns=["run", "method", "label noise", "gamma", "seed", *(SHOWN[n] for n in kept)],
        rows=seed_rows(items, cells, lead=4),
        notes=notes,
    )


def _classes(items: Sequence[Item]) -> Table:
    """The rarest class first."""
    arrays, groups = items[0].measured.arrays, replicates(items)
    columns = [column for group in groups for column in _accuracy_columns(group)]
    rows: list[list[Scalar]] = [
        [
            arrays["names"][label].item(),
            int(arrays["images"][label]),
            *(cells[label] for _, cells in columns),
        ]
        for label in np.argsort(arrays["images"], kind="stable")
    ]
    gamma = items[0].config.data.imbalance
    said = "" if gamma is None else f", gamma {gamma:g}"
    return Table(
        title=f"Test accuracy of each class by its training images{said} (%)",
        columns=["class", "training images", *(head for head, _ in columns)],
        rows=rows,
        notes=[
            f"{int(arrays['test_images'])} test images.",
            spread_explained(groups),
        ],
    )


def _accuracy_columns(group: Replicates) -> list[tuple[str, list[float | None]]]:
    each = [item.measured.arrays["class_accuracy"].tolist() for item in group.items]
    return spread_columns(group.label, each)


def _or(values: Sequence[int]) -> str:
    return " or ".join(map(str, values))
