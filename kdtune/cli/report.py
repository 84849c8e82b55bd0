"""The report."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kdtune.cli.app import app, bad_input, check_files
from kdtune.cli.options import RESULTS, LoggedTo, Storage

REPORT_HELP = """
Write the report of a search: one HTML file that needs no network.

What to use and how sure that is, leaderboard, finalists against baselines and papers, learning \
curves, what mattered, cost, and the best recipe to paste. A search writes one itself when it \
ends; of one that still runs, or was killed, it tells what is there.

[bold]Examples[/bold]

  kdtune report quickstart-20260101-120000

  kdtune report kdtune-results/NAME --out report.html

  kdtune report 0123456789abcdef0123456789abcdef --tracking-uri http://mlflow.example.org:5000
"""


@app.command(help=REPORT_HELP)
def report(
    search: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH|RUN", help="A search: its name, its folder, or MLflow's run."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File; by default report.html in the results, else NAME-report.html."),
    ] = None,
    storage: Storage = RESULTS,
    tracking_uri: LoggedTo = None,
) -> None:
    """Write a report; ``--help`` shows REPORT_HELP."""
    from kdtune.cli.searches import find_search
    from kdtune.report.page import FILE, report_page

    with bad_input():
        check_files([out] if out else [])
        record, folder = find_search(search, storage=storage, tracking_uri=tracking_uri)
        name = re.sub(r"[^\w.@+ -]", "_", record.name)
        file = out or (folder / FILE if folder else Path(f"{name}-{FILE}"))
        file.write_text(report_page(record, folder=folder), encoding="utf-8")
    Console().print(str(file), markup=False, soft_wrap=True, highlight=False)
