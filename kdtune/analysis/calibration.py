"""Whether confidences are as high as networks are right (Guo et al., 2017, arXiv:1706.04599)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kdtune.analysis.base import (
    ANALYSES,
    Analysis,
    Array,
    Item,
    Measured,
    Presented,
    Subject,
    Table,
)
from kdtune.analysis.figures import label, panels
from kdtune.analysis.kd_error import ce_loss
from kdtune.analysis.reading import Answers, SplitName, answers
from kdtune.analysis.reliability import reliability_figures
from kdtune.analysis.replicates import replicates
from kdtune.analysis.side_by_side import (
    SAMPLES,
    Column,
    circumstances,
    dots,
    dots_height,
    dots_legend,
    named,
    over_seeds,
    values_of,
)
from kdtune.contracts import Scalar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPERATURES = (0.05, 20.0)
"""Between which the temperature is looked for."""

READ: tuple[SplitName, ...] = ("val", "test")


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Samples by the confidence of their top class, in ``M`` bins ``(m / M, (m + 1) / M]``.

    A confidence of 0 is in the first bin. What is said of an empty bin is 0.

    Attributes:
        count: ``(M,)`` int64, samples in each.
        confidence: ``(M,)`` float64, their mean confidence.
        accuracy: ``(M,)`` float64, the share of them that is right.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def gaps(self) -> NDArray[np.float64]:
        """``(M,)``, how far confidence and accuracy are apart in each."""
        return np.abs(self.accuracy - self.confidence)


def binned(confidence: Tensor, right: Tensor, bins: int) -> Bins:
    """Sort samples into bins of equal width.

    Args:
        confidence: ``(n,)`` in [0, 1], n >= 1.
        right: ``(n,)`` bool, whether the top class is the label.
        bins: How many, at least 1.

    Raises:
        ValueError: If an argument is not as above.
    """
    if bins < 1:
        raise ValueError(f"bins must be >= 1, got {bins}")
    if confidence.ndim != 1 or confidence.shape != right.shape or not len(confidence):
        raise ValueError(
            "confidence and right must both be (n,) with n >= 1, got "
            f"{tuple(confidence.shape)} and {tuple(right.shape)}"
        )
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise ValueError(
            f"confidences must be in [0, 1], got {confidence.min():g} to {confidence.max():g}"
        )
    # Quotients of whole numbers in the confidences' own type: one of 0.3 is on the edge 3 / 10.
    edges = (torch.arange(1, bins, dtype=torch.float64) / bins).to(confidence.dtype)
    place = torch.bucketize(confidence, edges).numpy()
    sure = confidence.double().numpy()
    count = np.bincount(place, minlength=bins)
    summed, hits = (
        np.bincount(place, weights=weights, minlength=bins)
        for weights in (sure, right.double().numpy())
    )
    filled = np.maximum(count, 1)
    return Bins(count=count, confidence=summed / filled, accuracy=hits / filled)


def expected_calibration_error(bins: Bins) -> float:
    """Mean over the samples of their bin's gap between accuracy and confidence, in [0, 1]."""
    return float(bins.count @ bins.gaps / bins.count.sum())


def maximum_calibration_error(bins: Bins) -> float:
    """The widest gap between accuracy and confidence of any bin, in [0, 1]; a few samples do."""
    return float(bins.gaps.max())


def brier_score(logits: Tensor, labels: Tensor) -> float:
    """Mean over samples of the squared distance of the probabilities to the label's corner.

    Summed over the classes (Brier, 1950), so in [0, 2]; with two classes twice the form that
    looks at one of them.

    Args:
        logits: ``(n, C)``, before softmax, n >= 1.
        labels: ``(n,)`` int64.
    """
    wanted = functional.one_hot(labels, logits.shape[1])
    return (logits.double().softmax(dim=1) - wanted).square().sum(dim=1).mean().item()


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """A temperature that logits are divided by.

    Attributes:
        temperature: > 0; above 1 for a network that is too sure.
        at_bound: Whether the loss still falls at the end of the range, so that the temperature is
            that of the range and not of the network: towards 0 where no sample is wrong.
    """

    temperature: float
    at_bound: bool


