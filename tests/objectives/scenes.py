"""Tiny networks, and the steps of a training that any method can be asked about."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from kdtune import models
from kdtune.contracts import Batch, Feature, Moment, Outputs, Pair, Step
from kdtune.objectives import OBJECTIVES, Objective, Team
from kdtune.seeds import generator, global_stream

CLASSES, CHANNELS, SIZE, COUNT, IMAGES = 5, 3, 8, 6, 40
STUDENT, TEACHER = "resnet8x0.25", "resnet14x0.25"
"""Of equal widths, as some methods ask for."""


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers of their own generator."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def make_batch(labels: Tensor, images: Tensor | None = None) -> Batch:
    """A batch of blank images, or of those given."""
    blank = torch.zeros(len(labels), 1, 1, 1) if images is None else images
    return Batch(index=torch.arange(len(labels)), images=blank, labels=labels)


def build(name: str, seed: int) -> nn.Module:
    """A network of the zoo for the tiny images."""
    return models.build(name, classes=CLASSES, channels=CHANNELS, size=SIZE, seed=seed)


def moments(objective: Objective) -> list[Moment]:
    """First, middle and last epochs of all phases that a trial of ten epochs may have."""
    train = [Moment(epoch=epoch, epochs=10, first_drop=6) for epoch in (0, 4, 9)]
    finetune = Moment(phase="finetune", epoch=8, epochs=10, first_drop=6)
    warmup = objective.warmup(10)
    if warmup is None:
        return [*train, finetune]
    ends = (0, warmup.epochs - 1)
    first = [Moment(phase="warmup", epoch=epoch, epochs=warmup.epochs) for epoch in ends]
    return [*first, *train, finetune]


def changes(objective: Objective) -> list[Moment]:
    """Those of the moments at which other terms have weight than before."""
    found: dict[frozenset[str], Moment] = {}
    for moment in moments(objective):
        terms = frozenset(name for name, weight in objective.weights(moment).items() if weight)
        found.setdefault(terms, moment)
    return list(found.values())


@dataclass(kw_only=True)
class Scene:
    """A method with its networks, at one moment of a trial; equal seeds give equal bits."""

    objective: Objective
    moment: Moment
    student: nn.Module
    teacher: nn.Module | None
    companion: nn.Module | None
    seed: int

    def weights(self) -> dict[str, float]:
        """Of the terms that a loop would ask for."""
        weights = self.objective.weights(self.moment)
        return {name: weight for name, weight in weights.items() if weight != 0}

    def step(self, number: int = 0) -> Step:
        """One step; the teacher's outputs could take gradients, so that a test can see whether."""
        draws = partial(generator, self.seed, "step", number)
        images = torch.rand(COUNT, CHANNELS, SIZE, SIZE, generator=draws("images"))
        index = torch.randperm(IMAGES, generator=draws("index"))[:COUNT]
        taps = self.objective.traits.taps
        seen = None
        labels = make_pair(self).labels[index]
        if self.teacher is not None:
            seen = _leaves(models.run(self.teacher, images, taps))
            # The teacher is right about every other image, the student about some of them.
            labels = torch.where(index % 2 == 0, seen.logits.argmax(dim=1), labels)
        return Step(
            batch=Batch(index=index, images=images, labels=labels),
            student=_run(self.student, images, taps),
            teacher=seen,
            companion=self.companion,
            run_student=self._run_student,
            run_teacher=None if self.teacher is None else partial(_run, self.teacher, taps=()),
            draws=draws,
        )

    def _run_student(self, images: Tensor, *, moving: bool = True) -> Outputs:
        assert moving, "the scene has no batch norm that stands still"
        return _run(self.student, images, ())

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The raw terms that have weight."""
        return {name: self.objective.term(name, step) for name in self.weights()}


def make_scene(name: str, moment: Moment | None = None, seed: int = 0, **fields: object) -> Scene:
    """The method called ``name`` with tiny networks, in its first epoch or at ``moment``."""
    objective = OBJECTIVES.get(name)(**fields)
    with global_stream(seed, "assemble"):
        student = objective.assemble(lambda n: build(STUDENT, seed + n), models.split_after)
    scene = Scene(
        objective=objective,
        moment=moments(objective)[0] if moment is None else moment,
        student=student.train(),
        teacher=build(TEACHER, seed + 100).eval() if objective.traits.teacher else None,
        companion=None,
        seed=seed,
    )
    pair = make_pair(scene)
    objective.check(pair)
    with global_stream(seed, "companion"):
        scene.companion = objective.companion(scene.moment, pair)
    return scene


def make_pair(scene: Scene) -> Pair:
    """What the method may know of a scene's networks and data."""
    return Pair(
        student=_features(scene.student, scene.objective),
        teacher={} if scene.teacher is None else _features(scene.teacher, scene.objective),
        labels=torch.arange(IMAGES) % CLASSES,
        classes=CLASSES,
        mean=(0.5, 0.4, 0.3),
        std=(0.25, 0.2, 0.3),
    )


def matched(step: Step) -> Step:
    """The same step with a teacher, or team-mates, that say what the student says."""
    student = step.student
    if student.members:
        return replace(step, student=replace(student, members=(student.logits,) * 3))
    return replace(step, teacher=_leaves(student))


def part(step: Step, rows: slice) -> Step:
    """The same step as if it had those samples alone, with what the networks said of them."""

    def of(outputs: Outputs) -> Outputs:
        return Outputs(
            logits=outputs.logits[rows],
            taps={name: tap[rows] for name, tap in outputs.taps.items()},
            members=tuple(member[rows] for member in outputs.members),
        )

    teacher = None if step.teacher is None else of(step.teacher)
    return replace(step, batch=step.batch.rows(rows), student=of(step.student), teacher=teacher)


def _features(model: nn.Module, objective: Objective) -> dict[str, Feature]:
    taps = objective.traits.taps
    if not taps:
        return {}
    shapes = models.tap_shapes(model, taps, channels=CHANNELS, size=SIZE)
    norms = {tap: models.norm_of(model, tap) for tap in taps}
    affine = {tap: None if n is None else (n.weight, n.bias) for tap, n in norms.items()}
    return {tap: replace(found, norm=affine[tap]) for tap, found in shapes.items()}


def _run(network: nn.Module, images: Tensor, taps: tuple[str, ...]) -> Outputs:
    if isinstance(network, Team):
        outputs: Outputs = network(images)
        return outputs
    return models.run(network, images, taps)


def _leaves(outputs: Outputs) -> Outputs:
    return Outputs(
        logits=outputs.logits.detach().requires_grad_(),
        taps={name: tap.detach().requires_grad_() for name, tap in outputs.taps.items()},
    )
