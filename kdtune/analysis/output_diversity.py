"""How differently a network treats different images: the NWOT score, version 1.

Mellor, Turner, Storkey and Crowley, 2020 (arXiv:2006.04647, first version), which Park et al., 2020
(arXiv:2009.09152, table 6) take of trained networks. The later score of that name, a determinant
of ReLU codes, is another metric.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from kdtune.analysis.base import ANALYSES, Analysis, Item, Measured, Presented, Subject, Table
from kdtune.analysis.figures import label, look, panels
from kdtune.analysis.reading import SplitName, sample, split_of
from kdtune.analysis.replicates import replicates
from kdtune.contracts import Scalar
from kdtune.palette import QUIET
from kdtune.training.batch_norm import batch_statistics
from kdtune.views import plain_batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BatchNorm = Literal["eval", "batch"]
K = 1e-5
"""Added to every eigenvalue; a correlation matrix with one of 0 costs ``1 / K``."""
NORMAL_99 = 2.576
"""Half width of the 99 % interval of a normal mean, in standard errors."""


def input_gradients(model: nn.Module, images: Tensor, *, bn_mode: BatchNorm = "eval") -> Tensor:
    """The gradient of all logits, summed, by each image.

    Args:
        model: In eval mode; stays as it is, buffers and gradients included.
        images: ``(B, C, H, W)``, normalised.
        bn_mode: Whether batch norm uses its stored statistics or those of ``images``, which makes
            the logits of one image depend on the others.

    Returns:
        ``(B, C * H * W)`` float64 on the CPU.

    Raises:
        ValueError: If the model is not in eval mode.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("gradients by images need a model in eval mode; call model.eval() before")
    inputs = images.detach().clone().requires_grad_()
    with torch.enable_grad(), batch_statistics(model) if bn_mode == "batch" else nullcontext():
        (gradients,) = torch.autograd.grad(model(inputs).sum(), inputs)
    return gradients.flatten(1).cpu().double()


def spectrum(rows: Tensor) -> Tensor:
    """Eigenvalues of the correlation matrix of the rows.

    Args:
        rows: ``(B, D)`` float64; scaling or shifting a row changes nothing.

    Returns:
        ``(B,)`` float64, ascending, >= 0 up to rounding; they add up to B.

    Raises:
        ValueError: If a row is constant up to the rounding of float32, or not finite: it
            correlates with nothing.
    """
    spread = rows.amax(dim=1) - rows.amin(dim=1)
    varied = spread > torch.finfo(torch.float32).eps * rows.abs().amax(dim=1)
    if not varied.all():
        place = int(varied.logical_not().nonzero()[0])
        raise ValueError(
            "the gradient by an image must be finite and differ between its pixels, got "
            f"{rows[place].min().item()} to {rows[place].max().item()} for image {place} "
            f"({int(varied.logical_not().sum())} of {len(rows)} images are so); the network does "
            "not tell pixels apart, is it trained?"
        )
    centred = rows - rows.mean(dim=1, keepdim=True)
    units = centred / centred.norm(dim=1, keepdim=True)
    eigenvalues: Tensor = torch.linalg.eigvalsh(units @ units.T)
    return eigenvalues


def score(eigenvalues: Tensor) -> float:
    """``-sum(log(v + K) + 1 / (v + K))`` over eigenvalues ``(B,)``; at most about ``-B``."""
    shifted = eigenvalues + K
    return -(shifted.log() + 1 / shifted).sum().item()


def nwot_score(model: nn.Module, images: Tensor, *, bn_mode: BatchNorm = "eval") -> float:
    """How little the gradients of different images correlate; dimensionless.

    Args:
        model: In eval mode; stays as it is.
        images: ``(B, C, H, W)``, normalised.
        bn_mode: See :func:`input_gradients`.

    Returns:
        At most about ``-B``, for uncorrelated gradients; more is more diverse. A linear model has
        the least, about ``-(B - 1) / K``.

    Raises:
        ValueError: If the model is not in eval mode, or does not tell the pixels of an image apart.
    """
    return score(spectrum(input_gradients(model, images, bn_mode=bn_mode)))


