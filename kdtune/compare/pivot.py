"""Results laid out in rows and columns, so that a column holds only what was run alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.stats import rankdata

from kdtune.compare.comparable import COLUMN_KEYS, SILENCE, alike, in_protocol, setting
from kdtune.compare.result import QUOTED, TEACHER, Result
from kdtune.contracts import Scalar
from kdtune.registry import nearest

Row = tuple[Scalar, ...]
"""The values of the keys that make the rows."""

AXES = ("augment", "augment.criterion", "prune.method", "prune.phase", "prune_ratio")
"""What the rows tell apart besides the method, where it differs, unless somebody says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One task, one pair of networks, one protocol; of one paper, or measured.

    Attributes:
        paper: Empty for what was measured.
        dataset, student: Names.
        teacher: Empty where none of the column has one.
        protocol: Data and budget, keys and values in the keys' order.
    """

    paper: str = ""
    dataset: str
    teacher: str
    student: str
    protocol: tuple[tuple[str, Scalar], ...]

    def same_task(self, other: "Column") -> bool:
        """Whether both are about the same data and networks, whatever the protocols.

        A column without a teacher goes with any teacher of its student.
        """
        one, two = self.teacher, other.teacher
        pair = self.student == other.student and (one == two or not one or not two)
        return self.dataset == other.dataset and pair


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one row has in one column.

    Attributes:
        result: The one that counts; None if several differ and nothing says which is to count.
        others: The rest, or all of them if none counts.
        chosen_by: ``validation`` if that picked the result among several, ``origin`` if the others
            are quoted from elsewhere; else empty.
        rank: In its column, 1 is best, ties share the mean of their places; None if not ranked.
    """

    row: Row
    column: Column
    result: Result | None
    others: tuple[Result, ...] = ()
    chosen_by: str = ""
    rank: float | None = None

    @property
    def results(self) -> tuple[Result, ...]:
        """All of the cell, the one that counts first."""
        return self.others if self.result is None else (self.result, *self.others)


@dataclass(frozen=True, kw_only=True)
class Pivot:
    """The cells of results of one source, and in which order to show them."""

    by: tuple[str, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[Row, Column], Cell]

    def of_column(self, column: Column) -> list[Cell]:
        """The cells of a column, in the order of the rows."""
        found = (self.cells.get((row, column)) for row in self.rows)
        return [cell for cell in found if cell]

    def mean_rank(self, row: Row) -> tuple[float, int] | None:
        """Of a row over the columns that rank it, and how many do; None if none does."""
        found = [
            cell.rank
            for column in self.columns
            if (cell := self.cells.get((row, column))) and cell.rank is not None
        ]
        return (sum(found) / len(found), len(found)) if found else None


def pivot(results: Sequence[Result], *, by: Sequence[str]) -> Pivot:
    """Lay out results of one source, measured or printed.

    A result without a teacher stands in every column of its student under its protocol, and a
    teacher's own accuracy in every column of that teacher.

    Args:
        results: Of one metric.
        by: Keys whose values make the rows; none of them splits columns.
    """
    gathered: dict[tuple[Row, Column], list[Result]] = {}
    columns = _columns(results, by)
    for result in results:
        if result.role == TEACHER and "method" not in by:
            continue
        for column in _homes(result, columns, by):
            gathered.setdefault((_row(result, by), column), []).append(result)
    cells = {place: _cell(*place, found) for place, found in gathered.items()}
    for column in columns:
        cells |= _ranked([cell for cell in cells.values() if cell.column == column])
    filled = [column for column in columns if any(place[1] == column for place in cells)]
    made = Pivot(by=tuple(by), rows=(), columns=tuple(filled), cells=cells)
    rows = sorted({row for row, _ in cells}, key=lambda row: _standing(made, row))
    return Pivot(by=tuple(by), rows=tuple(rows), columns=tuple(filled), cells=cells)


def check_keys(by: Sequence[str], results: Iterable[Result]) -> None:
    """Whether rows can be made of these keys.

    Raises:
        ValueError: If a key makes the columns, is given twice, or no result has it.
    """
    known = {key for result in results for key in result.settings} | set(SILENCE) | {"method"}
    for place, key in enumerate(by):
        if key in COLUMN_KEYS:
            raise ValueError(f"--by names what makes the rows, and '{key}' makes the columns")
        if key not in known:
            raise ValueError(f"no result has a setting '{key}'{nearest(key, known)}")
        if key in by[:place]:
            raise ValueError(f"--by takes each key once, got '{key}' twice")


def default_keys(results: Sequence[Result], *, split: bool) -> tuple[str, ...]:
    """``method``, and of :data:`AXES` those in which results differ.

    Args:
        results: That are to be laid out.
        split: Also the keys in which figures of one cell differ, so that each has a cell: for
            printed ones, of which none may be picked.
    """
    taught = [result for result in results if result.role != TEACHER]
    # A policy has no criterion, and a paper may be silent: that alone makes no rows.
    keys = ["method", *(key for key in AXES if len(_values(taught, key) - {"None"}) > 1)]
    if split and taught:
        for cell in pivot(taught, by=keys).cells.values():
            stated = {k for r in cell.results for k in r.settings if not in_protocol(k)}
            apart = sorted(stated - {*keys, *COLUMN_KEYS})
            keys += [key for key in apart if len(_values(cell.results, key)) > 1]
    return tuple(keys)


def _values(results: Iterable[Result], key: str) -> set[str]:
    return {repr(setting(result.settings, key)) for result in results}


def _row(result: Result, by: Sequence[str]) -> Row:
    if result.role == TEACHER:
        return tuple(TEACHER if key == "method" else None for key in by)
    return tuple(setting(result.settings, key) for key in by)