def fitted_temperature(logits: Tensor, labels: Tensor) -> Scaling:
    """The temperature of the least negative log likelihood, between 0.05 and 20 (section 4.2).

    The likelihood is convex in the inverse of the temperature, so there is one minimum, and it
    leaves every top class what it is.

    Args:
        logits: ``(n, C)``, before softmax, of samples that are not reported on; n >= 1.
        labels: ``(n,)`` int64.

    Raises:
        ValueError: If the shapes do not fit or there is no sample.
    """
    from scipy.optimize import minimize_scalar

    exact = logits.double()

    def loss(log_temperature: float) -> float:
        return ce_loss(exact / math.exp(log_temperature), labels)

    ends = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-8})
    # The search stops short of the ends, which is where the loss is least if it falls all the way.
    losses = {end: loss(end) for end in ends}
    best = min(ends, key=losses.__getitem__)
    at_bound = losses[best] <= found.fun
    return Scaling(temperature=math.exp(best if at_bound else found.x), at_bound=bool(at_bound))


def scored(logits: Tensor, labels: Tensor, bins: int) -> tuple[dict[str, float], Bins]:
    """What is measured of one network at one temperature.

    Args:
        logits: ``(n, C)``, before softmax, n >= 1.
        labels: ``(n,)`` int64.
        bins: How many.

    Returns:
        ``accuracy``, mean ``confidence``, ``ece`` and ``mce`` in [0, 1], ``nll`` in nats, ``brier``
        in [0, 2]; and the bins.
    """
    confidence, top = logits.double().softmax(dim=1).max(dim=1)
    right = top.eq(labels)
    of_bins = binned(confidence, right, bins)
    numbers = {
        "accuracy": int(right.sum()) / len(right),
        "confidence": confidence.mean().item(),
        "ece": expected_calibration_error(of_bins),
        "mce": maximum_calibration_error(of_bins),
        "nll": ce_loss(logits, labels),
        "brier": brier_score(logits, labels),
    }
    return numbers, of_bins


@ANALYSES.register("calibration")
class Calibration(Analysis):
    """Calibration of students and teachers on test, before and after temperature scaling.

    ``accuracy``, ``confidence``, ``ece`` and ``mce`` are shares in [0, 1], ``nll`` is in nats,
    ``brier`` in [0, 2]; all on test. ``temperature/val`` is fitted on validation; with it
    ``ece_scaled``, ``nll_scaled`` and so on are measured on test, which plays no part in choosing
    anything. ``temperature_at_bound/val`` is 1 where the range ended the fit. The teacher's have
    ``teacher_`` before their names.

    Attributes:
        bins: Of equal width, for the confidence; Guo et al. take 15.
    """

    summary: ClassVar[str] = "Whether confidences match accuracy, before and after scaling"
    source: ClassVar[str] = "Guo et al., 2017, sections 2 and 4.2"

    bins: Annotated[int, Field(ge=1, le=1000)] = 15

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        numbers: dict[str, float] = {}
        arrays: dict[str, Array] = {
            SAMPLES: np.array([len(subject.dataset.val), len(subject.dataset.test)])
        }
        for name, prefix in (("student", ""), ("teacher", "teacher_")):
            model = subject.student if name == "student" else subject.teacher
            if model is not None:
                val, test = (
                    answers(model, subject, split)
                    for split in (subject.dataset.val, subject.dataset.test)
                )
                own, own_arrays = self._of_network(val, test)
                numbers |= {f"{prefix}{key}": value for key, value in own.items()}
                arrays |= {f"{name}_{key}": array for key, array in own_arrays.items()}
        return Measured(numbers=numbers, arrays=arrays)

    def _of_network(self, val: Answers, test: Answers) -> tuple[dict[str, float], dict[str, Array]]:
        scaling = fitted_temperature(val.logits, val.labels)
        cooled = test.logits.double() / scaling.temperature
        plain, bins = scored(test.logits, test.labels, self.bins)
        scaled, scaled_bins = scored(cooled, test.labels, self.bins)
        del scaled["accuracy"]  # Which is the same.
        numbers = {
            **{f"{name}/test": value for name, value in plain.items()},
            **{f"{name}_scaled/test": value for name, value in scaled.items()},
            "temperature/val": scaling.temperature,
            "temperature_at_bound/val": float(scaling.at_bound),
        }
        return numbers, {"bins": _packed(bins), "scaled_bins": _packed(scaled_bins)}

    def present(self, items: Sequence[Item]) -> Presented:
        notes = [
            *circumstances(items, READ),
            f"ECE and MCE over {self.bins} bins of equal width; Brier score summed over classes. "
            "The temperature is chosen on val; test is only reported on.",
            *_bounds_explained(items),
        ]
        tables = [_table("student", items, notes)]
        taught = [item for item in items if "teacher_ece/test" in item.measured.numbers]
        if taught:
            tables.append(_table("teacher", taught, notes))
        return Presented(
            tables=[*tables, *over_seeds(items, _columns(""), notes)],
            figures={"calibration": _figure(items), **reliability_figures(items)},
        )


