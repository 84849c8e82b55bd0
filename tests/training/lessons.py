"""One lesson on made-up images: networks of a few weights, and a record of what they were shown."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from kdtune.config import TrainSettings
from kdtune.contracts import Moment, Step, Traits
from kdtune.data import Dataset, ImageSplit
from kdtune.models import Tap, declare_taps
from kdtune.objectives import Objective
from kdtune.seeds import generator, global_stream
from kdtune.training.epoch import Lesson
from kdtune.training.plan import Phase
from kdtune.views import AUGMENTS, ViewStream

CLASSES, SIZE = 3, 6


def dataset(count: int) -> Dataset:
    """``count`` random grey images, the same for training, validation and test."""
    draws = generator(0, "pixels")
    images = torch.randint(256, (count, 1, SIZE, SIZE), dtype=torch.uint8, generator=draws)
    split = ImageSplit(images, torch.arange(count) % CLASSES, torch.arange(count))
    return Dataset(
        name="made up",
        train=split,
        val=split,
        test=split,
        classes=CLASSES,
        class_names=("a", "b", "c"),
        mean=(0.5,),
        std=(0.25,),
        flip=True,
        fingerprint="0" * 16,
    )


def network(seed: int) -> nn.Module:
    """A convolution, batch norm and a classifier; its tap ``block1`` is the normalised map."""
    with global_stream(seed, "made up"):
        model = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(1, 4, 3),
                norm=nn.BatchNorm2d(4),
                relu=nn.ReLU(),
                flat=nn.Flatten(),
                head=nn.Linear(4 * (SIZE - 2) ** 2, CLASSES),
            )
        )
    return declare_taps(model, {"block1": Tap(path="norm", activation="pre", signed=True)})


@dataclass
class Shown:
    """The images that a network was shown, call by call, and whether it was in train mode."""

    images: list[Tensor] = field(default_factory=list)
    training: list[bool] = field(default_factory=list)

    @classmethod
    def to(cls, model: nn.Module) -> "Shown":
        """Start to write down what ``model`` is shown."""
        shown = cls()

        def note(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
            shown.images.append(args[0])
            shown.training.append(module.training)

        model.register_forward_hook(note)
        return shown

    def __len__(self) -> int:
        return len(self.images)


class TapMean(Objective):
    """A toy: squared difference of the means of a tap; the teacher's batch norm on demand."""

    teacher_bn: str = "eval"
    taught: bool = True

    @property
    def traits(self) -> Traits:
        return Traits(teacher=self.taught, taps=("block1",), teacher_bn=self.teacher_bn)  # type: ignore[arg-type]

    def weights(self, moment: Moment) -> Mapping[str, float]:
        return {"ce": 1.0, "mean": 1.0}

    def term(self, name: str, step: Step) -> Tensor:
        if name == "ce":
            return nn.functional.cross_entropy(step.student.logits, step.batch.labels)
        goal = 0.0 if step.teacher is None else step.teacher.taps["block1"].mean()
        return (step.student.taps["block1"].mean() - goal) ** 2


def lesson(
    objective: Objective,
    *,
    student: nn.Module,
    teacher: nn.Module | None = None,
    augment: str = "none",
    options: Mapping[str, Any] | None = None,
    plain_too: bool = False,
    count: int = 8,
    batch_size: int = 8,
    companion: nn.Module | None = None,
    **train: Any,
) -> Lesson:
    """What one phase of two epochs trains with; by default all images are one batch."""
    settings = TrainSettings(epochs=2, batch_size=batch_size, **{"lr": 0.1, **train})
    extra = [] if companion is None else list(companion.parameters())
    guide = "nobody" if teacher is None else "teacher"
    return Lesson(
        phase=Phase(
            name="train", start=0, stop=2, objective=objective, guide=guide, train=settings
        ),
        student=student,
        teacher=None if teacher is None else teacher.eval().requires_grad_(False),
        companion=companion,
        optimizer=SGD([*student.parameters(), *extra], lr=settings.lr),
        stream=ViewStream(
            dataset(count),
            policy=AUGMENTS.get(augment)(**(options or {})),
            batch_size=batch_size,
            seed=3,
            plain_too=plain_too,
        ),
        seed=5,
    )


def buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a network's buffers."""
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two sets of tensors are the same bits."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
