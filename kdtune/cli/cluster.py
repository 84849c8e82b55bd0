"""What describes a cluster."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kdtune.cli.app import app, bad_input

EXIT_WRONG = 1
STYLES = {"error": "bold red", "warning": "yellow", "not checked": "dim", "to fill in": "cyan"}
CHECK_HELP = """
Find what is wrong with a cluster's description, before it costs money.

Reads a file of Ray's cluster launcher or a RayJob of KubeRay, and needs no network. Beyond Ray's \
own validation: mistyped keys and machines, limits, missing files, dangerous defaults that apply \
where a key is missing, open ports, secrets, and what costs money while nothing runs.

[bold]Examples[/bold]

  kdtune cluster check

  kdtune cluster check rayjob.yaml

[bold]Exit codes[/bold]: 0 no error; 1 errors; 2 a file that cannot be read.
"""

cluster = typer.Typer(no_args_is_help=True, help="Descriptions of clusters.")
app.add_typer(cluster, name="cluster")


@cluster.callback()
def _group() -> None:
    pass


@cluster.command(help=CHECK_HELP)
def check(
    file: Annotated[Path, typer.Argument(help="Of Ray or KubeRay.")] = Path("cluster.yaml"),
) -> None:
    """Check a description; ``--help`` shows CHECK_HELP."""
    from kdtune.cluster.check import check as findings_in

    console = Console()
    with bad_input():
        found = findings_in(file)
    for finding in found:
        style = STYLES[finding.level]
        place = f"[bold]{escape(finding.place)}[/] " if finding.place else ""
        text = f"[{style}]{finding.level}[/] {place}{escape(finding.text)}"
        console.print(text, highlight=False, soft_wrap=True)
    counts = {level: sum(f.level == level for f in found) for level in STYLES}
    said = ", ".join(f"{number} {level}" for level, number in counts.items() if number)
    console.print(f"{file}: {said or 'nothing found'}", markup=False, highlight=False)
    if counts["error"]:
        raise typer.Exit(EXIT_WRONG)
