"""What the papers printed: listed, shown, and brought to MLflow."""

import csv
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kdtune.cli.app import PLACES, app, bad_input, fail, table
from kdtune.cli.options import RESULTS, Storage, TrackingUri

if TYPE_CHECKING:
    from kdtune.papers import Figure
    from kdtune.tracking import SinkReport

EXIT_INCOMPLETE = 1

SHOW_HELP = """
Print a table of a paper as the paper lays it out, with notes on damaged or ambiguous cells.

Without TABLE, all tables of the paper. [bold]--csv[/bold] and [bold]--json[/bold] give one figure \
a row, with everything that is known of it.

[bold]Examples[/bold]

  kdtune papers show cho2019 T8

  kdtune papers show wang2020 --csv > wang2020.csv

  kdtune papers show sarfraz2020 T5 --json
"""

IMPORT_HELP = """
Write what the papers printed to MLflow: a run a cell, under the names of measured runs.

Without PAPER, all five. In the UI, tick the experiments that are to stand side by side, or bring \
the figures into a study's own experiment with [bold]--experiment[/bold]. A second import changes \
nothing.

[bold]Examples[/bold]

  kdtune papers import

  kdtune papers import cho2019 wang2020 --experiment "joint on cifar10"

  kdtune papers import --tracking-uri http://mlflow.example.org:5000

[bold]Exit codes[/bold]: 0 MLflow has everything; 1 something could not be written; 2 bad input.
"""

verbs = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(verbs, name="papers", help="What five papers printed: list, show, import to MLflow.")


@verbs.command(name="list")
def list_papers(
    paper: Annotated[str | None, typer.Argument(help="Its tables in detail.")] = None,
) -> None:
    """List the papers, or the tables of one."""
    from kdtune.papers import PAPERS, figures, tables
    from kdtune.papers.layouts import LAYOUTS

    if paper is None:
        rows = table("paper", "year", "title", "tables", "figures", right=(1, 3, 4))
        rows.columns[0].no_wrap = True
        for key, each in PAPERS.items():
            counts = str(len(tables(key))), str(len(figures(key)))
            rows.add_row(key, str(each.year), each.title, *counts)
    else:
        rows = table("table", "figures", "what", right=(1,))
        with bad_input():
            for name in tables(paper):
                what = LAYOUTS[paper][name].caption
                rows.add_row(name, str(len(figures(paper, name))), what)
        about = PAPERS[paper]
        venue = f", {about.venue}" if about.venue else ""
        typer.echo(f"{about.citation}: {about.title} (arXiv:{about.arxiv}{venue})")
        typer.echo(about.question)
    Console().print(rows)


@verbs.command(help=SHOW_HELP)
def show(
    paper: Annotated[str, typer.Argument(help="See 'kdtune papers list'.")],
    table: Annotated[str | None, typer.Argument(help="See 'kdtune papers list PAPER'.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Rows of CSV, as collected.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array, typed.")] = False,
) -> None:
    """Show tables; ``--help`` shows SHOW_HELP."""
    from kdtune.papers import figures, tables
    from kdtune.report.paper_table import PaperTable

    with bad_input():
        if as_csv and as_json:
            raise ValueError("--csv and --json exclude each other; give one of them")
        found = figures(paper, table)
    if as_csv:
        _write_csv(found)
    elif as_json:
        _write_json(found)
    else:
        console = Console(highlight=False)
        for position, name in enumerate([table] if table else tables(paper)):
            if position:
                console.print()
            console.print(PaperTable(paper, name))


@verbs.command(name="import", help=IMPORT_HELP)
def import_papers(
    papers: Annotated[
        list[str] | None, typer.Argument(metavar="PAPER", help="By default all.")
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(help="MLflow experiment; by default 'papers'.", rich_help_panel=PLACES),
    ] = None,
    storage: Storage = RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Import figures; ``--help`` shows IMPORT_HELP."""
    from kdtune.papers import PAPERS, tables
    from kdtune.tracking import resolve_tracking_uri

    # MLflow would try an absent server for minutes, each time.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    with bad_input():
        wanted = list(dict.fromkeys(papers or PAPERS))
        for paper in wanted:
            tables(paper)  # refuses an unknown one, before anything is written
        uri = resolve_tracking_uri(tracking_uri, None, storage.absolute())
    for paper in wanted:
        report = _import(paper, uri, experiment)
        if report.lost:
            raise fail(
                f"{report.lost:,} records of {paper} could not be written to "
                f"{report.tracking_uri}: {report.error}; what is there stays, so import again",
                code=EXIT_INCOMPLETE,
            )
        counts = f"{report.written:,} records written, {report.present:,} there already"
        typer.echo(f"{paper}: {report.runs} runs in '{report.experiment}'; {counts}")


def _import(paper: str, uri: str, experiment: str | None) -> "SinkReport":
    """Import one paper, with a bar where somebody looks."""
    from kdtune.tracking.reported import EXPERIMENT, import_paper

    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    unseen = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=unseen) as progress:
        task = progress.add_task(paper, total=None)
        return import_paper(
            paper,
            tracking_uri=uri,
            experiment=experiment or EXPERIMENT,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def _write_csv(found: Sequence["Figure"]) -> None:
    from kdtune.papers.pack import COLUMNS, collected_row

    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(collected_row, found))


def _write_json(found: Sequence["Figure"]) -> None:
    from dataclasses import asdict

    typer.echo(json.dumps([asdict(figure) for figure in found], indent=1, ensure_ascii=False))
