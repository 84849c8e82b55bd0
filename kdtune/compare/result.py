"""What a comparison compares: one configuration on one dataset, printed or measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdtune.contracts import Scalar

TEACHER, QUOTED = "teacher", "quoted"
"""Roles of results that are no contestants."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Mean and spread of one metric under one configuration.

    Attributes:
        source: ``measured`` or ``reported``.
        settings: Canonical flat keys and typed values; what is not known is not there. ``dataset``
            is the short name (``cifar10``), ``seed`` is never among them.
        metric: Canonical name, such as ``test/accuracy``.
        mean: Of the values; a share in [0, 1] for accuracies.
        std: Sample standard deviation (n - 1); None where it is not known, or n is 1.
        n: Number of runs; None where the paper does not say.
        higher_is_better: Of the metric; None where neither applies.
        values: By seed; empty for printed figures.
        paper, table: Where it was printed; of a measured one the paper whose protocol it follows.
        label: What a person calls it: the row as printed, or the arm of the search.
        role: ``teacher`` for a teacher's own accuracy; ``quoted`` for what a paper prints of
            another's figures; else empty.
        selection: How the figure was chosen: ``validation`` (the recipe, on a split of train),
            ``test`` (best on test), ``last epoch``; empty if the paper is silent.
        note: What is damaged or ambiguous.
        validation: Mean of the runs' last validation accuracy, by which one of several
            configurations may be chosen; None where it is not known, or was trained on.
        outcomes: How the runs ended, by number: ``finished``, ``diverged`` (counted: it was tested
            as it was), ``failed`` (not counted: it has no value) ...
        run_ids: MLflow's ids of the runs behind it.
    """

    source: str
    settings: Mapping[str, Scalar]
    metric: str
    mean: float
    std: float | None = None
    n: int | None = None
    higher_is_better: bool | None = True
    values: Mapping[int, float] = field(default_factory=dict)
    paper: str = ""
    table: str = ""
    label: str = ""
    role: str = ""
    selection: str = ""
    note: str = ""
    validation: float | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    run_ids: tuple[str, ...] = ()