@ANALYSES.register("output_diversity")
class OutputDiversity(Analysis):
    """The NWOT score of the student: the more, the less the input gradients of images correlate.

    At most about minus the batch size, so scores compare at one batch size only. The images are
    plain, and the same for all runs that share their data.

    Attributes:
        batch_size: Images; fewer than an image has pixels and channels, or the score says no more
            than how many eigenvalues are 0.
        seed: Of the draw of the images.
        split: Drawn from.
        bn_mode: ``eval`` normalises by the stored statistics; ``batch`` by those of the images, as
            the public code does, which mixes the images. No buffer changes either way.
    """

    summary: ClassVar[str] = "How little the input gradients of images correlate (NWOT score)"
    source: ClassVar[str] = "park2020 T6"

    batch_size: Annotated[int, Field(ge=2)] = 128
    seed: Annotated[int, Field(ge=0)] = 0
    split: SplitName = "train"
    bn_mode: BatchNorm = "eval"

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        split = split_of(subject.dataset, self.split)
        if self.batch_size > len(split):
            raise ValueError(
                f"batch_size must be at most {len(split)}, the images of the {self.split} split, "
                f"got {self.batch_size}"
            )
        drawn = sample(split, self.batch_size, self.seed)
        (batch,) = plain_batches(
            drawn, subject.dataset, batch_size=self.batch_size, device=subject.device
        )
        rows = input_gradients(subject.student, batch.images, bn_mode=self.bn_mode)
        eigenvalues = spectrum(rows)
        return Measured(
            numbers={self._number: score(eigenvalues)},
            arrays={"eigenvalues": eigenvalues.numpy()},
        )

    def present(self, items: Sequence[Item]) -> Presented:
        table = Table(
            title="Output diversity (NWOT score, dimensionless; more is more diverse)",
            columns=(
                *("configuration", "n", "mean", "standard deviation"),
                *("error margin", "99 % interval, half width", f"eigenvalues below {K:g}"),
            ),
            rows=self._rows(items),
            notes=self._notes(),
        )
        return Presented(tables=[table], figures={"output_diversity": self._figure(items)})

    @property
    def _number(self) -> str:
        return f"nwot_score/{self.split}"

    def _scores(self, items: Sequence[Item]) -> list[float]:
        return [item.measured.numbers[self._number] for item in items]

    def _rows(self, items: Sequence[Item]) -> list[list[Scalar]]:
        rows: list[list[Scalar]] = []
        for group in replicates(items):
            scores = self._scores(group.items)
            deviation = margin = half = None
            if len(scores) > 1:
                deviation = stdev(scores)
                margin = error_margin(scores)
                half = NORMAL_99 * margin
            near_zero = fmean(vanishing(item) for item in group.items)
            rows.append(
                [group.label, len(scores), fmean(scores), deviation, margin, half, near_zero]
            )
        return rows

    def _notes(self) -> list[str]:
        statistics = {
            "eval": "batch norm by its stored statistics, so images do not touch each other",
            "batch": "batch norm by the statistics of these images, which mixes them: a gradient "
            "is that of all images' logits; the stored statistics stay as they are",
        }
        return [
            f"{self.split} split, {self.batch_size} plain images drawn with seed {self.seed}; "
            f"students in eval mode, {statistics[self.bn_mode]}.",
            "n trained networks that differ in their seed alone; sample standard deviation; error "
            f"margin = standard deviation / sqrt(n); half width = {NORMAL_99} error margins, the "
            "normal factor, which is too small for few networks.",
            f"At most about -{self.batch_size}, and {1 / K:,.0f} less for each eigenvalue of 0: "
            "there are some wherever images outnumber an image's pixels times channels.",
        ]

    def _figure(self, items: Sequence[Item]) -> "Figure":
        groups = replicates(items)
        height = max(2.6, 1.4 + 0.34 * len(groups))
        figure, axes = panels(
            title="How diverse outputs are: the NWOT score of each student", size=(7.0, height)
        )
        axis = axes[0, 0]
        for place, group in enumerate(groups):
            scores = self._scores(group.items)
            colour = look(place)["color"]
            several = len(scores) > 1
            axis.scatter(
                scores, [place] * len(scores), s=28, facecolors="none" if several else colour,
                edgecolors=colour, zorder=3,
            )  # fmt: skip
            if several:
                half = NORMAL_99 * error_margin(scores)
                axis.errorbar(
                    fmean(scores), place, xerr=half, marker="D", markersize=6, color=colour,
                    markeredgecolor="black", capsize=4, linestyle="", zorder=4,
                )  # fmt: skip
        if any(len(group.items) > 1 for group in groups):
            axis.scatter([], [], s=28, facecolors="none", edgecolors=QUIET, label="one network")
            axis.errorbar(
                [], [], xerr=[], marker="D", markersize=6, color=QUIET, markeredgecolor="black",
                capsize=4, linestyle="", label="mean and 99 % interval",
            )  # fmt: skip
            figure.legend(loc="outside lower right", ncols=2)
        axis.set_yticks(range(len(groups)), [group.label for group in groups])
        axis.set_ylim(len(groups) - 0.5, -0.5)
        axis.margins(x=0.08)
        axis.locator_params(axis="x", nbins=5)
        axis.ticklabel_format(axis="x", style="plain", useOffset=False)
        label(axis, x=f"score of {self.batch_size} {self.split} images (more diverse →)", y="")
        return figure


def error_margin(values: Sequence[float]) -> float:
    """Sample standard deviation of two or more values over the root of their number."""
    return stdev(values) / math.sqrt(len(values))


def vanishing(item: Item) -> int:
    """How many eigenvalues of a measured run are below ``K``."""
    eigenvalues = item.measured.arrays["eigenvalues"].astype(np.float64)
    return int((eigenvalues < K).sum())
