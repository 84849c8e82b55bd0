"""A whole comparison: what was measured, what was printed, and what the two say together."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdtune.compare.agreement import Agreement, agreements
from kdtune.compare.beside import Beside, besides, unplaced
from kdtune.compare.comparable import COLUMN_KEYS
from kdtune.compare.paired import PairedTest, paired_tests
from kdtune.compare.pivot import Pivot, check_keys, default_keys, pivot
from kdtune.compare.result import Result
from kdtune.registry import nearest

SCRATCH = "scratch"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What ``kdtune compare`` shows.

    Attributes:
        metric: Of all results.
        against: Value of the rows' first key that the tests compare with; empty for no tests.
        measured, printed: Laid out alike.
        beside: Printed figures beside measured cells.
        unplaced: How many figures fit several rows, and so stand beside none.
        tests: Of every measured row against the reference of its column.
        agreements: Of the papers' orders with the measured ones.
    """

    metric: str
    against: str
    measured: Pivot
    printed: Pivot
    beside: tuple[Beside, ...]
    unplaced: int
    tests: tuple[PairedTest, ...]
    agreements: tuple[Agreement, ...]

    @property
    def by(self) -> tuple[str, ...]:
        """The keys that make the rows."""
        return self.measured.by


def compare(
    results: Sequence[Result],
    *,
    by: Sequence[str] = (),
    against: str | None = None,
    split: bool = False,
) -> Comparison:
    """Set results beside each other, each where it can be compared.

    Args:
        results: Measured and printed, of one metric.
        by: Keys whose values make the rows. By default the method, of the augmentation and pruning
            what differs, and with nothing measured all that keeps printed figures apart.
        against: What to test against: a value of the first key. By default ``scratch``, training
            without a teacher, if methods make the rows.
        split: By default, also tell apart what the printed figures do where something is measured.

    Raises:
        ValueError: If results are of several metrics, a key of ``by`` is unknown, or nothing
            measured has the value ``against``.
    """
    metrics = {result.metric for result in results}
    if len(metrics) != 1:
        raise ValueError(f"a comparison is of one metric, got {sorted(metrics) or 'no results'}")
    measured = [result for result in results if result.source == "measured"]
    printed = [result for result in results if result.source == "reported"]
    check_keys(by, results)
    keys = tuple(by) or _default(measured, printed, split=split)
    ours, theirs = pivot(measured, by=keys), pivot(printed, by=keys)
    reference = _reference(against, ours)
    pairs = besides(ours, theirs)
    return Comparison(
        metric=metrics.pop(),
        against=reference,
        measured=ours,
        printed=theirs,
        beside=pairs,
        unplaced=unplaced(ours, theirs),
        tests=paired_tests(ours, against=reference) if reference else (),
        agreements=agreements(pairs),
    )


def of_tasks(printed: Sequence[Result], measured: Sequence[Result]) -> list[Result]:
    """The printed figures of datasets and students that something measured is about."""
    tasks = {_task(result) for result in measured}
    return [result for result in printed if _task(result) in tasks]


def _task(result: Result) -> tuple[object, ...]:
    return tuple(result.settings.get(key) for key in COLUMN_KEYS if key != "teacher")


def _default(
    measured: Sequence[Result], printed: Sequence[Result], *, split: bool
) -> tuple[str, ...]:
    if not measured:
        return default_keys(printed, split=True)
    own = default_keys(measured, split=False)
    theirs = default_keys(of_tasks(printed, measured), split=True) if split else ()
    return tuple(dict.fromkeys([*own, *theirs]))


def _reference(against: str | None, ours: Pivot) -> str:
    known = {str(row[0]) for row in ours.rows}
    if against is None:
        return SCRATCH if ours.by[0] == "method" and SCRATCH in known else ""
    if against not in known:
        raise ValueError(f"nothing measured has {ours.by[0]} '{against}'{nearest(against, known)}")
    return against
