"""How a comparison's parts are written: columns, cells, settings, and what keeps two apart."""

import math
import string
from collections.abc import Iterable, Sequence

from kdtune.compare.beside import combined_spread
from kdtune.compare.comparable import COLUMN_KEYS, SILENCE, Difference
from kdtune.compare.comparison import Comparison
from kdtune.compare.pivot import Cell, Column, Pivot, Row
from kdtune.compare.result import Result
from kdtune.contracts import Scalar
from kdtune.report.goals import MEASURES, Measure
from kdtune.report.settings import AXES, MISSING, describe, others, shown

SHORT = {
    **AXES,
    "augment.criterion": "picked by",
    "train.epochs": "epochs",
    "train.batch_size": "batch",
    "train.lr": "lr",
    "data.label_noise": "label noise",
    "data.imbalance": "imbalance",
    "data.train_limit": "images",
}
"""Keys that have shorter names in a heading."""

ABSENT = {
    "data.label_noise": "no label noise",
    "data.imbalance": "balanced",
    "data.train_limit": "all images",
}
"""What a column is without a setting of the data that others have."""

IN_LABELS = ("train.epochs", *ABSENT)
"""What of a protocol is told with its column's name."""

SHARES = ("accuracy", "top5", "agreement", "accuracy_median")


def measure_of(metric: str) -> Measure:
    """How values of a metric are written: shares in percent, all else with four digits."""
    if metric in MEASURES:
        return MEASURES[metric]
    label = metric.removeprefix("reported/").replace("/", " ").replace("_", " ")
    if metric.startswith("reported/") or not metric.endswith(SHARES):
        return Measure(label=label)
    return Measure(label=label, unit="%", scale=100, form=".2f")


def summary(result: Result, measure: Measure) -> str:
    """``95.04 ± 0.84 (5)``; a dash where deviation or n is not known."""
    if result.n == 0 or not math.isfinite(result.mean):
        return _ended(result)
    n = "?" if result.n is None else str(result.n)
    return f"{measure.text(result.mean)} ± {measure.text(result.std)} ({n})"


def _ended(result: Result) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in result.outcomes.items())


def cell_text(cell: Cell, measure: Measure) -> str:
    """What stands in a cell: the result that counts, or all the figures if none does."""
    if cell.result is not None:
        return summary(cell.result, measure)
    return f"{len(cell.others)} figures"


def points(value: float | None, measure: Measure) -> str:
    """A difference with its sign, in the unit of the metric."""
    return MISSING if value is None else format(measure.scale * value, f"+{measure.form}")


def row_label(row: Row) -> str:
    """``kd, cutmix``: the values that a row has."""
    return ", ".join(shown(value) for value in row if value is not None)


def heading(key: str) -> str:
    """A key over a column."""
    return SHORT.get(key, key)


def pair(column: Column) -> str:
    """``wrn_40_2 → wrn_16_2``; the student alone where nobody teaches it."""
    return f"{column.teacher} → {column.student}" if column.teacher else column.student


def column_label(column: Column, pivot: Pivot) -> str:
    """Paper, dataset, networks, epochs, and of noise and the like what tells columns apart."""
    return ", ".join(_parts(column, pivot))


def short_labels(pivot: Pivot) -> tuple[str, dict[Column, str]]:
    """What all columns share, and what is left of each one's label."""
    parts = {column: _parts(column, pivot) for column in pivot.columns}
    shared: list[str] = []
    if len(parts) > 1:
        first = next(iter(parts.values()))
        shared = [part for part in first if all(part in own for own in parts.values())]
    rest = {
        column: ", ".join(part for part in own if part not in shared)
        for column, own in parts.items()
    }
    return ", ".join(shared), rest


def _parts(column: Column, pivot: Pivot) -> list[str]:
    own = dict(column.protocol)
    found = [column.paper] if column.paper else []
    found += [column.dataset, pair(column)]
    if "train.epochs" in own:
        found.append(f"{shown(own['train.epochs'])} epochs")
    apart = {key for rival in _rivals(column, pivot) for key, _ in rival.protocol}
    for key, absent in ABSENT.items():
        if key in apart | own.keys():
            found.append(f"{heading(key)} {shown(own[key])}" if key in own else absent)
    return found


def _rivals(column: Column, pivot: Pivot) -> list[Column]:
    """The other columns of the same networks and source."""
    others = (other for other in pivot.columns if other != column)
    return [each for each in others if each.same_task(column) and each.paper == column.paper]


def protocol_apart(column: Column, pivot: Pivot) -> list[tuple[str, Scalar]]:
    """What of its protocol another column of the same networks has otherwise.

    What a paper leaves unsaid is no difference; a setting that a measured run has not is one.
    """
    own = dict(column.protocol)
    rivals = [dict(rival.protocol) for rival in _rivals(column, pivot)]
    return [
        (key, value)
        for key, value in own.items()
        if any(
            rival.get(key, value if column.paper and key not in SILENCE else None) != value
            for rival in rivals
        )
    ]


def column_names(pivot: Pivot) -> dict[Column, str]:
    """A letter for each column; none is needed where there is one."""
    if len(pivot.columns) == 1:
        return {pivot.columns[0]: ""}
    return {
        column: letters(place, string.ascii_uppercase) for place, column in enumerate(pivot.columns)
    }


