"""Analyses of finished runs."""

import inspect
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kdtune.cli.app import EXIT_BAD_INPUT, MACHINE, PLACES, app, bad_input, table
from kdtune.cli.options import RESULTS, Storage

if TYPE_CHECKING:
    from kdtune.analysis import Analysis
    from kdtune.report.finding import Finding, FoundTable
    from kdtune.search.analysing import Analysed, Told, Workers
    from kdtune.search.finished_runs import FinishedRun

LIST, ALL = "list", "all"
HERE = "here"
DEVICES = ("auto", "cpu", "cuda")
EXIT_INCOMPLETE = 1
MOST_ROWS = 40
"""Rows of a table that are printed; its CSV has all."""

ANALYZE_HELP = """
Explain finished runs as the papers explain theirs: numbers, tables and figures.

'kdtune analyze list' tells what there is, each in a line with its paper, and 'kdtune analyze \
NAME' explains one with its options. A run is one whose \
student was kept: a finalist, a baseline, a cell of 'kdtune reproduce'. What was measured once is \
kept by content in the storage folder. Tables and figures (PNG and SVG) go to analysis/ in the \
results of the runs and to MLflow, numbers to each run there, as metrics \
analysis/ANALYSIS/NUMBER, and all of it to the next report.

[bold]Examples[/bold]

  kdtune analyze list

  kdtune analyze kd_error

  kdtune analyze kd_error night

  kdtune analyze transferability,calibration "night/finalist-*-seed-1" --set epsilon=0.016

  kdtune analyze diffusion_index night --set hierarchy=cifar100 --only temperature=1 \
--only temperature=3

  kdtune analyze all night --on-ray here

[bold]Exit codes[/bold]: 0 analysed; 1 MLflow lacks something of it, see 'kdtune sync'; 2 bad \
input, an analysis that was named could not be made, or none could of 'all'.
"""


@app.command(help=ANALYZE_HELP)
def analyze(
    names: Annotated[
        str,
        typer.Argument(metavar="NAME[,NAME...]|all|list", help="See 'kdtune analyze list'."),
    ],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN...",
            help="A search by name or folder (all of its students), NAME/PATTERN of its students, "
            "the folder of a saved student, or MLflow's id of a run or search; without any, the "
            "analysis is explained.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="OPTION=VALUE", help="An option of the analysis; may be given often."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Of the runs only those with this setting; several values of one key are "
            "alternatives.",
        ),
    ] = None,
    storage: Storage = RESULTS,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            help="Of MLflow; by default where each search logs, and for ids what the environment "
            "says.",
            rich_help_panel=PLACES,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=MACHINE)
    ] = "auto",
    on_ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Measure several runs at once on a Ray cluster: auto, HOST:PORT, or 'here' to "
            "start one on this machine. By default one after the other, without Ray.",
            rich_help_panel=MACHINE,
        ),
    ] = "",
) -> None:
    """Analyse runs; ``--help`` shows ANALYZE_HELP."""
    if names == LIST:
        _list()
        return
    with bad_input():
        asked = _asked(names, settings or [])
        if not runs:
            _explain(asked)
            return
        from kdtune.search.analysis_log import addresses
        from kdtune.search.finished_runs import finished_runs
        from kdtune.tracking import resolve_tracking_uri
        from kdtune.training.device import resolve_device

        if device not in DEVICES:
            raise ValueError(f"--device must be one of {', '.join(DEVICES)}, got '{device}'")
        where = resolve_device(device).type
        place = storage.absolute()
        uri = resolve_tracking_uri(tracking_uri, os.environ.get("MLFLOW_TRACKING_URI"), place)
        found = _with(finished_runs(runs, storage=place, tracking_uri=uri), only or [])
        logged = {run.search: uri for run in found} if tracking_uri else addresses(found)
        made, complete = 0, True
        with _workers(on_ray) as workers:
            for analysis in asked:
                done = _analysed(analysis, found, place, where, workers, alone=len(asked) == 1)
                if done is not None:
                    made += 1
                    complete &= _logged(done, logged)
    if made < (1 if names == ALL else len(asked)):
        raise typer.Exit(EXIT_BAD_INPUT)
    if not complete:
        raise typer.Exit(EXIT_INCOMPLETE)


def _list() -> None:
    from kdtune.analysis import ANALYSES

    shown = table("analysis", "what it tells", "from")
    for name in ANALYSES.names():
        shown.add_row(name, ANALYSES.get(name).summary, ANALYSES.get(name).source)
    Console().print(shown)
    Console().print("'kdtune analyze NAME' explains one with its options.", style="dim")


def _explain(analyses: "Sequence[Analysis]") -> None:
    """What analyses are, at length."""
    from kdtune.search.kept_measures import name_of

    console = Console(highlight=False)
    for analysis in analyses:
        console.print(f"[bold]{name_of(analysis)}[/] ({analysis.source})\n")
        console.print(inspect.cleandoc(type(analysis).__doc__ or ""), markup=False)
        shown = table("option", "default")
        for option, value in type(analysis)().model_dump().items():
            shown.add_row(option, "(empty)" if value == "" else str(value))
        console.print(shown)


def _asked(names: str, settings: Sequence[str]) -> "list[Analysis]":
    """The analyses with their options; an option must be one of theirs."""
    from kdtune.analysis import ANALYSES
    from kdtune.registry import nearest

    chosen = ANALYSES.names() if names == ALL else [name.strip() for name in names.split(",")]
    kinds = {name: ANALYSES.get(name) for name in chosen}
    given = _pairs("--set", settings)
    known = {option for kind in kinds.values() for option in kind.model_fields}
    for option in given:
        if option not in known:
            raise ValueError(f"unknown option '{option}' of {names}{nearest(option, known)}")
    return [
        _made(name, {key: value for key, value in given.items() if key in kind.model_fields})
        for name, kind in kinds.items()
    ]


