"""Three classes in the plane that their templates span.

Müller, Kornblith and Hinton, 2019 (arXiv:1906.02629), section 2, as Chandrasegaran et al., 2022
(arXiv:2206.14532), figure 1 and appendix F, use it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from kdtune.analysis import figures
from kdtune.analysis.base import ANALYSES, Analysis, Item, Measured, Presented, Subject, Table
from kdtune.analysis.class_distances import class_centroids
from kdtune.analysis.class_sets import class_indices
from kdtune.analysis.diffusion_pages import SPLITS, temperature
from kdtune.analysis.reading import answers, classifier, sample, split_of
from kdtune.contracts import Scalar
from kdtune.data import ImageSplit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDES = ((0, 1), (0, 2), (1, 2))
"""Pairs of the three classes."""

MARGIN = 0.04
"""Around all points, in parts of their extent."""

LONG_SIDE = 3.0
"""Of a panel, in inches."""


def template_basis(weight: Tensor, bias: Tensor | None, classes: Sequence[int]) -> Tensor:
    """Orthonormal basis of the space that the templates of some classes span.

    A template is a class's row of the classifier with its bias behind it. The public code takes
    the biases of the first three classes whatever is plotted; here they are the plotted ones'.

    Args:
        weight: ``(C, D)`` of the classifier.
        bias: ``(C,)``; None counts as zeros.
        classes: Three of them.

    Returns:
        ``(D + 1, 3)`` float64, from the QR decomposition of the transposed templates.
    """
    rows = weight.detach()[list(classes)].double()
    last = rows.new_zeros(len(classes)) if bias is None else bias.detach()[list(classes)].double()
    basis: Tensor = torch.linalg.qr(torch.cat([rows, last[:, None]], dim=1).T).Q
    return basis


def in_basis(features: Tensor, basis: Tensor) -> Tensor:
    """Features with a 1 behind them, along a basis: ``(n, D)`` to ``(n, 3)`` float64."""
    rows = features.double()
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1) @ basis


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the space of templates, with axes in it.

    Attributes:
        centre: ``(3,)``, where both coordinates are 0.
        axes: ``(3, 2)``, orthonormal columns.
    """

    centre: Tensor
    axes: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Coordinates ``(n, 2)`` of points ``(n, 3)``."""
        return (points - self.centre) @ self.axes


def fit_plane(points: Tensor, centroids: Tensor) -> Plane:
    """The two largest principal components of points and centroids together; axes have no sign.

    Args:
        points: ``(n, 3)``.
        centroids: ``(3, 3)``, one for each class in rows.
    """
    both = torch.cat([points, centroids])
    centre = both.mean(dim=0)
    return Plane(centre, torch.linalg.svd(both - centre, full_matrices=False).Vh[:2].T)


def upright(plane: Plane, centroids: Tensor) -> Plane:
    """The plane turned until the first centroid is straight above the mean of the three.

    Principal axes have no sign, and where variances are alike not even a direction; this way
    pictures compare. Mirrored if the second centroid is then not on the left.

    Args:
        plane: Any.
        centroids: ``(3, 3)``, one for each class in rows.
    """
    flat = (centroids - centroids.mean(dim=0)) @ plane.axes
    up = functional.normalize(flat[0], dim=0)
    if not up.any():
        up = up.new_tensor([0.0, 1.0])
    right = torch.stack([up[1], -up[0]])
    if flat[1] @ right > 0:
        right = -right
    return Plane(plane.centre, plane.axes @ torch.stack([right, up], dim=1))


def spread(points: Tensor, labels: Tensor, classes: int = 3) -> float:
    """Root mean square distance of points to their class's centroid, mean over classes.

    Args:
        points: ``(n, 2)``.
        labels: ``(n,)`` int64 in ``[0, classes)``, each class at least once.
        classes: Number of classes.

    Returns:
        At least 0, in the unit of the points.
    """
    apart = points.double() - class_centroids(points, labels, classes)[labels]
    squares = class_centroids(apart.square().sum(dim=1, keepdim=True), labels, classes)
    return float(squares.sqrt().mean())


def side_lengths(centroids: Tensor) -> Tensor:
    """Distances of the first and second, first and third, second and third: ``(3, 2)`` to (3,)."""
    return torch.stack([(centroids[a] - centroids[b]).norm() for a, b in SIDES])


@ANALYSES.register("projection")
class Projection(Analysis):
    """Features of three classes, projected on their templates and then on a plane.

    What the classifier reads, in eval mode and of plain images, with a 1 behind it, along the
    orthonormal basis of the three templates; then to two dimensions by the principal components of
    the training points and centroids, which the validation points reuse. The images are the same
    for all runs on the same splits, and :func:`upright` says how the picture is turned.

    The numbers are of the picture: ``spread``, the root mean square distance of points to their
    class's centroid, and ``centroid_distance``, the mean of the three, both in the unit of the
    features, and ``spread_ratio``, the first over the second, at least 0 and small where classes
    are tight and apart; each for ``train`` and ``val``, whose centroids are their own.

    Attributes:
        classes: Three classes, by name or number, separated by commas.
        network: Whose features.
        train_points: Training images of each class; all, if there are fewer.
        val_points: Likewise of the validation split.
        seed: Of the draw of images.
    """

    summary: ClassVar[str] = "Three classes in the plane that their classifier rows span"
    source: ClassVar[str] = "chandrasegaran2022 F1, FA.1 to FA.4"

    classes: str = "0,1,2"
    network: Literal["student", "teacher"] = "student"
    train_points: Annotated[int, Field(ge=2)] = 150
    val_points: Annotated[int, Field(ge=2)] = 50
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("classes")
    @classmethod
    def _three(cls, text: str) -> str:
        if len(text.split(",")) != 3:
            raise ValueError("must be three, separated by commas")
        return text

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        chosen = class_indices(self.classes, subject.dataset.class_names)
        model = self._model(subject)
        layer = classifier(model)
        basis = template_basis(layer.weight, layer.bias, chosen).cpu()
        points, labels = {}, {}
        for split in SPLITS:
            images = self._images(split_of(subject.dataset, split), chosen, split)
            said = answers(model, subject, images, features=True)
            points[split] = in_basis(said.features, basis)
            labels[split] = (said.labels[:, None] == torch.tensor(chosen)).int().argmax(dim=1)
        centres = class_centroids(points["train"], labels["train"], 3)
        plane = upright(fit_plane(points["train"], centres), centres)
        numbers: dict[str, float] = {}
        arrays = {"class_names": np.array([subject.dataset.class_names[c] for c in chosen])}
        for split in SPLITS:
            flat = plane(points[split])
            centroids = class_centroids(flat, labels[split], 3)
            within, between = spread(flat, labels[split]), float(side_lengths(centroids).mean())
            if not between > 0:
                raise ValueError(
                    f"the three classes have the same centroid on the {split} split of "
                    f"'{subject.label}': the {self.network} has collapsed; leave the run out"
                )
            numbers[f"spread/{split}"] = within
            numbers[f"centroid_distance/{split}"] = between
            numbers[f"spread_ratio/{split}"] = within / between
            arrays[f"points/{split}"] = flat.numpy()
            arrays[f"labels/{split}"] = labels[split].numpy()
            arrays[f"centroids/{split}"] = centroids.numpy()
        return Measured(numbers=numbers, arrays=arrays)

    def present(self, items: Sequence[Item]) -> Presented:
        ordered = sorted(items, key=_heat)
        return Presented(
            tables=[self._ratios(ordered), self._sides(ordered)],
            figures={"projection": self._figure(ordered)},
        )

    def _model(self, subject: Subject) -> nn.Module:
        if self.network == "student":
            return subject.student
        if subject.teacher is None:
            raise ValueError(f"'{subject.label}' has no teacher to look at; leave the run out")
        return subject.teacher

    def _images(self, split: ImageSplit, chosen: Sequence[int], name: str) -> ImageSplit:
        count = self.train_points if name == "train" else self.val_points
        picked = []
        for each in chosen:
            own = ImageSplit(split.images, split.labels, split.index[split.targets == each])
            if len(own) < 2:
                raise ValueError(
                    f"the {name} split has {len(own)} images of class {each}, and a spread needs "
                    "2 at least; choose other classes"
                )
            picked.append(sample(own, count, self.seed).index)
        return ImageSplit(split.images, split.labels, torch.cat(picked))

    def _ratios(self, items: Sequence[Item]) -> Table:
        names = ("spread", "centroid_distance", "spread_ratio")
        return Table(
            title="Spread within classes and distance between their centroids, in the plane, in "
            "the unit of the features",
            columns=("run", "temperature", "seed", "split", "n", "within", "between", "ratio"),
            rows=[
                [*_start(item, split), *(item.measured.numbers[f"{n}/{split}"] for n in names)]
                for item in items
                for split in SPLITS
            ],
            notes=(
                f"{self._setting()} Within is the root mean square distance of points to their "
                "class's centroid, between the mean distance of the three centroids.",
            ),
        )

    def _sides(self, items: Sequence[Item]) -> Table:
        rows: list[list[Scalar]] = []
        for item in items:
            for split in SPLITS:
                corners = torch.from_numpy(item.measured.arrays[f"centroids/{split}"])
                rows.append([*_start(item, split), *side_lengths(corners).tolist()])
        names = items[0].measured.arrays["class_names"]
        between = (f"{names[a]} to {names[b]}" for a, b in SIDES)
        return Table(
            title="Distance of each two centroids in the plane, in the unit of the features",
            columns=("run", "temperature", "seed", "split", "n", *between),
            rows=rows,
            notes=(self._setting(),),
        )

    def _setting(self) -> str:
        return (
            f"Features of the {self.network}, eval mode, not augmented; n images of three classes, "
            f"drawn with seed {self.seed}; validation reuses the plane of the training points."
        )

    def _figure(self, items: Sequence[Item]) -> "Figure":
        every = np.concatenate(
            [item.measured.arrays[f"points/{split}"] for item in items for split in SPLITS]
        )
        low, high = every.min(axis=0), every.max(axis=0)
        margin = MARGIN * float((high - low).max())
        width, height = (high - low + 2 * margin) / float((high - low).max() + 2 * margin)
        figure, axes = figures.panels(
            len(items),
            len(SPLITS),
            title=f"What the {self.network}s' classifiers read, in the plane of three classes",
            size=(0.9 + LONG_SIDE * width, 0.8 + LONG_SIDE * height),
            share_x=True,
            share_y=True,
        )
        for row, item in zip(axes, items, strict=True):
            for axis, split in zip(row, SPLITS, strict=True):
                _scatter(axis, item, split)
                axis.set_xlim(low[0] - margin, high[0] + margin)
                axis.set_ylim(low[1] - margin, high[1] + margin)
                axis.set_aspect("equal")
                figures.label(axis, x="", y="", title=f"{_called(item)}\n{split}")
            row[0].set_ylabel("second axis (feature units)")
        for axis in axes[-1]:
            axis.set_xlabel("first axis (feature units)")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=len(names))
        return figure


def _scatter(axis: "Axes", item: Item, split: str) -> None:
    arrays = item.measured.arrays
    for place, name in enumerate(arrays["class_names"]):
        own = arrays[f"points/{split}"][arrays[f"labels/{split}"] == place]
        look: dict[str, Any] = {**figures.look(place), "linestyle": "none"}
        axis.plot(own[:, 0], own[:, 1], alpha=0.5, markersize=4, markeredgewidth=0, **look)
        axis.plot(
            *arrays[f"centroids/{split}"][place],
            markersize=9,
            markeredgecolor="white",
            markeredgewidth=1,
            label=str(name),
            zorder=3,
            **look,
        )


def _heat(item: Item) -> float:
    """To sort by; runs without a temperature come last."""
    found = temperature(item)
    return math.inf if found is None else found


def _called(item: Item) -> str:
    found = temperature(item)
    return item.label if found is None else f"{item.label} (T = {found:g})"


def _start(item: Item, split: str) -> list[Scalar]:
    n = len(item.measured.arrays[f"labels/{split}"])
    return [item.label, temperature(item), item.config.seed, split, n]
