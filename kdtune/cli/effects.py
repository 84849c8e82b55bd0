"""What searches tell beside their winners."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kdtune.cli.app import app, bad_input, check_files
from kdtune.cli.options import RESULTS, LoggedTo, Storage

if TYPE_CHECKING:
    from kdtune.tracking import RunRecord

FILES = "Files"
EFFECTS_HELP = """
What mattered in a search, which settings act on each other, and whether early values told the end.

Importance of every axis by fANOVA and PED-ANOVA; the interactions that five papers claim, as far \
as the runs can tell, and the commands that would tell where they cannot; rank correlation of each \
rung with the end, and what early cutting cost or may have cost. Everything with its uncertainty \
and the number of trials. Several searches are pooled for the interactions.

[bold]Examples[/bold]

  kdtune effects quickstart-20260101-120000

  kdtune effects kdtune-results/NAME --only rungs

  kdtune effects NAME OTHER --only interactions --html effects.html --csv effects

[bold]Exit codes[/bold]: 0 analysed; 2 bad input.
"""


@app.command(help=EFFECTS_HELP)
def effects(
    searches: Annotated[
        list[str],
        typer.Argument(metavar="NAME|PATH|RUN...", help="Searches: name, folder, or MLflow's run."),
    ],
    only: Annotated[
        str,
        typer.Option(metavar="PART,PART", help="Of importance, interactions and rungs."),
    ] = "importance,interactions,rungs",
    html: Annotated[
        Path | None,
        typer.Option(help="A page with charts that needs no network.", rich_help_panel=FILES),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Everything, nested.", rich_help_panel=FILES)
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="A table of numbers for each part.", rich_help_panel=FILES
        ),
    ] = None,
    storage: Storage = RESULTS,
    tracking_uri: LoggedTo = None,
) -> None:
    """Analyse searches; ``--help`` shows EFFECTS_HELP."""
    from kdtune.cli.searches import find_search
    from kdtune.compare.effects import PARTS
    from kdtune.compare.effects import effects as analyse
    from kdtune.registry import nearest
    from kdtune.report.effect_files import effects_json, effects_page, write_tables
    from kdtune.report.effects import print_effects

    with bad_input():
        parts = [part.strip() for part in only.split(",")]
        for part in parts:
            if part not in PARTS:
                raise ValueError(f"unknown part '{part}'{nearest(part, PARTS)}")
        check_files(file for file in (html, json) if file)
        if csv and csv.exists() and not csv.is_dir():
            raise ValueError(f"--csv makes a folder, and '{csv}' is a file; give another name")
        records = [
            find_search(asked, storage=storage, tracking_uri=tracking_uri)[0]
            for asked in dict.fromkeys(searches)
        ]
        sizes = _sizes(run for record in records for run in record.runs)
        found = analyse(records, only=parts, sizes=sizes)
        print_effects(found, Console())
        command = shlex.join(["kdtune", *sys.argv[1:]])
        if html:
            html.write_text(effects_page(found, command=command), encoding="utf-8")
        if json:
            json.write_text(effects_json(found, command=command), encoding="utf-8")
        if csv:
            write_tables(found, csv)


def _sizes(runs: "Iterable[RunRecord]") -> dict[str, int]:
    """Parameters of all teachers and students for ten classes of 32x32 colour images."""
    from kdtune.models import describe

    named = {run.params[key] for run in runs for key in ("teacher", "student") if key in run.params}
    sizes = {}
    for name in sorted(named):
        try:
            sizes[name] = describe(only=[name])[0].params
        except ValueError:  # A network of another version: the gap to it stays untold.
            continue
    return sizes