def _columns(results: Sequence[Result], by: Sequence[str]) -> list[Column]:
    """The columns, found by the results that say most: of a teacher, and of their protocol."""
    found: list[Column] = []

    def says_most(result: Result) -> tuple[bool, bool, int]:
        own = _column(result, by)
        return result.role == TEACHER, not own.teacher, -len(own.protocol)

    for result in sorted(results, key=says_most):
        if not _homes(result, found, by):
            found.append(_column(result, by))
    return sorted(found, key=_column_order)


def _column_order(column: Column) -> tuple[object, ...]:
    """By task, then paper; the plainest protocol first, the shorter training before the longer."""
    task = (column.dataset, column.teacher, column.student, column.paper)
    epochs = dict(column.protocol).get("train.epochs")
    length = epochs if isinstance(epochs, int) else 0
    return (*task, len(column.protocol), length, repr(column.protocol))


def _column(result: Result, by: Sequence[str]) -> Column:
    dataset, teacher, student = (str(result.settings.get(key) or "") for key in COLUMN_KEYS)
    return Column(
        paper=result.paper if result.source == "reported" else "",
        dataset=dataset,
        teacher=teacher,
        student=student,
        protocol=tuple(
            (key, value)
            for key, value in sorted(result.settings.items())
            if in_protocol(key) and key not in by and not alike(value, SILENCE.get(key))
        ),
    )


def _homes(result: Result, columns: Sequence[Column], by: Sequence[str]) -> list[Column]:
    """The columns where a result stands.

    Papers leave parts of a protocol unsaid: such a figure stands in the one column that it does not
    contradict, if it is one.
    """
    own = _column(result, by)
    task = [c for c in columns if (c.paper, c.dataset) == (own.paper, own.dataset)]
    if result.role == TEACHER:
        pupils = (c for c in task if own.student == c.teacher and not _contradict(own, c, "data."))
        return [*pupils, *(c for c in task if own == c)]
    task = [c for c in task if own.student == c.student and own.teacher in ("", c.teacher)]
    alike_in_all = [column for column in task if column.protocol == own.protocol]
    if alike_in_all or not own.paper:
        return alike_in_all
    possible = [column for column in task if not _contradict(own, column)]
    pairs = [column.teacher for column in possible]
    return [column for column in possible if pairs.count(column.teacher) == 1]


def _contradict(one: Column, other: Column, prefix: str = "") -> bool:
    """Whether both state a key of their protocols, but differently."""
    own, theirs = {**SILENCE, **dict(one.protocol)}, {**SILENCE, **dict(other.protocol)}
    shared = {key for key in own.keys() & theirs.keys() if key.startswith(prefix)}
    return any(not alike(own[key], theirs[key]) for key in shared)


def _cell(row: Row, column: Column, results: Sequence[Result]) -> Cell:
    known = [result for result in results if result.n != 0] or results
    own = _distinct([result for result in known if result.role != QUOTED] or known)
    picked, chosen_by = own[0], "" if len(own) == len(_distinct(known)) else "origin"
    if len(own) > 1:
        scores = [result.validation for result in own if result.validation is not None]
        if len(scores) < len(own):
            return Cell(row=row, column=column, result=None, others=tuple(_distinct(results)))
        picked, chosen_by = own[scores.index(max(scores))], "validation"
    others = tuple(other for other in _distinct(results) if other != picked)
    return Cell(row=row, column=column, result=picked, others=others, chosen_by=chosen_by)


def _distinct(results: Sequence[Result]) -> list[Result]:
    """Each figure once: papers print one in several tables, and not in all with its deviation."""
    found: list[Result] = []
    for result in results:
        for place, other in enumerate(found):
            if _twins(result, other):
                found[place] = _merged(other, result)
                break
        else:
            found.append(result)
    return found


def _twins(one: Result, other: Result) -> bool:
    if one.source == "measured" or (one.mean, one.role) != (other.mean, other.role):
        return False
    stds = {result.std for result in (one, other) if result.std is not None}
    return len(stds) < 2 and {**SILENCE, **one.settings} == {**SILENCE, **other.settings}


def _merged(one: Result, other: Result) -> Result:
    tables = dict.fromkeys([*one.table.split(", "), *other.table.split(", ")])
    notes = dict.fromkeys(filter(None, (one.note, other.note)))
    more = one if one.std is not None else other
    return replace(more, table=", ".join(tables), note="; ".join(notes))


def _ranked(cells: Sequence[Cell]) -> dict[tuple[Row, Column], Cell]:
    """The cells of one column with their ranks: at least two, of a metric with a better side."""
    best_first = []
    for cell in cells:
        result = cell.result
        if result and result.n != 0 and result.role != TEACHER:
            if result.higher_is_better is None:
                return {}
            best_first.append((cell, -result.mean if result.higher_is_better else result.mean))
    if len(best_first) < 2:
        return {}
    ranks = rankdata([cost for _, cost in best_first], method="average")
    return {
        (cell.row, cell.column): replace(cell, rank=float(rank))
        for (cell, _), rank in zip(best_first, ranks, strict=True)
    }


def _standing(made: Pivot, row: Row) -> tuple[object, ...]:
    """For sorting rows: the best mean rank first, the teacher last.

    Ranks of columns that have no row in common say nothing together: such rows go by column.
    """
    ranked = [(made.columns.index(c), cell) for (r, c), cell in made.cells.items() if r == row]
    shared = any(sum(r == other for r, _ in made.cells) > 1 for other, _ in made.cells)
    found = made.mean_rank(row)
    words = [(value is None, str(value)) for value in row]
    first = 0 if shared else min(place for place, _ in ranked)
    return (row[:1] == (TEACHER,), first, found[0] if found else float("inf"), words)
