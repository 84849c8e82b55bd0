"""One figure that a paper printed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not at run time: listing what was printed should not wait for torch.
    from kdtune.contracts import Scalar


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number of a results table, with all that the paper says of it.

    Attributes:
        paper: Key, such as ``cho2019``.
        table: ``T3`` is table 3, ``TB.1`` one of an appendix, ``F1`` a figure.
        row_label: The row as printed, for people.
        dataset: ``cifar10``, ``imagenet`` ...
        teacher: Network as the papers write it, such as ``WRN-40-2``; empty for none.
        student: The same; of a row on a teacher's own accuracy, that teacher.
        method: As in the paper's table: ``scratch``, ``kd``, ``full_kd``, ``eskd_at`` ...
        condition: What else it depends on, as collected: ``temperature=4;alpha=0.9``.
        conditions: The same, typed. A number that is lost but for its bounds stays a text:
            ``unstated_between_1_and_2``, ``above_0.1``, ``all_5``.
        metric: As in the table: ``test_accuracy``, ``top1_error`` ..., percentages in percent.
        value: The number.
        printed: The number as printed, trailing zeros kept.
        std: Its standard deviation, where one is printed.
        printed_std: The deviation as printed; empty where there is none.
        n_runs: How many runs are behind it, where the paper says so.
        higher_is_better: None where neither applies.
        note: What is damaged, ambiguous or inferred; empty if nothing is.
    """

    paper: str
    table: str
    row_label: str
    dataset: str
    teacher: str
    student: str
    method: str
    condition: str = ""
    conditions: Mapping[str, "Scalar"] = field(default_factory=dict)
    metric: str
    value: float
    printed: str
    std: float | None = None
    printed_std: str = ""
    n_runs: int | None = None
    higher_is_better: bool | None = None
    note: str = ""
