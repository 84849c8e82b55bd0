"""Whether a method beats a reference: paired t-tests over the seeds that both were run with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import false_discovery_control, ttest_rel

from kdtune.compare.pivot import Cell, Column, Pivot, Row
from kdtune.compare.result import TEACHER

CORRECTION = "Benjamini-Hochberg"
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """One row against the reference, in one column.

    The t-test takes the differences by seed to be independent and normal, which few seeds cannot
    show. Runs of one seed share the order and the views of their images, so pairs are narrower than
    two samples would be.

    Attributes:
        reference: Row that it is compared with; None if there is none to compare with.
        seeds: That both were run with.
        difference: Mean of row less reference, in units of the metric; None without shared seeds.
        low, high: 95 % interval of the mean difference, of Student's t.
        p: Two-sided; None where there is no test.
        corrected: ``p`` after :data:`CORRECTION` over all tests of the comparison; one that stands
            in several columns, of two rows without a teacher, is one test.
        why: What kept it from being tested; empty if it was.
    """

    column: Column
    row: Row
    reference: Row | None
    seeds: tuple[int, ...] = ()
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    corrected: float | None = None
    why: str = ""


def paired_tests(pivot: Pivot, *, against: str) -> tuple[PairedTest, ...]:
    """Every row of every column against a reference row of the same column.

    Args:
        pivot: Of measured results.
        against: Value of the rows' first key that makes a reference, such as ``scratch``. Of
            several such rows a row is compared with the one that is otherwise like it.
    """
    found, pairs = [], []
    for column in pivot.columns:
        cells = [c for c in pivot.of_column(column) if c.row[0] != TEACHER and _values(c)]
        references = [cell for cell in cells if str(cell.row[0]) == against]
        for cell in cells if references else ():
            if cell not in references:
                found.append(_test(cell, references))
                pairs.append(tuple(id(each.result) for each in (cell, *references)))
    return _corrected(found, pairs)


def _values(cell: Cell) -> dict[int, float]:
    return {} if cell.result is None else dict(cell.result.values)


def _test(cell: Cell, references: Sequence[Cell]) -> PairedTest:
    like = [reference for reference in references if reference.row[1:] == cell.row[1:]]
    chosen = like or (references if len(references) == 1 else [])
    untested = PairedTest(column=cell.column, row=cell.row, reference=None)
    if not chosen:
        return replace(untested, why="several references, none of them alike in all else")
    own, theirs = _values(cell), _values(chosen[0])
    seeds = tuple(sorted(own.keys() & theirs.keys()))
    untested = replace(untested, reference=chosen[0].row, seeds=seeds)
    if not seeds:
        return replace(untested, why="no seeds in common")
    pairs = np.array([[own[seed], theirs[seed]] for seed in seeds])
    apart = pairs[:, 0] - pairs[:, 1]
    untested = replace(untested, difference=float(apart.mean()))
    if len(seeds) < 2:
        return replace(untested, why="one seed in common, a test needs two")
    if np.ptp(apart) < 1e-12:
        return replace(untested, why="the same difference for every seed")
    outcome = ttest_rel(pairs[:, 0], pairs[:, 1])
    interval = outcome.confidence_interval(CONFIDENCE)
    return replace(
        untested, p=float(outcome.pvalue), low=float(interval.low), high=float(interval.high)
    )


def _corrected(tests: Sequence[PairedTest], pairs: Sequence[object]) -> tuple[PairedTest, ...]:
    """The tests with their corrected ``p``; those of equal ``pairs`` are one and the same."""
    made = {pair: t.p for pair, t in zip(pairs, tests, strict=True) if t.p is not None}
    if not made:
        return tuple(tests)
    values = false_discovery_control(list(made.values()), method="bh")
    known = dict(zip(made, map(float, values), strict=True))
    return tuple(replace(t, corrected=known.get(p)) for p, t in zip(pairs, tests, strict=True))
