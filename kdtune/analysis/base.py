"""What an analysis of finished runs is."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kdtune.config import TrialConfig
from kdtune.contracts import Scalar
from kdtune.data import Dataset
from kdtune.registry import Registry
from kdtune.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.generic]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One finished run, loaded. Its networks are in eval mode, frozen, and on ``device``.

    Attributes:
        label: What tables and figures call it, ``finalist 1, seed 3``; unique among those that
            are analysed together.
        config: What was run.
        student: The network that was delivered.
        teacher: None for a run without one.
        dataset: Split, subset and corrupted as the run saw it.
        device: Where networks and batches are.
        history: What the run logged: metric -> (epoch, value) by epoch.
        at_epoch: The student as it was after so many epochs, trained again bit for bit, which
            takes as long as it took; in eval mode, frozen. Raises ValueError for an epoch that
            the run did not have.
    """

    label: str
    config: TrialConfig
    student: nn.Module
    teacher: nn.Module | None
    dataset: Dataset
    device: torch.device
    history: Mapping[str, Sequence[tuple[int, float]]]
    at_epoch: Callable[[int], nn.Module]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What one subject gave: all that tables and figures are made of, and all that is cached.

    Attributes:
        numbers: Finite; each becomes the metric ``analysis/<analysis>/<name>`` of the run.
            Shares are in [0, 1], other units are said by the analysis.
        arrays: Whatever else :meth:`Analysis.present` needs: numbers, truth values or texts.
    """

    numbers: Mapping[str, float]
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """A subject that was measured.

    Attributes:
        label: Of the subject.
        config: Of the subject.
        measured: What it gave.
    """

    label: str
    config: TrialConfig
    measured: Measured


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of results.

    Attributes:
        title: What it shows, as a sentence, with the unit.
        columns: Heads, with units where they differ from the title's.
        rows: As many values each; numbers in full, whoever prints them rounds.
        notes: Sentences below it: n, split, seed, mode, whatever the numbers depend on.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Scalar]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Presented:
    """What a person sees of an analysis.

    Attributes:
        tables: The first is the main one.
        figures: By file name without suffix, in snake case.
        numbers: Label of a subject -> further metrics of it, which come of comparing subjects.
    """

    tables: Sequence[Table]
    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Analysis(Settings):
    """An analysis; the fields of a subclass are its options, scalars with defaults.

    ``measure`` is the work, on one subject; its result is kept under a hash of the options, of
    ``version`` and of everything that fixes the subject, and never computed again. ``present``
    sets the results of all subjects side by side and is quick.
    """

    summary: ClassVar[str]
    """One line for the list of analyses."""
    source: ClassVar[str]
    """Where it is from: ``cho2019 T2, T3``."""
    version: ClassVar[int] = 1
    """Raised when the same options give other numbers, which makes kept results void."""
    needs_teacher: ClassVar[bool] = False
    """Whether a run without a teacher is refused."""
    with_peers: ClassVar[bool] = False
    """Whether measuring a subject takes the others that are analysed with it."""

    @abstractmethod
    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        """The numbers of one subject; the same bits for the same subject and options.

        Args:
            subject: The run.
            peers: The other subjects, in the order asked for, where ``with_peers``; else none.

        Raises:
            ValueError: If the analysis does not apply to the run, or an option does not fit it.
        """

    @abstractmethod
    def present(self, items: Sequence[Item]) -> Presented:
        """Tables and figures of one or more subjects, in the order asked for.

        Raises:
            ValueError: If these subjects cannot be set side by side.
        """


ANALYSES: Registry[type[Analysis]] = Registry("analysis")
