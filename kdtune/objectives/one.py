"""On-the-fly native ensemble (Lan, Zhu and Gong, 2018, arXiv:1806.04606).

Branches on one trunk, each taught by their own gated ensemble; one of them is delivered.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from kdtune.contracts import Moment, Outputs, Step, Traits
from kdtune.objectives.base import OBJECTIVES, Objective, SplitAfter, Team
from kdtune.objectives.cross_entropy import cross_entropy
from kdtune.objectives.soft_labels import soft_label_kl

SHARED_TAP = "block2"
"""The trunk ends here."""

RAMP_SHARE = 80 / 300
"""Of all epochs: the ramp of the paper's own schedule."""


def gated_ensemble(branches: Sequence[Tensor], gate: Tensor) -> Tensor:
    """Sum of the branches' logits, weighted per sample.

    Args:
        branches: ``(B, C)`` logits each.
        gate: ``(B, branches)``, rows of sum 1.

    Returns:
        ``(B, C)``.

    Raises:
        ValueError: If the gate has not one weight per sample and branch.
    """
    if gate.shape != (len(branches[0]), len(branches)):
        raise ValueError(
            f"the gate of {len(branches)} branches must be (B, {len(branches)}), "
            f"got {tuple(gate.shape)}"
        )
    return (torch.stack(tuple(branches), dim=1) * gate[:, :, None]).sum(dim=1)


def ensemble_loss(branches: Sequence[Tensor], ensemble: Tensor, temperature: float) -> Tensor:
    """Sum over the branches of ``T^2 KL(ensemble || branch)``.

    Args:
        branches: ``(B, C)`` logits each.
        ensemble: ``(B, C)`` logits; they receive no gradient, so the gate learns nothing here.
        temperature: Dimensionless, > 0.

    Returns:
        Scalar in nats, >= 0.

    Raises:
        ValueError: If ``temperature <= 0`` or the shapes differ.
    """
    return torch.stack([soft_label_kl(b, ensemble, temperature) for b in branches]).sum()


def ramp(epoch: int, length: int) -> float:
    """Weight of the ensemble's advice: ``exp(-5 (1 - e / length)^2)``, from 0.007 up to 1.

    Args:
        epoch: From 0.
        length: Epochs until the weight is 1, >= 1.
    """
    return math.exp(-5 * (1 - min(epoch, length) / length) ** 2)


class Branches(Team):
    """A trunk, the branches that continue it, and a gate that weighs them for each image.

    Args:
        trunk: From images to maps ``(B, width, H, W)``, a sequence of named layers.
        tails: From there to ``(B, C)`` logits, likewise.
        width: Channels behind the trunk.
    """

    def __init__(self, trunk: nn.Module, tails: Sequence[nn.Module], width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.tails = nn.ModuleList(tails)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, len(tails)),
            nn.BatchNorm1d(len(tails)),
            nn.ReLU(),
            nn.Softmax(dim=1),
        )

    def forward(self, images: Tensor) -> Outputs:
        """See :meth:`Team.forward`; ``logits`` are the gated ensemble's."""
        shared = self.trunk(images)
        members = tuple(tail(shared) for tail in self.tails)
        return Outputs(logits=gated_ensemble(members, self.gate(shared)), members=members)

    def candidates(self) -> list[nn.Module]:
        """The trunk with each branch, under the names of a plain student; no gate."""
        trunk = OrderedDict(self.trunk.named_children())
        return [nn.Sequential(trunk | OrderedDict(t.named_children())) for t in self.tails]


@OBJECTIVES.register("one")
class NativeEnsemble(Objective):
    """``CE of every branch + CE of the ensemble + beta * ramp * ensemble loss``; no teacher.

    The branches share everything up to block 2. The cross entropy of the ensemble alone trains the
    gate. By default the ramp takes 80 of 300 epochs, or the same share of another schedule.
    """

    temperature: Annotated[float, Field(gt=0)] = 3.0
    beta: Annotated[float, Field(ge=0)] = 1.0
    branches: Annotated[int, Field(ge=2, le=64)] = 3
    ramp_epochs: Annotated[int, Field(ge=1)] | None = None

    @property
    def traits(self) -> Traits:
        return Traits(teacher=False, zero_at_match=True, team=True, sample_mean=True)

    def weights(self, moment: Moment) -> Mapping[str, float]:
        length = self.ramp_epochs or max(1, round(RAMP_SHARE * moment.epochs))
        return {"ce": 1.0, "one": self.beta * ramp(moment.epoch, length)}

    def term(self, name: str, step: Step) -> Tensor:
        members, ensemble = step.student.members, step.student.logits
        if name == "ce":
            losses = [cross_entropy(logits, step.batch) for logits in (*members, ensemble)]
            return torch.stack(losses).sum()
        return ensemble_loss(members, ensemble, self.temperature)

    def assemble(
        self, new_student: Callable[[int], nn.Module], split_after: SplitAfter
    ) -> Branches:
        parts = [split_after(new_student(n), SHARED_TAP) for n in range(self.branches)]
        trunk = parts[0][0]
        return Branches(trunk, [tail for _, tail in parts], _width(trunk))


def _width(trunk: nn.Module) -> int:
    """Channels behind the trunk, from a blank image that a copy looks at."""
    conv = next(module for module in trunk.modules() if isinstance(module, nn.Conv2d))
    image = torch.zeros(1, conv.in_channels, 32, 32, device=conv.weight.device)
    with torch.no_grad():
        return int(deepcopy(trunk).eval()(image).shape[1])
