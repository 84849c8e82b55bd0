"""Distillation as public code writes it: what kdtune is measured against.

PIL images in a ``Dataset``, torchvision's transforms image by image in a ``DataLoader``, teacher
and student in eager float32 in every step, the loss read with ``.item()`` in every step,
validation through a second ``DataLoader`` after every epoch. It is meant to be plain, not slow: no
work is done twice, the teacher runs without gradients, images lie in memory as torchvision's own
CIFAR datasets keep them, validation takes large batches. It uses nothing of kdtune;
``tests/benchmarks/test_plain_loop.py`` proves that a step of it is a step of kdtune.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from torch.utils.data import DataLoader
from torchvision import transforms

EVAL_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The hyperparameters of a run; the defaults are kdtune's."""

    epochs: int
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    temperature: float = 4.0
    alpha: float = 0.9
    workers: int = 0
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Images in memory, as torchvision's CIFAR datasets have them.

    Attributes:
        train: ``(n, H, W, C)`` uint8.
        train_labels: ``(n,)`` int64.
        val, val_labels: The same of validation.
        mean, std: Per channel, in 0..1.
    """

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    val: NDArray[np.uint8]
    val_labels: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Pictures(torch.utils.data.Dataset[tuple[Any, int]]):
    """Images one by one as PIL images, transformed when they are asked for."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        transform: Callable[[Image.Image], Any],
    ) -> None:
        self.images = images
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def loaders(
    arrays: Arrays, settings: Settings
) -> tuple[DataLoader[tuple[Any, int]], DataLoader[tuple[Any, int]]]:
    """The training images, shuffled and augmented anew each epoch, and the validation images."""
    size = arrays.train.shape[1]
    normalised = [transforms.ToTensor(), transforms.Normalize(arrays.mean, arrays.std)]
    augmented = [transforms.RandomCrop(size, padding=size // 8), transforms.RandomHorizontalFlip()]
    train = Pictures(
        arrays.train, arrays.train_labels, transforms.Compose([*augmented, *normalised])
    )
    val = Pictures(arrays.val, arrays.val_labels, transforms.Compose(normalised))
    common: dict[str, Any] = {
        "num_workers": settings.workers,
        "persistent_workers": settings.workers > 0,
        "pin_memory": settings.device == "cuda",
    }
    return (
        DataLoader(train, batch_size=settings.batch_size, shuffle=True, **common),
        DataLoader(val, batch_size=EVAL_BATCH, shuffle=False, **common),
    )


def new_optimizer(student: nn.Module, settings: Settings) -> SGD:
    """SGD with momentum over all parameters."""
    return SGD(
        student.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


def new_schedule(optimizer: Optimizer, settings: Settings, steps_per_epoch: int) -> LRScheduler:
    """The cosine from the full rate to zero, stepped after every batch."""
    return CosineAnnealingLR(optimizer, T_max=settings.epochs * steps_per_epoch)


def distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, settings: Settings
) -> Tensor:
    """``(1 - alpha) * CE + alpha * T^2 * KL``."""
    temperature, alpha = settings.temperature, settings.alpha
    divergence = functional.kl_div(
        functional.log_softmax(student_logits / temperature, dim=1),
        functional.softmax(teacher_logits / temperature, dim=1),
        reduction="batchmean",
    )
    labelled = functional.cross_entropy(student_logits, labels)
    return (1 - alpha) * labelled + alpha * temperature**2 * divergence


def train_step(
    student: nn.Module,
    teacher: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
) -> tuple[Tensor, Tensor]:
    """One step; returns the loss and the student's logits."""
    with torch.no_grad():
        teacher_logits = teacher(images)
    student_logits = student(images)
    loss = distillation_loss(student_logits, teacher_logits, labels, settings)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss, student_logits


def train_epoch(
    student: nn.Module,
    teacher: nn.Module,
    loader: DataLoader[tuple[Any, int]],
    optimizer: Optimizer,
    schedule: LRScheduler,
    settings: Settings,
) -> dict[str, float]:
    """One epoch; returns the mean loss and the accuracy on the training images as they passed."""
    student.train()
    teacher.eval()
    loss_sum, hits, seen = 0.0, 0, 0
    for images, labels in loader:
        images = images.to(settings.device, non_blocking=True)
        labels = labels.to(settings.device, non_blocking=True)
        loss, logits = train_step(student, teacher, optimizer, images, labels, settings)
        schedule.step()
        loss_sum += loss.item() * len(labels)
        hits += int((logits.argmax(dim=1) == labels).sum().item())
        seen += len(labels)
    return {"train/loss": loss_sum / seen, "train/accuracy": hits / seen}


@torch.no_grad()
def evaluate(
    student: nn.Module, loader: DataLoader[tuple[Any, int]], settings: Settings
) -> dict[str, float]:
    """Accuracy and mean cross entropy on the validation images."""
    student.eval()
    loss_sum, hits, seen = 0.0, 0, 0
    for images, labels in loader:
        images, labels = images.to(settings.device), labels.to(settings.device)
        logits = student(images)
        loss_sum += functional.cross_entropy(logits, labels, reduction="sum").item()
        hits += int((logits.argmax(dim=1) == labels).sum().item())
        seen += len(labels)
    return {"val/loss": loss_sum / seen, "val/accuracy": hits / seen}


class Distillation:
    """A run of the loop, epoch by epoch."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module, arrays: Arrays, settings: Settings
    ) -> None:
        self.settings = settings
        self.student = student.to(settings.device)
        self.teacher = teacher.to(settings.device).eval().requires_grad_(False)
        self.train_loader, self.val_loader = loaders(arrays, settings)
        self.optimizer = new_optimizer(self.student, settings)
        self.schedule = new_schedule(self.optimizer, settings, len(self.train_loader))

    def train(self) -> dict[str, float]:
        """Train an epoch."""
        return train_epoch(
            self.student,
            self.teacher,
            self.train_loader,
            self.optimizer,
            self.schedule,
            self.settings,
        )

    def evaluate(self) -> dict[str, float]:
        """Score the student."""
        return evaluate(self.student, self.val_loader, self.settings)