def _made(name: str, options: Mapping[str, str]) -> "Analysis":
    from pydantic import ValidationError

    from kdtune.analysis import ANALYSES

    try:
        return ANALYSES.get(name).model_validate_strings(dict(options))
    except ValidationError as error:
        found = error.errors()[0]
        rule = found["msg"].removeprefix("Value error, ").replace("should", "must")
        option = ".".join(map(str, found["loc"])) or "options"
        raise ValueError(f"{option} of '{name}': {rule}, got '{found['input']}'") from None


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, _) in zip(texts, pairs, strict=True):
        if not (key.strip() and equals):
            raise ValueError(f"{option} takes KEY=VALUE, got '{text}'")
    found = {key.strip(): value.strip() for key, _, value in pairs}
    if len(found) < len(pairs):
        raise ValueError(f"{option} takes each key once, got {', '.join(texts)}")
    return found


def _with(runs: "list[FinishedRun]", only: Sequence[str]) -> "list[FinishedRun]":
    """Those of the runs that have the settings."""
    from kdtune.registry import nearest
    from kdtune.search.finished_runs import settings_of

    wanted: dict[str, list[str]] = {}
    for text in only:
        ((key, value),) = _pairs("--only", [text]).items()
        wanted.setdefault(key, []).append(value)
    held = [settings_of(run) for run in runs]
    for key, values in wanted.items():
        known = {each[key] for each in held if key in each}
        if not known:
            keys = {key for each in held for key in each}
            raise ValueError(f"no run has the setting '{key}'{nearest(key, keys)}")
        for value in values:
            if not any(_same(value, each) for each in known):
                raise ValueError(f"no run has {key}={value}; there are {', '.join(sorted(known))}")
    chosen = [
        run
        for run, each in zip(runs, held, strict=True)
        if all(_among(values, each.get(key)) for key, values in wanted.items())
    ]
    if not chosen:
        raise ValueError(f"no run has all of {', '.join(only)}")
    return chosen


def _among(values: Sequence[str], held: str | None) -> bool:
    return held is not None and any(_same(value, held) for value in values)


def _same(asked: str, held: str) -> bool:
    """Whether a text means a setting: ``4`` is ``4.0``."""
    try:
        return float(asked) == float(held)
    except ValueError:
        return asked == held


@contextmanager
def _workers(on_ray: str) -> "Iterator[Workers]":
    from kdtune.search.analysing import one_by_one

    if not on_ray:
        yield one_by_one
        return
    from kdtune.search.analysing_on_ray import on_ray as workers

    with workers("" if on_ray == HERE else on_ray) as started:
        yield started


def _analysed(
    analysis: "Analysis",
    runs: "Sequence[FinishedRun]",
    storage: Path,
    device: str,
    workers: "Workers",
    *,
    alone: bool,
) -> "Analysed | None":
    """Make one analysis and show it; None if it fits none of the runs and is one of several."""
    from kdtune.search.analysing import analyse, applies
    from kdtune.search.kept_measures import name_of

    console, name = Console(), name_of(analysis)
    fitting = [run for run in runs if applies(analysis, run)]
    left_out = len(runs) - len(fitting)
    note = f"{name}: {left_out} of {len(runs)} runs have no teacher and are left out"
    if left_out and fitting:
        console.print(note, style="yellow")
    try:
        if not fitting:
            raise ValueError(f"'{name}' needs runs with a teacher, and none of these has one")
        with _progress(name, console) as told:
            done = analyse(
                analysis,
                fitting,
                storage=storage,
                device=device,
                workers=workers,
                command=shlex.join(["kdtune", *sys.argv[1:]]),
                told=told,
            )
    except ValueError as error:
        if alone:
            raise
        console.print(f"{name}: left out: {error}", style="yellow", markup=False)
        return None
    _show(done.finding, console, whole=alone)
    kept = len(fitting) - done.measured
    if kept:
        console.print(f"{kept} of {len(fitting)} runs had been measured before.", style="dim")
    for folder in done.folders:
        console.print(str(folder), soft_wrap=True, highlight=False, markup=False)
    return done


@contextmanager
def _progress(name: str, console: Console) -> "Iterator[Told]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _show(finding: "Finding", console: Console, *, whole: bool) -> None:
    """All tables, or the main one of several analyses."""
    for each in finding.tables[: None if whole else 1]:
        _show_table(each, console)
    rest = 0 if whole else len(finding.tables) - 1
    if rest:
        console.print(f"{rest} more tables are in the folder and in the report.", style="dim")


def _show_table(found: "FoundTable", console: Console) -> None:
    from kdtune.report.settings import plain_table

    made = plain_table(found.title)
    heads, rows = found.shown()
    texts = {
        head
        for place, head in enumerate(found.columns)
        if any(isinstance(row[place], str) for row in found.rows)
    }
    for head in heads:
        made.add_column(head, justify="left" if head in texts else "right", overflow="fold")
    for row in rows[:MOST_ROWS]:
        made.add_row(*row)
    console.print(made)
    if len(found.rows) > MOST_ROWS:
        console.print(f"{len(found.rows) - MOST_ROWS} more rows are in the CSV.", style="dim")
    for note in found.notes:
        console.print(note, style="dim", markup=False, highlight=False)
    console.print()


def _logged(done: "Analysed", tracking_uris: Mapping[Path, str]) -> bool:
    """Write to journal and MLflow; whether MLflow has all of it."""
    from kdtune.search.analysis_log import log_analysis

    reports = log_analysis(done, tracking_uris=tracking_uris)
    for report in reports:
        if not report.complete:
            Console().print(str(report), markup=False, style="yellow")
    return all(report.complete for report in reports)
