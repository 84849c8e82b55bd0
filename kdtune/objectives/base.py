"""What a distillation method is."""

from abc import abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from kdtune.contracts import Moment, Outputs, Pair, Signal, Step, Traits, Warmup
from kdtune.registry import Registry
from kdtune.settings import Settings

SplitAfter = Callable[[nn.Module, str], tuple[nn.Module, nn.Module]]
"""Cuts a network behind a block (``"block2"``) into two that share its layers."""


class Team(nn.Module):
    """Several networks that are trained together; one of them is delivered."""

    @abstractmethod
    def forward(self, images: Tensor) -> Outputs:
        """Outputs with the logits of all ``members``, for ``(B, C, H, W)`` images."""

    @abstractmethod
    def candidates(self) -> list[nn.Module]:
        """The networks that may be delivered, made of the same layers as the team.

        Each has the structure and the keys of a plain student, so that its weights are a student's.
        """


class Objective(Settings):
    """A sum of named terms; the fields of a subclass are what a search may tune.

    A term is raw: its weight is applied, and its value logged, by the training loop alone. A term
    whose weight is 0 is never asked for. ``"ce"`` is the cross entropy on the labels; every other
    term counts as distillation.
    """

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What the method needs of the loop."""

    @abstractmethod
    def weights(self, moment: Moment) -> Mapping[str, float]:
        """The weight of each term in one epoch; finite and >= 0.

        Raises:
            ValueError: If the method does not go with the schedule, e.g. one without drops.
        """

    @abstractmethod
    def term(self, name: str, step: Step) -> Tensor:
        """The raw value of one term, a scalar."""

    def signals(self, pair: Pair) -> tuple[Signal, ...]:
        """What the terms read of the teacher besides its logits, where that is small.

        A method that names any reads nothing else of the teacher's taps: ``step.teacher`` has none.
        Without any it reads the taps themselves, which no trial shares with another.
        """
        return ()

    def notes(self, step: Step) -> Mapping[str, Tensor]:
        """What else is worth logging of a step, scalars without gradients; by default nothing."""
        return {}

    def warmup(self, epochs: int) -> Warmup | None:
        """What is trained before a schedule of ``epochs`` epochs; by default nothing."""
        return None

    def check(self, pair: Pair) -> None:
        """Refuse networks that the method cannot serve.

        Raises:
            ValueError: With the reason.
        """

    def companion(self, moment: Moment, pair: Pair) -> nn.Module | None:
        """What is trained beside the student and never delivered: regressors, embeddings, banks.

        Called at the start of each phase, under a seeded global generator, on the CPU; ``check``
        has passed. Its parameters join the optimiser, its buffers the checkpoint.
        """
        return None

    def assemble(
        self, new_student: Callable[[int], nn.Module], split_after: SplitAfter
    ) -> nn.Module:
        """The network to train: the student, or a :class:`Team` of them.

        Args:
            new_student: Builds the student with the weights of its n-th seed, from 0.
            split_after: See :data:`SplitAfter`.

        Raises:
            ValueError: If the student cannot be assembled as the method needs it.
        """
        return new_student(0)


OBJECTIVES: Registry[type[Objective]] = Registry("method")
