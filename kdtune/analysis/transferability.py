"""How well adversarial images of one network deceive another (Sarfraz et al., 2020, section 4-D).

The more alike the decision boundaries of two networks, the more of what deceives one deceives the
other.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from kdtune.analysis import figures, reading
from kdtune.analysis.attack import pgd, random_starts
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
from kdtune.analysis.replicates import seeds_of
from kdtune.config import TrialConfig, teacher_trial
from kdtune.contracts import Scalar
from kdtune.data import ImageSplit
from kdtune.palette import SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Matrix = NDArray[np.float64]

WRITTEN_IN = 12
"""So many networks at most leave room for the numbers in the cells of the heat map."""


def transfer_rate(
    labels: Tensor, *, source: Tensor, target: Tensor, attacked: Tensor
) -> tuple[float, int]:
    """Of the samples that both networks get right, the share that the target then gets wrong.

    Args:
        labels: ``(n,)`` int64.
        source: ``(n,)`` top classes of the network that was attacked, of the plain images.
        target: ``(n,)`` the same of the network that is to be deceived.
        attacked: ``(n,)`` top classes of the target, of the adversarial images; read only where
            both were right.

    Returns:
        The share in [0, 1], NaN if there are no such samples, and their number.
    """
    both = source.eq(labels) & target.eq(labels)
    count = int(both.sum())
    deceived = int((both & attacked.ne(labels)).sum())
    return (deceived / count if count else math.nan), count


def teacher_of(config: TrialConfig) -> tuple[object, ...] | None:
    """What tells a run's teacher from others: equal for two runs that learned from the same one.

    That is the trial that trains it, wherever it is stored, or the weights it was read from.
    """
    if config.teacher is None:
        return None
    if config.teacher.weights:
        return config.dataset, config.data, config.teacher.model, config.teacher.weights
    return (teacher_trial(config).model_copy(update={"store": ""}),)


@dataclass(frozen=True, kw_only=True)
class _Network:
    """One that attacks or is attacked.

    Attributes:
        logits_of: Takes pixels.
        device: Where they must be.
    """

    logits_of: nn.Module
    device: torch.device

    @classmethod
    def of(cls, model: nn.Module | None, subject: Subject) -> "_Network":
        assert model is not None
        in_pixels = reading.InPixels(model, subject.dataset, subject.device).eval()
        return cls(logits_of=in_pixels, device=subject.device)

    @torch.no_grad()
    def top1(self, images: Tensor) -> Tensor:
        """``(B,)`` int64 on the CPU."""
        logits: Tensor = self.logits_of(images.to(self.device))
        return logits.argmax(dim=1).cpu()


@ANALYSES.register("transferability")
class Transferability(Analysis):
    """Share of the test samples right in two networks that an attack on one makes the other miss.

    Rates in [0, 1]; rows of the matrix are targets, columns sources, and its diagonal is the
    white-box attack. The networks are the students and each distinct teacher. A rate that no
    sample counts for is left out. Of sarfraz2020, figure 1, which says nothing of the start of the
    attack, its data and networks.

    ``white_box`` is the rate of the student on itself, ``to_teacher`` of its images on its teacher,
    ``from_teacher`` the reverse; ``to_others`` and ``from_others`` are means over the students
    analysed with it.

    Attributes:
        epsilon: Largest change of a pixel, in units of 0..1.
        step_size: Of a step, in the same units.
        steps: Of the attack.
        random_start: Whether it starts at a random place in the ball, else at the image.
        count: Test samples, drawn without replacement; 0 for all.
        batch_size: Images attacked at a time.
        seed: Of the sample and of the starts.
    """

    summary: ClassVar[str] = "Share of adversarial images of one network that deceive another"
    source: ClassVar[str] = "sarfraz2020 F1"
    with_peers: ClassVar[bool] = True

    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.031
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.003
    steps: Annotated[int, Field(ge=1)] = 20
    random_start: bool = True
    count: Annotated[int, Field(ge=0)] = 500
    batch_size: Annotated[int, Field(ge=1)] = 250
    seed: Annotated[int, Field(ge=0)] = 0

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        together = (subject, *peers)
        _require_one_test_set(together)
        networks = [_Network.of(each.student, each) for each in together]
        for place in _first_taught([teacher_of(each.config) for each in together]):
            networks.append(_Network.of(together[place].teacher, together[place]))
        test = subject.dataset.test
        sample = reading.sample(test, self.count or len(test), self.seed)
        plain = _plain(networks, sample, self.batch_size)
        rates, counted = self._attack(networks, 0, sample, plain)
        arrays: dict[str, Array] = {
            "rates": rates,
            "counted": counted,
            "samples": np.array(len(sample)),
        }
        numbers = {"white_box": rates[0], "to_others": _mean(rates[1 : len(together)])}
        if subject.config.teacher is not None:
            own = len(together)
            taught, of_teacher = self._attack(networks, own, sample, plain)
            arrays |= {"teacher_rates": taught, "teacher_counted": of_teacher}
            numbers |= {"to_teacher": rates[own], "from_teacher": taught[0]}
        return Measured(numbers=_finite(numbers), arrays=arrays)

    def present(self, items: Sequence[Item]) -> Presented:
        matrix, teachers = _assembled(items)
        labels = [item.label for item in items]
        others = _from_others(matrix, len(items))
        numbers = {
            label: _finite({"from_others": of}) for label, of in zip(labels, others, strict=True)
        }
        names = [*labels, *teachers]
        setting = self._setting(items)
        return Presented(
            tables=[
                _matrix_table(matrix, labels, teachers, setting),
                _summary(items, others, setting),
            ],
            figures={"transferability": _heat_map(matrix, names, len(items))},
            numbers={label: found for label, found in numbers.items() if found},
        )

    def _attack(
        self, networks: Sequence[_Network], source: int, sample: ImageSplit, plain: Tensor
    ) -> tuple[Matrix, NDArray[np.int64]]:
        """Rates ``(networks,)`` of the images that deceive ``source``, and samples counted."""
        labels = sample.targets
        right = plain[source].eq(labels).nonzero()[:, 0]
        attacked = plain.clone()
        for rows in _in_parts(right, self.batch_size):
            images = self._adversarial(networks[source], _rows(sample, rows))
            for place, network in enumerate(networks):
                attacked[place, rows] = network.top1(images)
        found = [
            transfer_rate(labels, source=plain[source], target=before, attacked=after)
            for before, after in zip(plain, attacked, strict=True)
        ]
        return np.array([rate for rate, _ in found]), np.array([count for _, count in found])

    def _adversarial(self, network: _Network, batch: ImageSplit) -> Tensor:
        images, start = reading.pixels(batch), None
        if self.random_start:
            start = random_starts(
                batch.index, images.shape[1:], epsilon=self.epsilon, seed=self.seed
            ).to(network.device)
        return pgd(
            network.logits_of,
            images.to(network.device),
            batch.targets.to(network.device),
            epsilon=self.epsilon,
            step_size=self.step_size,
            steps=self.steps,
            start=start,
        )

    def _setting(self, items: Sequence[Item]) -> list[str]:
        """Notes on how all rates were measured, of which networks."""
        start = "a random start in the ball" if self.random_start else "a start at the image"
        counted = [int(n) for item in items for n in item.measured.arrays["counted"]]
        return [
            f"Sample: {int(items[0].measured.arrays['samples'])} images of the test split, seed "
            f"{self.seed}; of these each rate counts those that both networks get right, "
            f"{min(counted)} to {max(counted)} where a student is the source.",
            f"Attack: {self.steps} steps of {self.step_size:g} along the sign of the gradient, "
            f"within {self.epsilon:g} of each pixel (pixels in 0..1), from {start}; eval mode.",
            f"Students: n = {len(items)}, each a single run; {seeds_of(items)}.",
        ]


def _require_one_test_set(subjects: Sequence[Subject]) -> None:
    first = subjects[0]
    for other in subjects[1:]:
        ours, theirs = first.dataset, other.dataset
        if ours.fingerprint != theirs.fingerprint or len(ours.test) != len(theirs.test):
            raise ValueError(
                "transferability compares networks on one test set, got "
                f"'{first.label}' on {ours.name} and '{other.label}' on {theirs.name}; "
                "analyse the runs of each data set on their own"
            )


def _first_taught(teachers: Iterable[tuple[object, ...] | None]) -> list[int]:
    """Of each distinct teacher the place of the first run that learned from it, in order."""
    seen: list[tuple[object, ...]] = []
    first = []
    for place, teacher in enumerate(teachers):
        if teacher is not None and teacher not in seen:
            seen.append(teacher)
            first.append(place)
    return first


def _plain(networks: Sequence[_Network], sample: ImageSplit, batch_size: int) -> Tensor:
    """``(networks, n)`` top classes of the images as they are."""
    batches = [
        torch.stack([network.top1(images) for network in networks])
        for images in _pixel_batches(sample, batch_size)
    ]
    return torch.cat(batches, dim=1)


def _pixel_batches(sample: ImageSplit, batch_size: int) -> Iterator[Tensor]:
    for rows in _in_parts(torch.arange(len(sample)), batch_size):
        yield reading.pixels(_rows(sample, rows))


def _in_parts(rows: Tensor, size: int) -> Iterator[Tensor]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _rows(split: ImageSplit, rows: Tensor) -> ImageSplit:
    return ImageSplit(split.images, split.labels, split.index[rows])


def _assembled(items: Sequence[Item]) -> tuple[Matrix, dict[str, list[str]]]:
    """Rates ``(targets, sources)`` of students and teachers, and whom each teacher taught.

    A subject's arrays are in the order students, itself first, then teachers as they occur there.

    Raises:
        ValueError: If the items were measured among others.
    """
    keys = [teacher_of(item.config) for item in items]
    first = _first_taught(keys)
    teachers = [keys[place] for place in first]
    matrix = np.full((len(items) + len(teachers),) * 2, np.nan)
    for place, item in enumerate(items):
        order = [place, *(other for other in range(len(items)) if other != place)]
        local = [keys[at] for at in order]
        rows = [*order, *(len(items) + teachers.index(local[at]) for at in _first_taught(local))]
        arrays = item.measured.arrays
        if len(arrays["rates"]) != len(rows):
            raise ValueError(
                f"'{item.label}' was measured among {len(arrays['rates'])} networks, got "
                f"{len(rows)} to present; measure and present the same runs"
            )
        matrix[rows, place] = arrays["rates"]
        if place in first:
            matrix[rows, len(items) + first.index(place)] = arrays["teacher_rates"]
    names = _teacher_names([items[place].config for place in first])
    return matrix, {
        name: [item.label for item, key in zip(items, keys, strict=True) if key == teacher]
        for name, teacher in zip(names, teachers, strict=True)
    }


def _teacher_names(configs: Sequence[TrialConfig]) -> list[str]:
    if len(configs) == 1:
        return ["teacher"]
    return [f"teacher {place}" for place in range(1, len(configs) + 1)]


def _from_others(matrix: Matrix, students: int) -> list[float]:
    rows = matrix[:students, :students]
    return [_mean(np.delete(row, place)) for place, row in enumerate(rows)]


def _mean(rates: NDArray[np.float64]) -> float:
    """Of those that are defined; NaN if none is."""
    known = rates[~np.isnan(rates)]
    return float(known.mean()) if known.size else math.nan


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _matrix_table(
    matrix: Matrix,
    students: Sequence[str],
    teachers: Mapping[str, Sequence[str]],
    setting: Sequence[str],
) -> Table:
    count = len(students)
    among = matrix[:, :count]
    means = [_mean(row) for row in among]
    below = [*(_mean(column) for column in matrix[:count].T)]
    rows = [
        [name, *(_percent(rate) for rate in (*among[at], means[at], *matrix[at, count:]))]
        for at, name in enumerate([*students, *teachers])
    ]
    overall = _mean(among[:count].ravel())
    mean_row = ["mean", *map(_percent, (*below[:count], overall, *below[count:]))]
    return Table(
        title="Adversarial images of the source (columns) that deceive the target (rows), in %",
        columns=["target", *students, "mean", *teachers],
        rows=[*rows[:count], mean_row, *rows[count:]],
        notes=[
            "Rows are targets, columns sources; the diagonal is the white-box attack. Means are "
            "over the students, the diagonal included.",
            *setting,
            *(
                f"{name[0].upper()}{name[1:]} taught {', '.join(taught)}."
                for name, taught in teachers.items()
            ),
        ],
    )


def _summary(items: Sequence[Item], from_others: Sequence[float], setting: Sequence[str]) -> Table:
    names = ("white_box", "to_others", "to_teacher", "from_teacher")
    return Table(
        title="How far each student's adversarial images reach and what deceives it, in %",
        columns=[
            *("student", "itself", "its images on other students", "its images on its teacher"),
            *(
                "its teacher's images on it",
                "other students' images on it",
                "samples it gets right",
            ),
        ],
        rows=[
            [
                item.label,
                *(_percent(item.measured.numbers.get(name, math.nan)) for name in names),
                _percent(of),
                int(item.measured.arrays["counted"][0]),
            ]
            for item, of in zip(items, from_others, strict=True)
        ],
        notes=[
            "Means over the other students; the last column is a number of samples.",
            *setting,
        ],
    )


def _percent(rate: float) -> Scalar:
    return None if math.isnan(rate) else 100 * float(rate)


def _heat_map(matrix: Matrix, names: Sequence[str], students: int) -> "Figure":
    count = len(names)
    longest = max(map(len, names))
    side = 2.0 + 0.09 * longest + max(0.3, 0.62 - 0.01 * count) * count
    figure, axes = figures.panels(
        title="Adversarial images of the source that deceive the target",
        size=(max(5.2, side + 1.0 + 0.02 * longest), side),
    )
    axis = axes[0, 0]
    shown = axis.imshow(100 * matrix, cmap=SEQUENTIAL, vmin=0, vmax=_top(matrix))
    axis.grid(False)
    for place in (students - 0.5,) if students < count else ():
        axis.axhline(place, color="white", linewidth=2)
        axis.axvline(place, color="white", linewidth=2)
    axis.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(count), names)
    figures.label(axis, x="source, whose gradient was followed", y="target")
    figure.colorbar(shown, ax=axis, label="share of samples right in both, %", shrink=0.8)
    if count <= WRITTEN_IN:
        _write_in(axis, 100 * matrix, _top(matrix))
    return figure


def _top(matrix: Matrix) -> float:
    """The end of the colour scale in percent: the next multiple of 10."""
    largest = np.nanmax(matrix, initial=0.0)
    return max(10.0, math.ceil(10 * float(largest)) * 10.0)


def _write_in(axis: "Axes", percent: Matrix, top: float) -> None:
    for (row, column), value in np.ndenumerate(percent):
        text = "none" if math.isnan(value) else f"{value:.1f}"
        colour = "black" if value > 0.55 * top or math.isnan(value) else "white"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
