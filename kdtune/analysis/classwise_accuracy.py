"""Accuracy class by class (Chandrasegaran et al., 2022, arXiv:2206.14532, appendix I)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from kdtune.analysis import class_figures
from kdtune.analysis.base import (
    ANALYSES,
    Analysis,
    Item,
    Measured,
    Presented,
    Subject,
    Table,
)
from kdtune.analysis.class_sets import class_indices
from kdtune.analysis.confusion import (
    Shares,
    class_accuracy,
    confusion_counts,
    confusion_shares,
    group_confusion,
    held_counts,
    mean_shares,
    most_confused,
)
from kdtune.analysis.reading import answers
from kdtune.analysis.replicates import (
    Replicates,
    percent_spread,
    replicates,
    seed_rows,
    spread_columns,
    spread_explained,
)
from kdtune.contracts import Scalar

SPLITS = ("val", "train")


@ANALYSES.register("classwise_accuracy")
class ClasswiseAccuracy(Analysis):
    """Top-1 accuracy of each class, and which classes are taken for which.

    On validation and on the training images, plain ones against their true labels. The metrics are
    shares in [0, 1] over the class set: ``mean_class_accuracy/val``, the plain mean over its
    classes, ``worst_class_accuracy/val``, and ``similar_confusion/val``, the share of a class's
    images that are taken for a similar class; each also ``/train``. Among several runs
    ``shared_similar_confusion/val`` is that of the pairs that are most confused on the average of
    them. Source: chandrasegaran2022, appendix I; the confusion is not the paper's.

    Attributes:
        classes: The class set: names or labels with commas between; empty for all.
        similar: Classes, two or more, that are similar to each other. If empty, similar are the
            ``pairs`` pairs of the class set that are most confused on validation.
        pairs: How many pairs of classes are looked for.
    """

    summary: ClassVar[str] = "Top-1 accuracy per class, and which classes are taken for which"
    source: ClassVar[str] = "chandrasegaran2022 TI.1-TI.3"

    classes: str = ""
    similar: str = ""
    pairs: Annotated[int, Field(ge=1)] = 5

    @field_validator("similar")
    @classmethod
    def _check_similar(cls, text: str) -> str:
        if text and "," not in text:
            raise ValueError(f"similar must list two classes or more, got '{text}'")
        return text

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        dataset = subject.dataset
        shown = class_indices(self.classes, dataset.class_names)
        class_indices(self.similar, dataset.class_names)  # refused before the work starts
        labels = {"val": dataset.val.targets, "train": dataset.true_targets}
        counts = {
            split: confusion_counts(
                answers(subject.student, subject, getattr(dataset, split)).top1.numpy(),
                labels[split].numpy(),
                dataset.classes,
            )
            for split in SPLITS
        }
        shares = {split: confusion_shares(counts[split]) for split in SPLITS}
        groups = self._similar(shares["val"], dataset.class_names)
        numbers: dict[str, float] = {}
        for split in SPLITS:
            accuracy = np.diagonal(shares[split])[list(shown)]
            if not np.isfinite(accuracy).any():
                raise ValueError(
                    f"classes '{self.classes}' must have {split} images, and none of them has any"
                )
            numbers[f"mean_class_accuracy/{split}"] = float(np.nanmean(accuracy))
            numbers[f"worst_class_accuracy/{split}"] = float(np.nanmin(accuracy))
            numbers |= _confusion(f"similar_confusion/{split}", shares[split], groups)
        return Measured(numbers=numbers, arrays={"names": np.array(dataset.class_names), **counts})

    def present(self, items: Sequence[Item]) -> Presented:
        names = _names(items)
        shown = class_indices(self.classes, names)
        groups = replicates(items)
        whole = mean_shares(items, "val")
        similar = self._similar(whole, names)
        numbers = {}
        if len(items) > 1 and not self.similar:
            numbers = {item.label: _shared(item, similar) for item in items}
        said = "of given classes" if self.similar else "of the most confused pairs"
        tables = [_runs(items, shown, numbers, said), _classes(groups, names, shown)]
        if pairs := self._listed(whole, names):
            tables.append(_pairs(groups, names, pairs, said))
        return Presented(
            tables=tables,
            figures={
                "class_accuracy": class_figures.accuracies(groups, names, shown),
                "class_confusion": class_figures.confusions(items, names, shown),
            },
            numbers=numbers,
        )

    def _similar(self, shares: Shares, names: Sequence[str]) -> list[tuple[int, ...]]:
        """The groups within which confusion is summed: the one given, or the pairs found."""
        if self.similar:
            return [tuple(class_indices(self.similar, names))]
        return [*most_confused(shares, class_indices(self.classes, names), self.pairs)]

    def _listed(self, shares: Shares, names: Sequence[str]) -> list[tuple[int, int]]:
        """The pairs that a table lists, the most confused first."""
        among = class_indices(self.similar or self.classes, names)
        return most_confused(shares, among, self.pairs)


def _names(items: Sequence[Item]) -> list[str]:
    """Of the classes, which all items must have."""
    names: list[str] = items[0].measured.arrays["names"].tolist()
    for item in items:
        if item.measured.arrays["names"].tolist() != names:
            raise ValueError(
                f"runs set side by side must have the same classes; those of '{item.label}' are "
                f"not those of '{items[0].label}'; analyse them apart"
            )
    return names


def _confusion(name: str, shares: Shares, groups: Sequence[Sequence[int]]) -> dict[str, float]:
    """The mean over groups under ``name``, where there is one."""
    values = [value for group in groups if np.isfinite(value := group_confusion(shares, group))]
    return {name: float(np.mean(values))} if values else {}


def _shared(item: Item, groups: Sequence[Sequence[int]]) -> dict[str, float]:
    shares = {split: mean_shares([item], split) for split in SPLITS}
    found = [
        _confusion(f"shared_similar_confusion/{split}", shares[split], groups) for split in SPLITS
    ]
    return {**found[0], **found[1]}


def _runs(
    items: Sequence[Item],
    shown: Sequence[int],
    shared: Mapping[str, Mapping[str, float]],
    said: str,
) -> Table:
    def cells(item: Item) -> list[Scalar]:
        known, arrays = item.measured.numbers, item.measured.arrays
        lowest = np.nanargmin(class_accuracy(held_counts(item, "val"))[list(shown)])
        similar = {**known, **shared.get(item.label, {})}
        prefix = "shared_similar_confusion" if item.label in shared else "similar_confusion"
        return [
            item.config.seed,
            arrays["names"][shown[int(lowest)]].item(),
            *(
                _percent(similar.get(f"{name}/{split}"))
                for name in ("mean_class_accuracy", "worst_class_accuracy", prefix)
                for split in SPLITS
            ),
        ]

    heads = ("mean over classes", "worst class", "similar classes confused")
    notes = [
        "Plain images, the delivered student in eval mode; training images against "
        "their true labels. " + _sizes(items),
        f"Confusion is the share of a class's images taken for a similar one, {said}"
        + (", the same for all runs." if shared else "."),
    ]
    if any(item.config.train.on == "train+val" for item in items):
        notes.append("Some runs were trained on the validation images too (train.on=train+val).")
    return Table(
        title="Top-1 accuracy and confusion over classes (%)",
        columns=["run", "seed", "worst on val", *(f"{h}, {s}" for h in heads for s in SPLITS)],
        rows=seed_rows(items, cells, lead=1),
        notes=notes,
    )


def _classes(groups: Sequence[Replicates], names: Sequence[str], shown: Sequence[int]) -> Table:
    """As printed in the paper: a row for each class, and their mean."""
    columns = [
        column
        for group in groups
        for split in SPLITS
        for column in _accuracy_columns(group, split, shown)
    ]
    heads = [*(names[label] for label in shown), "mean"]
    return Table(
        title="Top-1 accuracy of each class (%)",
        columns=["class", *(head for head, _ in columns)],
        rows=[
            [head, *cells]
            for head, *cells in zip(heads, *(cells for _, cells in columns), strict=True)
        ],
        notes=[spread_explained(groups)],
    )


def _accuracy_columns(
    group: Replicates, split: str, shown: Sequence[int]
) -> list[tuple[str, list[float | None]]]:
    each = [class_accuracy(held_counts(item, split))[list(shown)] for item in group.items]
    whole = [[*accuracy, np.nanmean(accuracy)] for accuracy in each]
    return spread_columns(f"{group.label}, {split}", whole)


def _pairs(
    groups: Sequence[Replicates],
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    said: str,
) -> Table:
    heads = [f"{names[first]} / {names[second]}" for first, second in pairs]
    repeated = any(len(group.items) > 1 for group in groups)
    if repeated:
        heads = [head for pair in heads for head in (f"{pair}, mean", f"{pair}, std")]
    rows: list[list[Scalar]] = []
    for group in groups:
        each = [confusion_shares(held_counts(item, "val")) for item in group.items]
        row: list[Scalar] = [group.label, len(each)]
        for pair in pairs:
            mean, std = percent_spread([group_confusion(shares, pair) for shares in each])
            row += [mean, std] if repeated else [mean]
        rows.append(row)
    return Table(
        title="Images of two classes that are taken for the other one, on validation (%)",
        columns=["run", "n", *heads],
        rows=rows,
        notes=[
            f"Mean of both directions, {said}, ordered by the mean over all runs.",
            spread_explained(groups),
        ],
    )


def _percent(share: float | None) -> float | None:
    return None if share is None or not np.isfinite(share) else 100 * float(share)


def _sizes(items: Sequence[Item]) -> str:
    sizes = [
        f"{_or(sorted({int(item.measured.arrays[split].sum()) for item in items}))} {split}"
        for split in SPLITS
    ]
    return f"Images: {' and '.join(sizes)}."


def _or(values: Sequence[int]) -> str:
    return " or ".join(map(str, values))
