"""A reproduction on a console: what is planned, what it costs, what came of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from kdtune.compare.comparable import Difference
from kdtune.contracts import FlatConfig
from kdtune.papers import PAPERS, canonical_metric, figures, tables
from kdtune.report.settings import AXES, MISSING, describe, others, percent, plain_table
from kdtune.search.reproduced_cells import cells_text
from kdtune.search.reproducible import NotReproducible, recipe_of
from kdtune.search.reproduction_cost import KNOWN, Estimate
from kdtune.search.reproduction_plan import Plan
from kdtune.search.reproduction_results import Reproduced, words


def plan_table(plan: Plan) -> Table:
    """The cells that are run: their numbers, rows, settings, printed figures and seeds."""
    shown = plain_table(f"{plan.target}: cells that are run")
    shown.add_column("cell", justify="right")
    shown.add_column("row")
    shown.add_column("networks")
    shown.add_column("settings")
    shown.add_column("printed %", justify="right", no_wrap=True)
    shown.add_column("runs", justify="right")
    keys = _telling([cell.config.flat() for cell in plan.cells if cell.config])
    for cell in plan.cells:
        if cell.config is None:
            continue
        _, value, std = canonical_metric(cell.figure)
        taught = "" if cell.config.teacher is None else f"{cell.config.teacher.model} > "
        shown.add_row(
            str(cell.number),
            Text(cell.figure.row_label),
            f"{taught}{cell.config.student}",
            describe(_in_use(cell.config.flat()), keys),
            _spread(value, std),
            str(cell.seeds),
        )
    return shown


def _telling(configs: Sequence[FlatConfig]) -> list[str]:
    """Method, temperature and alpha, and what else tells apart those that have it.

    Networks have a column of their own.
    """
    keys = [*AXES, *others(configs)]

    def differs(key: str) -> bool:
        return len({repr(config[key]) for config in configs if key in config}) > 1

    shown = [key for key in keys if key in ("temperature", "alpha") or differs(key)]
    return ["method", *(key for key in shown if key not in ("method", "teacher", "student"))]


def _in_use(config: FlatConfig) -> FlatConfig:
    """Without the temperature of soft labels that have no weight."""
    idle = ("temperature", "alpha") if config.get("alpha") == 0 else ()
    return {key: value for key, value in config.items() if key not in idle}


def left_out(plan: Plan) -> Iterator[str]:
    """One line a reason, with the numbers of its cells."""
    for reason, numbers in plan.left_out().items():
        yield f"Left out, {cells_text(numbers)}: {reason}"


def estimate_lines(plan: Plan, found: Estimate) -> Iterator[str]:
    """What the plan amounts to, how long it takes, and what that rests on."""
    before = f", after {counted(len(plan.teachers), 'teacher')}" if plan.teachers else ""
    yield f"{counted(len(plan.runs), 'run')}{before}: {found.epochs} epochs in all."
    steps = [f"{step:.3g}" for step in sorted(found.steps_s)]
    times = " to ".join(dict.fromkeys((steps[0], steps[-1])))
    yield (
        f"About {_span(found.teachers_s + found.runs_s)}, {found.concurrency} at once: teachers "
        f"{_span(found.teachers_s)}, runs {_span(found.runs_s)}."
    )
    pruned = any(run.config.prune_ratio for run in plan.runs)
    yield (
        f"Measured here on the {found.device}, one training alone: "
        f"{counted(len(steps), 'different step')}, {times} s"
        f"{', pruned students whole' if pruned else ''}. Validation, loading and starting come "
        "on top; a teacher that is stored costs nothing."
    )


def counted(number: int, what: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _span(seconds: float) -> str:
    """``12 s``, ``3.4 min`` or ``56.7 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def comparison_table(cells: Sequence[Reproduced]) -> Table:
    """Printed and measured, cell by cell, in percent; students are named where they differ."""
    students = [each.cell.config.student if each.cell.config else "" for each in cells]
    shown = plain_table("Printed and measured, mean ± std (runs)")
    shown.add_column("cell", justify="right")
    shown.add_column("row", min_width=8)
    for column in ("printed %", "measured %", "diff."):
        shown.add_column(column, justify="right", no_wrap=True)
    if spread := any(each.within is not None for each in cells):
        shown.add_column("within spread")
    shown.add_column("comparable", no_wrap=True, min_width=len("comparable"))
    for each, student in zip(cells, students, strict=True):
        printed, measured, difference = each.printed, each.measured, each.difference
        named = [each.cell.figure.row_label, *([student] if len(set(students)) > 1 else [])]
        shown.add_row(
            str(each.cell.number),
            Text(", ".join(filter(None, named))),
            _spread(printed.mean, printed.std, printed.n),
            _spread(measured.mean, measured.std, measured.n) if measured.n else "no run ended",
            MISSING if difference is None else f"{100 * difference:+.2f}",
            *([{None: MISSING, True: "yes", False: "no"}[each.within]] if spread else []),
            "yes" if not each.apart else "no",
        )
    return shown


