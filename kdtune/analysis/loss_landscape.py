"""The training loss around a network's weights (Li et al., 2018, arXiv:1712.09913).

Park et al., 2020, table 7, plot such landscapes without saying how; this is the usual way, along
two random directions in which each filter weighs as much as the network's own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from kdtune.analysis import figures, reading
from kdtune.analysis.base import ANALYSES, Analysis, Item, Measured, Presented, Subject, Table
from kdtune.analysis.figures import PANEL_INCHES
from kdtune.config.sections import snapshot_epochs
from kdtune.contracts import Batch
from kdtune.palette import SEQUENTIAL
from kdtune.seeds import generator
from kdtune.training.plan import phases
from kdtune.training.teacher import EVAL_BATCH
from kdtune.views import plain_batches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure

Parameters = Mapping[str, Tensor]
LossOf = Callable[[Parameters], float]
Losses = NDArray[np.float64]

LEVELS = 20
"""Of the contours, which all panels share."""

LEAST_LEVEL = 1e-3
"""Nats; smaller losses share its colour."""

ACROSS = 4
"""Panels of the surfaces side by side, of one epoch."""


def raw_direction(parameters: Parameters, *, seed: int, which: int) -> dict[str, Tensor]:
    """Standard normal numbers in the shapes of ``parameters``.

    Each tensor has its own draw, named by the parameter's name and shape: networks get equal
    numbers as far as they are built alike.

    Args:
        parameters: By name; only names, shapes and devices are read.
        seed: Of the draws.
        which: Tells the directions of a seed apart.
    """
    return {
        name: torch.randn(
            value.shape,
            generator=generator(seed, "loss landscape", which, name, *value.shape),
            dtype=torch.float32,
        ).to(value)
        for name, value in parameters.items()
    }


def filter_normalised(direction: Parameters, parameters: Parameters) -> dict[str, Tensor]:
    """``direction`` with each filter at the norm of the same filter of the weights.

    A filter is what makes one output: a row along the first dimension of a weight of two or more.
    Biases and the parameters of batch norms, which have one dimension, do not move: they become 0.

    Args:
        direction: By name, in the shapes of ``parameters``.
        parameters: The weights; a filter of zeros stays where it is.
    """
    return {
        name: _at_norms(direction[name], value) if value.ndim > 1 else torch.zeros_like(value)
        for name, value in parameters.items()
    }


def moved(
    centre: Parameters, directions: Sequence[Parameters], steps: Sequence[float]
) -> dict[str, Tensor]:
    """``centre`` plus each direction times its step; where all steps are 0, ``centre`` itself."""
    found = dict(centre)
    for direction, step in zip(directions, steps, strict=True):
        if step != 0:
            found = {name: value.add(direction[name], alpha=step) for name, value in found.items()}
    return found


def line(
    loss_of: LossOf, centre: Parameters, direction: Parameters, steps: Sequence[float]
) -> Losses:
    """Losses ``(len(steps),)`` at ``centre + step * direction``."""
    return np.array([loss_of(moved(centre, [direction], [step])) for step in steps])


def surface(
    loss_of: LossOf,
    centre: Parameters,
    directions: tuple[Parameters, Parameters],
    steps: Sequence[float],
) -> Losses:
    """Losses ``(steps, steps)``: rows go along the second direction, columns along the first."""
    return np.array(
        [[loss_of(moved(centre, directions, (across, up))) for across in steps] for up in steps]
    )


def rise(loss_of: LossOf, centre: Parameters, direction: Parameters, radius: float) -> float:
    """Mean loss at ``centre +- radius * direction`` less the loss at ``centre``.

    That is ``c * radius ** 2 / 2`` for a parabola of second derivative ``c``, whatever its slope.
    """
    down, up = line(loss_of, centre, direction, [-radius, radius])
    return float((down + up) / 2 - loss_of(centre))


def second_difference(losses: Losses, spacing: float) -> float:
    """Second derivative at the middle of a line, from its three middle points.

    Args:
        losses: An odd number of them, at least 3, at equal spacing.
        spacing: Between two points.
    """
    middle = len(losses) // 2
    before, at, after = losses[middle - 1 : middle + 2]
    return float((before - 2 * at + after) / spacing**2)


def mean_loss(model: nn.Module, batches: Sequence[Batch]) -> LossOf:
    """The mean cross entropy in nats of ``model`` with other parameters, as it is otherwise.

    Args:
        model: In eval mode; called with the parameters given, which leaves its own untouched.
        batches: Normalised images, on the model's device.
    """
    count = sum(len(batch.labels) for batch in batches)

    @torch.no_grad()
    def loss_of(parameters: Parameters) -> float:
        total = 0.0
        for batch in batches:
            logits: Tensor = functional_call(model, dict(parameters), (batch.images,))
            total += functional.cross_entropy(logits.double(), batch.labels, reduction="sum").item()
        return total / count

    return loss_of


@ANALYSES.register("loss_landscape")
class LossLandscape(Analysis):
    """Training cross entropy in nats around the weights of the student, along two directions.

    Distances are in units of the weights: at 1, each filter has moved by its own norm. Every
    network moves along the same random numbers, scaled to its filters. In eval mode, on plain
    images, with the labels as trained on. Of park2020, table 7, which prints pictures only.

    ``loss`` is that of the weights themselves. ``sharpness``, in nats, is how much larger the loss
    is at the distance ``radius``: the mean over both directions, forwards and backwards.
    ``curvature_1`` and ``curvature_2``, in nats per unit of distance squared, are the second
    differences along each direction, between neighbouring points of the line.

    Attributes:
        span: The lines and the surface reach from ``-span`` to ``span``.
        points: On each line, odd so that the weights themselves are one.
        grid: Points along each side of the surface, odd; 0 for lines only. The usual 51 takes
            20 times as long as 11.
        radius: Distance at which the sharpness is taken.
        count: Training images, drawn without replacement; 0 for all.
        seed: Of the images and the directions.
        epochs: After which the student is looked at, ``10,20``, trained again for it; the numbers
            then end in ``/epoch_10``. Empty for the student that was delivered.
    """

    summary: ClassVar[str] = "Training loss along two random directions around the weights"
    source: ClassVar[str] = "park2020 T7"

    span: Annotated[float, Field(gt=0)] = 1.0
    points: Annotated[int, Field(ge=3)] = 25
    grid: Annotated[int, Field(ge=0)] = 11
    radius: Annotated[float, Field(gt=0)] = 0.25
    count: Annotated[int, Field(ge=0)] = 512
    seed: Annotated[int, Field(ge=0)] = 0
    epochs: str = ""

    @field_validator("points", "grid")
    @classmethod
    def _check_odd(cls, points: int) -> int:
        if points and (points % 2 == 0 or points < 3):
            raise ValueError(f"must be odd and at least 3, got {points}; take {max(3, points | 1)}")
        return points

    @field_validator("epochs")
    @classmethod
    def _check_epochs(cls, text: str) -> str:
        if text:
            snapshot_epochs(text)
        return text

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        train = subject.dataset.train
        sample = reading.sample(train, self.count or len(train), self.seed)
        batches = list(
            plain_batches(sample, subject.dataset, batch_size=EVAL_BATCH, device=subject.device)
        )
        found = [self._around(network, batches) for network in self._networks(subject)]
        numbers = {
            f"{name}{_suffix(epoch)}": value
            for epoch, (scalars, _, _) in zip(self._epochs(), found, strict=True)
            for name, value in scalars.items()
        }
        return Measured(
            numbers=numbers,
            arrays={
                "samples": np.array(len(sample)),
                "lines": np.stack([lines for _, lines, _ in found]),
                "surfaces": np.stack([plane for _, _, plane in found]),
            },
        )

    def present(self, items: Sequence[Item]) -> Presented:
        pictures = {"line": self._line_figure(items)}
        if self.grid:
            pictures["surface"] = self._surface_figure(items)
        return Presented(tables=[self._table(items)], figures=pictures)

    def _epochs(self) -> list[int | None]:
        return [*snapshot_epochs(self.epochs)] if self.epochs else [None]

    def _networks(self, subject: Subject) -> list[nn.Module]:
        if not self.epochs:
            return [subject.student]
        epochs, last = snapshot_epochs(self.epochs), phases(subject.config)[-1].stop
        if epochs[-1] > last:  # Told before any training.
            raise ValueError(f"epochs must be in [1, {last}] for this run, got {epochs[-1]}")
        return [subject.at_epoch(epoch) for epoch in epochs]  # Rising: of one training.

    def _around(
        self, network: nn.Module, batches: Sequence[Batch]
    ) -> tuple[dict[str, float], Losses, Losses]:
        """Numbers, lines ``(2, points)`` and surface ``(grid, grid)`` of one network."""
        centre = {name: value.detach() for name, value in network.named_parameters()}
        loss_of = mean_loss(network, batches)
        first, second = (
            filter_normalised(raw_direction(centre, seed=self.seed, which=which), centre)
            for which in (1, 2)
        )
        steps = self._steps(self.points)
        lines = np.stack([line(loss_of, centre, each, steps) for each in (first, second)])
        rises = [rise(loss_of, centre, each, self.radius) for each in (first, second)]
        spacing = 2 * self.span / (self.points - 1)
        numbers = {
            "loss": loss_of(centre),
            "sharpness": sum(rises) / 2,
            "curvature_1": second_difference(lines[0], spacing),
            "curvature_2": second_difference(lines[1], spacing),
        }
        _require_finite(numbers)
        plane = np.zeros((0, 0))
        if self.grid:
            plane = surface(loss_of, centre, (first, second), self._steps(self.grid))
        return numbers, lines, plane

    def _steps(self, count: int) -> list[float]:
        """``count`` distances from ``-span`` to ``span``, exactly 0 in the middle."""
        half = count // 2
        return [self.span * place / half for place in range(-half, half + 1)]

    def _table(self, items: Sequence[Item]) -> Table:
        names = ("loss", "sharpness", "curvature_1", "curvature_2")
        return Table(
            title="Training cross entropy around the weights, in nats",
            columns=[
                *("student", "epoch", "loss", f"rise at distance {self.radius:g}"),
                *(f"curvature along direction {which}, nats / distance²" for which in (1, 2)),
            ],
            rows=[
                [
                    item.label,
                    "final" if epoch is None else epoch,
                    *(item.measured.numbers[f"{name}{_suffix(epoch)}"] for name in names),
                ]
                for item in items
                for epoch in self._epochs()
            ],
            notes=[
                f"Sample: {int(items[0].measured.arrays['samples'])} plain images of the training "
                f"split, with the labels as trained on; eval mode, stored batch statistics.",
                "Two random directions, the same numbers for every network, each filter scaled to "
                f"the norm of the network's own, biases and batch norms at rest; seed {self.seed}. "
                "At distance 1 each filter has moved by its norm.",
                f"The rise is the mean over both directions, forwards and backwards; curvatures "
                f"are second differences at a spacing of {2 * self.span / (self.points - 1):.3g}.",
            ],
        )

    def _line_figure(self, items: Sequence[Item]) -> "Figure":
        epochs, steps = self._epochs(), self._steps(self.points)
        legend_columns = 1 + len(items) // 16
        legend_inches = legend_columns * (0.7 + 0.08 * max(len(item.label) for item in items))
        figure, axes = figures.panels(
            len(epochs),
            2,
            title="Training loss around the weights, along two random directions",
            size=(PANEL_INCHES[0] + legend_inches / 2, PANEL_INCHES[1]),
            share_x=True,
            share_y=True,
        )
        for (row, column), axis in np.ndenumerate(axes):
            for place, item in enumerate(items):
                losses = item.measured.arrays["lines"][row, column]
                style = {**figures.look(place), "markersize": 4, "markevery": self.points // 8 or 1}
                axis.plot(steps, losses, label=item.label, **style)
            figures.label(
                axis,
                x="" if row < len(epochs) - 1 else "distance, in norms of the weights",
                y="" if column else "cross entropy, nats (log scale)",
                title=f"direction {column + 1}{_of_epoch(epochs[row])}",
            )
        _logarithmic(axes[0, 0])
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", ncols=legend_columns)
        return figure

    def _surface_figure(self, items: Sequence[Item]) -> "Figure":
        epochs = self._epochs()
        shown = [
            (item.measured.arrays["surfaces"][place], f"{item.label}{_of_epoch(epoch)}")
            for item in items
            for place, epoch in enumerate(epochs)
        ]
        columns = len(epochs) if len(epochs) > 1 else min(ACROSS, len(items))
        rows = -(-len(shown) // columns)
        figure, axes = figures.panels(
            rows,
            columns,
            title="Training loss around the weights, one scale for all",
            size=(2.9, 2.9) if columns > 1 else PANEL_INCHES,
        )
        levels = _levels([plane for plane, _ in shown])
        for axis, (plane, title) in zip(axes.flat, shown, strict=False):
            drawn = _contours(axis, self._steps(self.grid), plane, levels)
            figures.label(axis, x="along direction 1", y="along direction 2", title=title)
        for axis in axes.flat[len(shown) :]:
            axis.set_visible(False)
        bar = figure.colorbar(drawn, ax=axes, format="%.2g", shrink=min(1.0, 2 / rows))
        bar.set_label("cross entropy, nats (log scale)")
        return figure


def _at_norms(direction: Tensor, weight: Tensor) -> Tensor:
    own, wanted = (value.double().flatten(1).norm(dim=1) for value in (direction, weight))
    scale = torch.where(own > 0, wanted / own, 0.0).to(direction.dtype)
    return direction * scale.reshape(-1, *[1] * (weight.ndim - 1))


def _require_finite(numbers: Mapping[str, float]) -> None:
    if not all(map(np.isfinite, numbers.values())):
        raise ValueError(
            "the loss must be finite at the weights and near them, got "
            f"{numbers['loss']} and a rise of {numbers['sharpness']}; leave out runs that diverged"
        )


def _suffix(epoch: int | None) -> str:
    return "" if epoch is None else f"/epoch_{epoch}"


def _of_epoch(epoch: int | None) -> str:
    return "" if epoch is None else f", epoch {epoch}"


def _levels(planes: Sequence[Losses]) -> Losses:
    """Rising in equal ratios around all losses of all panels."""
    everything = np.concatenate([plane[np.isfinite(plane)] for plane in planes])
    least = max(float(everything.min()), LEAST_LEVEL)
    most = max(float(everything.max()), 1.1 * least)
    return np.geomspace(0.999 * least, 1.001 * most, LEVELS)


def _logarithmic(axis: "Axes") -> None:
    """Of the loss, with plain numbers at the ticks."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _contours(
    axis: "Axes", steps: Sequence[float], plane: Losses, levels: Losses
) -> "QuadContourSet":
    from matplotlib.colors import BoundaryNorm

    scale = BoundaryNorm(levels, ncolors=256)
    drawn = axis.contourf(steps, steps, plane, levels, cmap=SEQUENTIAL, norm=scale, extend="min")
    axis.contour(steps, steps, plane, levels, colors="white", linewidths=0.4)
    axis.plot(0, 0, "+", color="white")
    axis.grid(False)
    axis.set_aspect("equal")
    return drawn