def letters(place: int, alphabet: str) -> str:
    """Of the alphabet, for the thing at ``place``: a, b ... z, aa, ab ..."""
    more, own = divmod(place, len(alphabet))
    return (letters(more - 1, alphabet) if more else "") + alphabet[own]


def apart_text(apart: Iterable[Difference]) -> str:
    """``epochs 8 here, 240 printed; T 15.68 here, 4 printed``."""
    return "; ".join(
        f"{heading(key)} {_stated(here)} here, {_stated(there)} printed"
        for key, here, there in apart
    )


def _stated(value: Scalar) -> str:
    return "none" if value is None else shown(value)


def recipes(pivot: Pivot) -> list[tuple[Cell, str]]:
    """What each measured cell was run with, beyond its row and column."""
    cells = [cell for column in pivot.columns for cell in pivot.of_column(column)]
    told = {*COLUMN_KEYS, *pivot.by, *(key for c in pivot.columns for key, _ in c.protocol)}
    found = [
        (cell, {key: value for key, value in cell.result.settings.items() if key not in told})
        for cell in cells
        if cell.result and cell.result.n
    ]
    return [
        (cell, describe(settings, [*AXES, *others(s for c, s in found if c.column == cell.column)]))
        for cell, settings in found
    ]


def cell_remarks(cell: Cell) -> list[str]:
    """What a reader must know of a cell: chosen among several, failed runs, damaged figures."""
    found = []
    if cell.chosen_by == "validation":
        tried = sum(1 for result in cell.results if result.n != 0)
        if tried > 1:
            found.append(f"the best of {tried} configurations by validation accuracy")
    if cell.chosen_by == "origin":
        found.append("also printed: the same from its original paper")
    if cell.result is None:
        found.append(f"{_origin(cell.others)}, and nothing says which is to count")
    for result in cell.results:
        lost = {k: n for k, n in result.outcomes.items() if k != "finished"}
        if lost:
            found.append(_lost(result, lost))
        found += [result.note] if result.note and result is cell.result else []
    return found


def _origin(results: Sequence[Result]) -> str:
    measures = [measure_of(result.metric) for result in results]
    values = ", ".join(
        f"{measure.text(result.mean)}{f' ({result.table})' if result.table else ''}"
        for result, measure in zip(results, measures, strict=True)
    )
    what = "configurations" if results[0].source == "measured" else "figures"
    return f"{len(results)} {what}: {values}"


def _lost(result: Result, lost: dict[str, int]) -> str:
    """``of 5 runs 1 diverged (counted as it ended), 1 failed (not counted)``."""
    said = {"diverged": "diverged (counted, as it ended)"}
    parts = [f"{number} {said.get(kind, f'{kind} (not counted)')}" for kind, number in lost.items()]
    who = f"{result.label}: " if result.n == 0 else ""
    return f"{who}of {sum(result.outcomes.values())} runs {', '.join(parts)}"


def answers(comparison: Comparison) -> list[str]:
    """For each measured column in a few words: which recipe, how sure, and what papers say."""
    return [_answer(comparison, column) for column in comparison.measured.columns]


def _answer(comparison: Comparison, column: Column) -> str:
    measure = measure_of(comparison.metric)
    name = column_names(comparison.measured)[column]
    where = f"{name} {column_label(column, comparison.measured)}".strip()
    cells = comparison.measured.of_column(column)
    ranked = sorted((c for c in cells if c.rank is not None), key=lambda c: c.rank or 0.0)
    if not ranked or ranked[0].result is None:
        return f"{where}: nothing to rank. {_papers(comparison, column)}"
    best = ranked[0]
    text = f"{where}: {row_label(best.row)} is first of {len(ranked)}"
    test = next((t for t in comparison.tests if (t.column, t.row) == (column, best.row)), None)
    if test and test.difference is not None and test.reference is not None:
        unit = "points" if measure.unit == "%" else measure.unit
        apart = f"{points(test.difference, measure)} {unit}".rstrip()
        text += f", {apart} from {row_label(test.reference)}"
        text += f" (corrected p {probability(test.corrected)})" if test.p is not None else ""
    close = [row_label(cell.row) for cell in ranked[1:] if _hidden(best, cell)]
    text += f"; within its spread: {', '.join(close)}" if close else ""
    return f"{text}. {_papers(comparison, column)}"


def _hidden(best: Cell, other: Cell) -> bool:
    """Whether the chance of single runs could hide the difference."""
    if best.result is None or other.result is None:
        return False
    spread = combined_spread(best.result, other.result)
    return spread is not None and abs(best.result.mean - other.result.mean) <= spread


def _papers(comparison: Comparison, column: Column) -> str:
    pairs = [pair for pair in comparison.beside if pair.cell.column == column]
    if not pairs:
        return "No paper prints a figure for these cells."
    comparable = sum(pair.comparable for pair in pairs)
    judged = [pair.within for pair in pairs if pair.within is not None]
    text = f"Of {len(pairs)} printed figures {comparable or 'none'} may be compared"
    return (
        f"{text}; {sum(judged)} of {len(judged)} agree within the spread." if judged else f"{text}."
    )


def probability(p: float | None) -> str:
    """Two significant digits; tiny ones as a bound."""
    if p is None:
        return MISSING
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"
