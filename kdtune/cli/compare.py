"""Comparing what was measured, and what papers printed."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from kdtune.cli.app import app, bad_input, check_files
from kdtune.cli.options import RESULTS, Storage, TrackingUri

if TYPE_CHECKING:
    from kdtune.compare import Comparison, Result
    from kdtune.tracking.record import RunRecord

OUTPUT = "Files (- for the standard output)"
COMPARE_HELP = """
Compare methods over seeds, and with what papers printed.

Finalists, baselines and the like of MLflow's experiments, all of them unless some are named: mean \
± standard deviation (n) of each configuration, ranks, paired tests over shared seeds against \
training without a teacher, and the papers' figures for the same networks and data, with what \
keeps them from being compared. Runs of other epochs, data or training settings stand in columns \
of their own.

[bold]Examples[/bold]

  kdtune compare

  kdtune compare methods-on-digits --by method,temperature --against kd

  kdtune compare --paper sarfraz2020:T3

  kdtune compare reproduction --paper wang2020 --metric test/top5 --html comparison.html

  kdtune compare --json - | jq .tests

[bold]Exit codes[/bold]: 0 compared; 2 bad input.
"""


def _file(what: str) -> Any:
    return typer.Option(metavar="FILE", help=what, rich_help_panel=OUTPUT)


@app.command(help=COMPARE_HELP)
def compare(
    experiments: Annotated[
        list[str] | None, typer.Argument(help="MLflow experiments; all by default.")
    ] = None,
    paper: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY[:TABLE]",
            help="Only this paper's figures; alone if nothing of its networks is measured. May be "
            "given often.",
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="KEY,KEY...",
            help="Settings that make the rows; by default method, and augmentation and pruning "
            "where they differ.",
        ),
    ] = "",
    metric: Annotated[str, typer.Option(help="See docs/mlflow.md.")] = "test/accuracy",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="ROW",
            help="What to test against: a value of the first key; by default scratch.",
        ),
    ] = None,
    html: Annotated[str | None, _file("A page that needs no network, with charts.")] = None,
    csv: Annotated[str | None, _file("One row a figure, numbers in full.")] = None,
    parquet: Annotated[str | None, _file("The same with types.")] = None,
    latex: Annotated[str | None, _file("Tables for booktabs.")] = None,
    json: Annotated[str | None, _file("Everything, nested.")] = None,
    storage: Storage = RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Compare runs; ``--help`` shows COMPARE_HELP."""
    from kdtune.compare import compare as set_beside
    from kdtune.compare.comparison import of_tasks

    asked = {"html": html, "csv": csv, "parquet": parquet, "latex": latex, "json": json}
    wanted = {name: place for name, place in asked.items() if place is not None}
    with bad_input():
        _check_places(list(wanted.values()))
        printed = _printed(paper or [], metric)
        runs = _runs(experiments or [], storage, tracking_uri, may_lack=bool(paper))
        measured = _measured(runs, metric, may_lack=bool(paper) and not experiments)
        if paper and not experiments:
            measured = of_tasks(measured, printed)
        matching = of_tasks(printed, measured) if measured else printed
        comparison = set_beside(
            [*measured, *matching],
            by=_keys(by),
            against=against,
            split=bool(paper),
        )
        if "-" not in wanted.values():
            from kdtune.report.comparison import ComparisonView

            Console().print(ComparisonView(comparison))
            if paper and len(matching) < len(printed):
                typer.echo(
                    f"{len(printed) - len(matching)} figures of {', '.join(paper)} are of other "
                    "networks or data: see 'kdtune papers show'."
                )
        _write(comparison, wanted)


def _keys(by: str) -> list[str]:
    keys = [key.strip() for key in by.split(",")] if by else []
    if not all(keys):
        raise ValueError(f"--by takes settings with commas between them, got '{by}'")
    return keys


def _printed(papers: Sequence[str], metric: str) -> "list[Result]":
    """The figures of the papers that are named, or of all."""
    from kdtune.compare import reported_results
    from kdtune.compare.reported import reported_metrics
    from kdtune.registry import nearest

    if not papers:
        return reported_results(metric=metric)
    found = []
    for named in papers:
        key, _, table = named.partition(":")
        figures = reported_results(key, table or None, metric)
        if not figures:
            known = reported_metrics(key, table or None)
            raise ValueError(f"{named} prints no '{metric}'{nearest(metric, known)}")
        found += figures
    return found


def _runs(
    experiments: Sequence[str], storage: Path, tracking_uri: str | None, *, may_lack: bool
) -> "list[RunRecord]":
    """All that may count; none where there is no database and printed figures are enough."""
    from kdtune.compare.measured import KINDS
    from kdtune.tracking import resolve_tracking_uri
    from kdtune.tracking.location import sqlite_file
    from kdtune.tracking.reading import read_runs

    uri = resolve_tracking_uri(tracking_uri, None, storage.absolute())
    file = sqlite_file(uri)
    if tracking_uri is None and file and not file.is_file():
        if may_lack and not experiments:
            return []
        raise ValueError(
            f"no results in '{storage}'; run 'kdtune search' first, give --storage or "
            "--tracking-uri, or see printed figures alone with --paper"
        )
    return read_runs(uri, experiments, kinds=KINDS)


def _measured(runs: "Sequence[RunRecord]", metric: str, *, may_lack: bool) -> "list[Result]":
    from kdtune.compare import measured_results
    from kdtune.compare.measured import KINDS
    from kdtune.registry import nearest

    measured = measured_results(runs, metric)
    if measured or may_lack:
        return measured
    known = {name for run in runs for name in run.history}
    if not known:
        raise ValueError(
            f"nothing to compare: no run is of kind {', '.join(KINDS)} and has been measured; "
            "a search makes finalists and baselines at its end"
        )
    raise ValueError(f"no run has the metric '{metric}'{nearest(metric, known)}")


def _check_places(places: Sequence[str]) -> None:
    if list(places).count("-") > 1:
        raise ValueError("only one format can go to the standard output, got '-' for several")
    check_files(place for place in places if place != "-")


def _write(comparison: "Comparison", wanted: Mapping[str, str]) -> None:
    from kdtune.report.comparison_files import FORMATS

    command = shlex.join(["kdtune", *sys.argv[1:]])
    for name, place in wanted.items():
        content = FORMATS[name](comparison, command)
        if place == "-":
            typer.echo(content, nl=False)
        else:
            Path(place).write_bytes(content)
            typer.echo(f"{place}: {len(content):,} bytes", err=True)