def _packed(bins: Bins) -> Array:
    """``(3, M)``: count, confidence, accuracy."""
    return np.stack([bins.count, bins.confidence, bins.accuracy])


def _columns(prefix: str) -> list[Column]:
    """What a table shows of the student (no prefix) or the teacher."""
    shown = (
        ("Accuracy (%)", "accuracy/test", 100.0),
        ("Confidence (%)", "confidence/test", 100.0),
        ("ECE (%)", "ece/test", 100.0),
        ("MCE (%)", "mce/test", 100.0),
        ("NLL (nats)", "nll/test", 1.0),
        ("Brier", "brier/test", 1.0),
        ("T", "temperature/val", 1.0),
        ("ECE at T (%)", "ece_scaled/test", 100.0),
        ("NLL at T (nats)", "nll_scaled/test", 1.0),
    )
    return [Column(head=head, metric=prefix + metric, scale=scale) for head, metric, scale in shown]


def _table(whose: str, items: Sequence[Item], notes: Sequence[str]) -> Table:
    columns = _columns("teacher_" if whose == "teacher" else "")
    rows: list[list[Scalar]] = [
        [item.label, *(column.of(item) for column in columns)] for item in items
    ]
    return Table(
        title=f"Calibration of the {whose}s on test, as they are and at a fitted temperature T",
        columns=["Run", *(column.head for column in columns)],
        rows=rows,
        notes=notes,
    )


def _bounds_explained(items: Sequence[Item]) -> list[str]:
    notes = []
    for whose, prefix in (("student", ""), ("teacher", "teacher_")):
        bound = [
            item.label
            for item in items
            if item.measured.numbers.get(f"{prefix}temperature_at_bound/val")
        ]
        if bound:
            low, high = TEMPERATURES
            notes.append(
                f"T of the {whose} is at an end of its range, {low:g} to {high:g}, and says little "
                f"(with no error on val, less is always better): {named(bound)}."
            )
    return notes


def _figure(items: Sequence[Item]) -> "Figure":
    groups = replicates(items)
    figure, ((errors, losses),) = panels(
        columns=2,
        title="Calibration on test, before and after a temperature fitted on validation",
        size=(4.6, dots_height(groups)),
        share_y=True,
    )
    whose = [("student", ""), ("teacher", "teacher_")]
    for axis, metric, scale in ((errors, "ece", 100.0), (losses, "nll", 1.0)):
        columns = [
            Column(head=f"{name}{state}", metric=f"{prefix}{metric}{suffix}/test", scale=scale)
            for name, prefix in whose
            for state, suffix in (("", ""), (" at T", "_scaled"))
        ]
        dots(axis, groups, [c for c in columns if any(values_of(group, c) for group in groups)])
    label(errors, x="expected calibration error (%)", y="")
    label(losses, x="negative log likelihood (nats)", y="")
    dots_legend(figure, errors, groups)
    return figure
