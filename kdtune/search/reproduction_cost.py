"""What runs will cost, from training steps that are timed here on images of the right shape."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import nn

from kdtune import models
from kdtune.config import TrialConfig
from kdtune.contracts import Batch
from kdtune.data import Dataset, ImageSplit, imbalanced_counts
from kdtune.data.corruption import count_range
from kdtune.objectives import Team
from kdtune.seeds import generator
from kdtune.training.data import load_trial_data
from kdtune.training.device import prepare, resolve_device
from kdtune.training.epoch import Lesson
from kdtune.training.pairing import pair_of
from kdtune.training.plan import Phase, phases
from kdtune.views import ViewStream

KNOWN = {"cifar10": 10, "cifar100": 100}
"""Classes of the datasets whose size is known without looking: 50,000 images of 3x32x32."""

TRAIN, SIDE, VAL_FRACTION = 50_000, 32, 0.1
SHOWN = 512
"""Different images of a stand-in."""

BUDGET_S, WARM_STEPS, FEWEST_STEPS = 1.0, 1, 2
"""How long a step is timed: for so long, after the first steps, which also allocate memory."""

SURE = 20.0
"""How much the networks that are timed prefer class 0, as a logit."""


class Shape(NamedTuple):
    """What the cost of training on a dataset depends on; ``train`` and ``val`` are images."""

    classes: int
    channels: int
    size: int
    train: int
    val: int


def shape_of(config: TrialConfig) -> Shape:
    """The shape of a trial's dataset, split as it asks; one of :data:`KNOWN` is not read."""
    if config.dataset not in KNOWN:
        there = load_trial_data(config)
        return Shape(there.classes, there.channels, there.size, len(there.train), len(there.val))
    classes, data = KNOWN[config.dataset], config.data
    val = round(TRAIN * (VAL_FRACTION if data.val_fraction is None else data.val_fraction))
    train = TRAIN - val
    if data.imbalance is not None:
        low, high = count_range(train // classes)
        train = sum(imbalanced_counts(classes, gamma=data.imbalance, n_min=low, n_max=high))
    if data.train_limit is not None and data.train_limit < train:
        train, val = data.train_limit, round(val * data.train_limit / train)
    return Shape(classes, 3, SIDE, train, val)


def stand_in(shape: Shape) -> Dataset:
    """Noise of that shape, half of it of class 0."""
    classes, channels, size = shape[:3]
    draws = generator(0, "stand-in")
    pixels = torch.randint(
        0, 256, (SHOWN, channels, size, size), dtype=torch.uint8, generator=draws
    )
    labels = torch.arange(SHOWN) % (2 * classes)
    labels[labels >= classes] = 0

    def split(count: int) -> ImageSplit:
        return ImageSplit(pixels, labels, torch.arange(count) % SHOWN)

    return Dataset(
        name="stand-in",
        train=split(shape.train),
        val=split(shape.val),
        test=split(shape.val),
        classes=classes,
        class_names=tuple(map(str, range(classes))),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        flip=True,
        fingerprint="stand-in",
    )


class Stretch(NamedTuple):
    """Epochs of one phase, one after the other, in which the same terms are computed."""

    phase: Phase
    start: int
    epochs: int


def stretches(config: TrialConfig) -> list[Stretch]:
    """The whole trial, in order: each stretch has steps of one cost."""
    found = []
    for phase in phases(config):

        def terms(epoch: int, phase: Phase = phase) -> list[str]:
            return sorted(n for n, w in phase.objective.weights(phase.moment(epoch)).items() if w)

        for _, group in groupby(range(phase.start, phase.stop), key=terms):
            epochs = list(group)
            found.append(Stretch(phase, epochs[0], len(epochs)))
    return found


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What trainings will take.

    Attributes:
        epochs: Of all of them.
        teachers_s, runs_s: Seconds from the first to the last training step of each stage.
        concurrency: How many train at once.
        steps_s: Seconds of a step, of each combination that was timed.
        device: Type of the device that they were timed on.
    """

    epochs: int
    teachers_s: float
    runs_s: float
    concurrency: int
    steps_s: Sequence[float]
    device: str


def estimate(
    teachers: Sequence[TrialConfig],
    runs: Sequence[TrialConfig],
    *,
    concurrency: int,
    progress: Callable[[int, int], object],
) -> Estimate:
    """Time one step of each distinct combination of networks, method, images and batch.

    It rests on these steps alone: each training takes as long as it would alone, a student that is
    pruned as long as a whole one; validation, loading and the start of processes come on top.

    Args:
        teachers: Trained first.
        runs: Trained when all of those are done.
        concurrency: How many train at once.
        progress: Told how many combinations are timed, and of how many.
    """
    trials = [*teachers, *runs]
    shapes = [shape_of(trial) for trial in trials]
    kinds: dict[tuple[object, ...], tuple[TrialConfig, Stretch, Shape]] = {}
    for trial, shape in zip(trials, shapes, strict=True):
        for stretch in stretches(trial):
            kinds.setdefault(_kind(trial, stretch, shape), (trial, stretch, shape))
    steps: dict[tuple[object, ...], float] = {}
    for kind, (trial, stretch, shape) in kinds.items():
        progress(len(steps), len(kinds))
        steps[kind] = _step_seconds(trial, stretch, stand_in(shape))
    costs = [
        sum(
            steps[_kind(trial, stretch, shape)] * stretch.epochs * _steps(trial, shape)
            for stretch in stretches(trial)
        )
        for trial, shape in zip(trials, shapes, strict=True)
    ]
    return Estimate(
        epochs=sum(stretch.epochs for trial in trials for stretch in stretches(trial)),
        teachers_s=_elapsed(costs[: len(teachers)], concurrency),
        runs_s=_elapsed(costs[len(teachers) :], concurrency),
        concurrency=concurrency,
        steps_s=list(steps.values()),
        device=resolve_device(trials[0].train.device).type,
    )


def _elapsed(costs: Sequence[float], concurrency: int) -> float:
    """Seconds that trainings take together; the longest one, if it alone takes longer."""
    return max(sum(costs) / concurrency, max(costs)) if costs else 0.0


def _steps(trial: TrialConfig, shape: Shape) -> int:
    """Of an epoch."""
    return _stream(trial, stand_in(shape), torch.device("cpu")).steps_per_epoch


class _Clocked(ViewStream):
    """The first batches of an epoch, with the time at which each of them was asked for."""

    marks: list[float]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        self.marks = []
        for batch in super().epoch(epoch):
            self._mark()
            yield batch
            if self._enough():
                break
        self._mark()

    def _mark(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.marks.append(time.perf_counter())

    def _enough(self) -> bool:
        timed = len(self.marks) - WARM_STEPS
        return timed >= FEWEST_STEPS and time.perf_counter() - self.marks[WARM_STEPS] > BUDGET_S

    def seconds(self) -> float:
        """The median over the steps after the first ones; over all where there are no more."""
        marks = self.marks[WARM_STEPS:] if len(self.marks) > WARM_STEPS + 1 else self.marks
        return statistics.median(b - a for a, b in pairwise(marks))


def _kind(config: TrialConfig, stretch: Stretch, shape: Shape) -> tuple[object, ...]:
    """What of a stretch decides how long a step takes."""
    phase = stretch.phase
    terms = tuple(n for n, w in phase.objective.weights(phase.moment(stretch.start)).items() if w)
    teacher = config.teacher.model if config.teacher and phase.guide == "teacher" else phase.guide
    method: tuple[object, ...] = (terms, teacher)
    if terms == ("ce",) and not phase.objective.traits.team:
        method = terms
    elif not set(terms) <= {"ce", "kd"} or phase.objective.traits.team:
        # Real numbers cost nothing; whole ones say how much is done: blocks, members, attacks.
        fields = phase.objective.model_dump().values()
        method += (config.method, *(value for value in fields if isinstance(value, int | str)))
    views = (config.augment, config.batches, config.views)
    return (config.student, *method, *views, config.train.batch_size, *shape[:3])


def _stream(config: TrialConfig, dataset: Dataset, device: torch.device) -> _Clocked:
    return _Clocked(
        dataset,
        policy=config.views,
        batch_size=config.train.batch_size,
        seed=0,
        device=device,
        plain_too=config.batches == "plain+mixed",
    )


def _step_seconds(config: TrialConfig, stretch: Stretch, dataset: Dataset) -> float:
    """Seconds of one step of a stretch, with new networks."""
    device = resolve_device(config.train.device)
    prepare(device, config.train.threads)
    phase, objective = stretch.phase, stretch.phase.objective
    student = objective.assemble(
        lambda member: _network(config.student, dataset, member), models.split_after
    ).to(device)
    teacher = None
    if phase.guide != "nobody":
        taught = config.teacher.model if config.teacher and phase.guide == "teacher" else ""
        teacher = _network(taught or config.student, dataset, -1).to(device).eval()
        teacher.requires_grad_(False)
    pair = pair_of(objective, _members(student)[0], teacher, dataset)
    companion = objective.companion(phase.moment(stretch.start), pair)
    extra = [] if companion is None else list(companion.to(device).parameters())
    stream = _stream(config, dataset, device)
    Lesson(
        phase=phase,
        student=student,
        teacher=teacher,
        companion=companion,
        optimizer=torch.optim.SGD([*student.parameters(), *extra], lr=1.0, momentum=0.9),
        stream=stream,
        seed=0,
    ).epoch(stretch.start)
    return stream.seconds()


def _members(network: nn.Module) -> list[nn.Module]:
    return network.candidates() if isinstance(network, Team) else [network]


def _network(name: str, dataset: Dataset, member: int) -> nn.Module:
    """A network that says class 0: an attack on right answers (bss) finds some, and takes long."""
    network = models.build(
        name,
        classes=dataset.classes,
        channels=dataset.channels,
        size=dataset.size,
        seed=member + 1,
    )
    classifiers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for last in classifiers[-1:]:
            last.bias[0] += SURE
    return network