def apart(cells: Sequence[Reproduced]) -> Iterator[str]:
    """What keeps cells from being compared: one line for those that share it."""
    whose: dict[Difference, list[int]] = {}
    for each in cells:
        for difference in each.apart:
            whose.setdefault(difference, []).append(each.cell.number)
    shared: dict[tuple[int, ...], list[Difference]] = {}
    for difference, numbers in whose.items():
        shared.setdefault(tuple(numbers), []).append(difference)
    for group, differences in shared.items():
        who = "all" if len(group) == len(cells) > 1 else cells_text(group)
        yield f"Not comparable, {who}: {'; '.join(map(words, differences))}"


@dataclass(frozen=True, kw_only=True)
class Support:
    """How much of one table can be run.

    Attributes:
        paper, table: Its keys.
        cells: All of them.
        here: Those whose data kdtune reads under their own names.
        elsewhere: Those that need ``--dataset``, and which dataset that is.
        reasons: Why the rest cannot be run, and how many.
    """

    paper: str
    table: str
    cells: int
    here: int
    elsewhere: dict[str, int]
    reasons: dict[str, int]


def support(papers: Iterable[str] = tuple(PAPERS)) -> Iterator[Support]:
    """What of each table can be run, in the papers' order."""
    for paper in papers:
        for table in tables(paper):
            found = figures(paper, table)
            elsewhere: dict[str, int] = {}
            reasons: dict[str, int] = {}
            here = 0
            for figure in found:
                try:
                    recipe_of(figure)
                except NotReproducible as error:
                    reasons[str(error)] = reasons.get(str(error), 0) + 1
                    continue
                if figure.dataset in KNOWN:
                    here += 1
                else:
                    elsewhere[figure.dataset] = elsewhere.get(figure.dataset, 0) + 1
            yield Support(
                paper=paper,
                table=table,
                cells=len(found),
                here=here,
                elsewhere=elsewhere,
                reasons=reasons,
            )


def support_table() -> Table:
    """What of each table can be run, and what stands in the way of the rest."""
    shown = plain_table("Cells that can be trained again")
    shown.add_column("table", no_wrap=True)
    shown.add_column("cells", justify="right")
    shown.add_column("here", justify="right")
    shown.add_column("with --dataset")
    shown.add_column("not")
    for row in map(_support_row, support()):
        shown.add_row(*row)
    return shown


def support_page() -> str:
    """The same as a table in Markdown."""
    lines = ["| table | cells | here | with `--dataset` | not |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(_support_row(each))} |" for each in support()]
    return "\n".join(lines)


def _support_row(each: Support) -> tuple[str, ...]:
    given = ", ".join(f"{count} {name}" for name, count in each.elsewhere.items())
    reasons = "; ".join(f"{count} {reason}" for reason, count in each.reasons.items())
    return f"{each.paper}:{each.table}", str(each.cells), str(each.here), given, reasons


def _spread(mean: float, std: float | None, n: int | None = None) -> str:
    shown = percent(mean) if std is None else f"{percent(mean)} ± {percent(std)}"
    return shown if n is None else f"{shown} ({n})"
