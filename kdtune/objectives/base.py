"""What a distillation method is."""

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor

from kdtune.contracts import Batch, Outputs, Traits
from kdtune.registry import Registry
from kdtune.settings import Settings


class Objective(Settings):
    """A sum of named terms; the fields of a subclass are what a search may tune.

    A term is raw: its weight is applied, and its value logged, by the training loop alone. A term
    whose weight is 0 is never asked for.
    """

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What the method needs of the loop."""

    @abstractmethod
    def weights(self, epoch: int) -> Mapping[str, float]:
        """The weight of each term in ``epoch`` (from 0)."""

    @abstractmethod
    def term(self, name: str, batch: Batch, student: Outputs, teacher: Outputs | None) -> Tensor:
        """The raw value of one term, a scalar; ``teacher`` is None where ``traits`` has none."""


OBJECTIVES: Registry[type[Objective]] = Registry("method")
