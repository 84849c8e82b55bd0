"""One training epoch, for any objective."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kdtune.contracts import Batch, Outputs
from kdtune.models import run
from kdtune.objectives import Objective
from kdtune.views import ViewStream


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """Sample means over an epoch: the weighted loss and each raw term that was computed."""

    loss: float
    terms: Mapping[str, float]
    images: int


def train_epoch(
    *,
    student: nn.Module,
    teacher: nn.Module | None,
    objective: Objective,
    optimizer: Optimizer,
    stream: ViewStream,
    epoch: int,
    learning_rate: Callable[[float], float],
) -> EpochResult:
    """Train ``student`` for one epoch of ``stream``.

    Args:
        student: Put in train mode at the top.
        teacher: Frozen, in eval mode; run only while a term that needs it has weight.
        objective: Names the terms, their weights in this epoch, and the taps.
        optimizer: Its learning rate is set before each step.
        stream: The views; the same in every trial of a search.
        epoch: From 0.
        learning_rate: Rate at a fractional epoch.
    """
    student.train()
    weights = {name: w for name, w in objective.weights(epoch).items() if w != 0}
    guided = teacher is not None and any(name != "ce" for name in weights)
    taps = objective.traits.taps if guided else ()
    sums: dict[str, Tensor] = {}
    images = 0
    for step, batch in enumerate(stream.epoch(epoch)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(epoch + step / stream.steps_per_epoch)
        seen = _look(teacher, batch, taps) if guided else None
        outputs = run(student, batch.images, taps)
        terms = {name: objective.term(name, batch, outputs, seen) for name in weights}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        size = len(batch.labels)
        images += size
        for name, value in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() * size
    means = {name: value.item() / images for name, value in sums.items()}
    return EpochResult(loss=means.pop("loss"), terms=means, images=images)


def _look(teacher: nn.Module | None, batch: Batch, taps: tuple[str, ...]) -> Outputs:
    assert teacher is not None
    with torch.no_grad():
        return run(teacher, batch.images, taps)
