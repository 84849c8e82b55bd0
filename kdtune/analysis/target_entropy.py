"""How smooth a teacher's targets are (Chandrasegaran et al., 2022, arXiv:2206.14532)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import field_validator
from torch import Tensor
from torch.nn import functional

from kdtune.analysis import figures
from kdtune.analysis.base import ANALYSES, Analysis, Item, Measured, Presented, Subject, Table
from kdtune.analysis.reading import answers
from kdtune.config import TrialConfig, teacher_trial
from kdtune.contracts import Scalar
from kdtune.palette import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_ROWS = 6
"""With more curves than that, the legend stands beside the panel."""


def target_entropy(logits: Tensor, temperature: float) -> Tensor:
    """Mean entropy of the softmax at ``temperature`` (appendix H).

    Args:
        logits: ``(n, C)``, before softmax, finite.
        temperature: Dimensionless, > 0.

    Returns:
        Scalar float64 in nats, from 0 for one-hot targets to ``ln C`` for uniform ones.

    Raises:
        ValueError: If ``temperature <= 0``, or the logits are not ``(n, C)`` with n > 0 or not
            finite.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if logits.ndim != 2 or len(logits) == 0:
        raise ValueError(f"logits must be (n, C) with n > 0, got {tuple(logits.shape)}")
    if not logits.isfinite().all():
        raise ValueError("logits must be finite; the teacher has diverged, train another one")
    log_probabilities = functional.log_softmax(logits.double() / temperature, dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1).mean()


def listed_temperatures(text: str) -> tuple[float, ...]:
    """``"1,2,64"`` -> ``(1.0, 2.0, 64.0)``.

    Raises:
        ValueError: Unless they are rising numbers > 0, at least one.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not (values and all(0 < v < math.inf for v in values)) or list(values) != sorted({*values}):
        raise ValueError(f"temperatures must be rising numbers > 0, e.g. '1,2,64', got '{text}'")
    return values


def own_temperature(config: TrialConfig) -> float | None:
    """The temperature at which a run learnt from its teacher's logits; None if it did not."""
    objective = config.objective
    temperature: float | None = getattr(objective, "temperature", None)
    return temperature if objective.traits.soft_labels else None


@ANALYSES.register("target_entropy")
class TargetEntropy(Analysis):
    """Mean entropy of the teacher's softmax over the plain training images, by temperature.

    In nats, in [0, ln C]. The metrics are ``target_entropy/train`` at the run's own temperature,
    where it has one, and ``target_entropy_t4/train`` at each given one (``t0_5`` for 0.5). Runs
    that share a teacher and its targets make one curve. Source: chandrasegaran2022, appendix H.

    Attributes:
        temperatures: Rising numbers > 0, with commas between.
    """

    summary: ClassVar[str] = (
        "Entropy of the teacher's targets on the training images by temperature"
    )
    source: ClassVar[str] = "chandrasegaran2022 TH.1-TH.4"
    needs_teacher: ClassVar[bool] = True

    temperatures: str = "1,2,3,4,8,16,64"

    @field_validator("temperatures")
    @classmethod
    def _check_temperatures(cls, text: str) -> str:
        listed_temperatures(text)
        return text

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        if subject.teacher is None:
            raise ValueError(
                f"target_entropy needs a run with a teacher, got method '{subject.config.method}'"
            )
        listed, own = listed_temperatures(self.temperatures), own_temperature(subject.config)
        said = answers(subject.teacher, subject, subject.dataset.train).logits
        curve = [target_entropy(said, temperature).item() for temperature in listed]
        numbers = {
            f"target_entropy_t{temperature:.12g}/train".replace(".", "_"): entropy
            for temperature, entropy in zip(listed, curve, strict=True)
        }
        if own is not None:
            numbers["target_entropy/train"] = target_entropy(said, own).item()
        return Measured(
            numbers=numbers,
            arrays={
                "temperatures": np.array(listed),
                "entropies": np.array(curve),
                "images": np.array(len(said)),
                "classes": np.array(said.shape[1]),
            },
        )

    def present(self, items: Sequence[Item]) -> Presented:
        curves = _curves(items)
        return Presented(
            tables=[_teachers(curves), _runs(curves)],
            figures={"target_entropy": _figure(curves)},
        )


