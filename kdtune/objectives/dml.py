"""Deep mutual learning (Zhang et al., 2018, arXiv:1706.00384): networks that teach each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from kdtune.contracts import Moment, Outputs, Step, Traits
from kdtune.objectives.base import OBJECTIVES, Objective, SplitAfter, Team
from kdtune.objectives.cross_entropy import cross_entropy
from kdtune.objectives.soft_labels import soft_label_kl


def mutual_loss(logits: Tensor, peers: Sequence[Tensor], temperature: float) -> Tensor:
    """Mean over the peers of ``T^2 KL(peer || network)``, what one network learns from the others.

    The original code sums over the peers, at ``T = 1``.

    Args:
        logits: ``(B, C)`` of the network.
        peers: ``(B, C)`` each, one at least; they receive no gradient.
        temperature: Dimensionless, > 0.

    Returns:
        Scalar in nats, >= 0, zero iff all softened distributions agree.

    Raises:
        ValueError: If there is no peer, ``temperature <= 0`` or the shapes differ.
    """
    if not peers:
        raise ValueError("mutual learning needs at least one peer, got none")
    return torch.stack([soft_label_kl(logits, peer, temperature) for peer in peers]).mean()


class Cohort(Team):
    """Networks side by side; together they predict the mean of their logits.

    Args:
        members: The networks, with weights of their own.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Outputs:
        """See :meth:`Team.forward`; every member sees the images once."""
        members = tuple(net(images) for net in self.nets)
        return Outputs(logits=torch.stack(members).mean(dim=0), members=members)

    def candidates(self) -> list[nn.Module]:
        """The members."""
        return list(self.nets)


@OBJECTIVES.register("dml")
class MutualLearning(Objective):
    """Per network, ``CE + beta * mutual loss``; no teacher.

    Both terms are sums over the networks, which share no parameters: one SGD on the sum moves each
    network as an optimiser of its own would, all at the same time.
    """

    temperature: Annotated[float, Field(gt=0)] = 4.0
    beta: Annotated[float, Field(ge=0)] = 1.0
    members: Annotated[int, Field(ge=2, le=64)] = 2

    @property
    def traits(self) -> Traits:
        return Traits(teacher=False, zero_at_match=True, team=True, sample_mean=True)

    def weights(self, moment: Moment) -> Mapping[str, float]:
        return {"ce": 1.0, "dml": self.beta}

    def term(self, name: str, step: Step) -> Tensor:
        nets = step.student.members
        if name == "ce":
            losses = [cross_entropy(logits, step.batch) for logits in nets]
        else:
            losses = [
                mutual_loss(logits, nets[:i] + nets[i + 1 :], self.temperature)
                for i, logits in enumerate(nets)
            ]
        return torch.stack(losses).sum()

    def assemble(self, new_student: Callable[[int], nn.Module], split_after: SplitAfter) -> Cohort:
        return Cohort([new_student(n) for n in range(self.members)])