def _curves(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Items by the name of their teacher, those together that share its targets."""
    shared: dict[str, list[Item]] = {}
    for item in items:
        shared.setdefault(repr(sorted(_targets(item.config).items())), []).append(item)
    groups = list(shared.values())
    return dict(zip(_names([group[0].config for group in groups]), groups, strict=True))


def _targets(config: TrialConfig) -> dict[str, Scalar]:
    """What fixes a teacher and the images whose targets are measured."""
    teacher = config.teacher
    assert teacher is not None
    data = {key: value for key, value in config.flat().items() if key.startswith("data")}
    of_run = {**data, "train.on": config.train.on}
    if teacher.weights:
        return {**of_run, "student": teacher.model, "teacher.weights": teacher.weights}
    trial = teacher_trial(config).flat()
    return {**{key: trial[key] for key in trial if key != "teacher.store"}, **of_run}


def _names(configs: Sequence[TrialConfig]) -> list[str]:
    """Model, smoothing and epochs of each teacher; of those alike in these, what else differs."""
    names = [_name(config) for config in configs]
    targets = [_targets(config) for config in configs]
    whole = []
    for name, own in zip(names, targets, strict=True):
        alike = [other for said, other in zip(names, targets, strict=True) if said == name]
        telling = [key for key in sorted(own) if len({repr(o.get(key)) for o in alike}) > 1]
        whole.append(", ".join([name, *(f"{key} {own[key]}" for key in telling)]))
    return whole


def _name(config: TrialConfig) -> str:
    teacher = config.teacher
    assert teacher is not None
    if teacher.weights:
        return f"{teacher.model} from {PurePath(teacher.weights).name}"
    smoothing = f"smoothing {teacher.label_smoothing:g}" if teacher.label_smoothing else "plain"
    plural = "" if teacher.epochs == 1 else "s"
    return f"{teacher.model}, {smoothing}, {teacher.epochs} epoch{plural}"


def _teachers(curves: Mapping[str, Sequence[Item]]) -> Table:
    first = next(iter(curves.values()))[0].measured.arrays
    heads = [f"T = {temperature:g}" for temperature in first["temperatures"]]
    rows = []
    for name, (item, *_) in curves.items():
        teacher, arrays = item.config.teacher, item.measured.arrays
        assert teacher is not None
        made = not teacher.weights
        described = [teacher.label_smoothing, teacher.epochs, teacher.seed] if made else [None] * 3
        most = math.log(int(arrays["classes"]))
        rows.append([name, *described, int(arrays["images"]), *arrays["entropies"].tolist(), most])
    return Table(
        title="Mean entropy of the teacher's targets by temperature (nats)",
        columns=["teacher", "label smoothing", "epochs", "seed", "images", *heads, "maximum ln C"],
        rows=rows,
        notes=[
            "Mean over the plain images of the training split, without augmentation; "
            "the teacher is in eval mode. The seed is the teacher's.",
            "Runs that share a teacher and the images make one row.",
        ],
    )


def _runs(curves: Mapping[str, Sequence[Item]]) -> Table:
    rows = [
        [
            item.label,
            name,
            item.config.seed,
            own_temperature(item.config),
            item.measured.numbers.get("target_entropy/train"),
        ]
        for name, group in curves.items()
        for item in group
    ]
    return Table(
        title="Entropy of the targets that each run learnt from (nats)",
        columns=["run", "teacher", "seed", "temperature", "target entropy"],
        rows=rows,
        notes=[
            "Training split, plain images; empty for a run that reads no logits of its teacher."
        ],
    )


def _figure(curves: Mapping[str, Sequence[Item]]) -> "Figure":
    beside = len(curves) > LEGEND_ROWS
    figure, axes = figures.panels(
        title="Targets get smoother with temperature, up to the uniform distribution",
        size=(8.4 if beside else 6.4, 4.4),
    )
    axis: Axes = axes[0, 0]
    for place, (name, (item, *_)) in enumerate(curves.items()):
        arrays = item.measured.arrays
        look: Mapping[str, Any] = figures.look(place)
        axis.plot(arrays["temperatures"], arrays["entropies"], label=name, **look)
    _mark_own(axis, curves)
    classes = sorted({int(group[0].measured.arrays["classes"]) for group in curves.values()})
    for count in classes:
        axis.axhline(math.log(count), color=QUIET, linestyle="--", zorder=1)
        axis.annotate(
            f"ln {count} = {math.log(count):.3f}",
            (0.0, math.log(count)),
            xycoords=axis.get_yaxis_transform(),
            xytext=(4, 3),
            textcoords="offset points",
            color=QUIET,
        )
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_ylim(0, 1.12 * math.log(classes[-1]))
    figures.label(axis, x="Temperature (log scale)", y="Mean entropy of the targets (nats)")
    if beside:
        figure.legend(loc="outside right center", fontsize=9)
    else:
        axis.legend(loc="lower right", fontsize=9)
    return figure


def _mark_own(axis: "Axes", curves: Mapping[str, Sequence[Item]]) -> None:
    """A ring around the targets that runs did learn from."""
    points = sorted(
        {
            (own, item.measured.numbers["target_entropy/train"])
            for group in curves.values()
            for item in group
            if (own := own_temperature(item.config)) is not None
        }
    )
    if points:
        axis.scatter(
            [temperature for temperature, _ in points],
            [entropy for _, entropy in points],
            s=130,
            facecolors="none",
            edgecolors="black",
            zorder=3,
            label="temperature of a run",
        )
