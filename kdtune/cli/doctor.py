"""The examination of an installation."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kdtune.cli.app import app, bad_input
from kdtune.cli.options import RESULTS, Address, AnyStorage, TrackingUri

EXIT_WRONG = 1
STYLES = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}

HELP = """
Check an installation: whether a search can run here, and what to do if not.

Versions, torch and GPU, memory, limits, clock, storage, tracking, and Ray, which is started or \
joined. Nothing is kept of what is written.

[bold]Examples[/bold]

  kdtune doctor

  kdtune doctor --storage /shared/results --tracking-uri http://mlflow.example.org:5000

  kdtune doctor --address auto --json

[bold]Exit codes[/bold]: 0 all is well, or there are warnings; 1 a search would fail; 2 bad input.
"""


@app.command(help=HELP)
def doctor(
    storage: AnyStorage = str(RESULTS),
    tracking_uri: TrackingUri = None,
    address: Address = "",
    start_ray: Annotated[
        bool, typer.Option("--ray/--no-ray", help="Start Ray, or join it; takes some seconds.")
    ] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for torch, GPU and Ray.")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array of findings.")] = False,
) -> None:
    """Examine the installation; ``--help`` shows HELP."""
    from kdtune.doctor import Asked, examine
    from kdtune.storage import Location
    from kdtune.tracking import resolve_tracking_uri

    with bad_input():
        uri = resolve_tracking_uri(tracking_uri, None, Location.parse(storage).local)
    asked = Asked(
        storage=storage, tracking_uri=uri, address=address, start_ray=start_ray, timeout_s=timeout
    )
    console, found = Console(), []
    for name, finding in examine(asked):
        found.append({"check": name, **vars(finding)})
        if not as_json:
            level = f"[{STYLES[finding.level]}]{finding.level:<5}[/]"
            console.print(f"{level}{name}: {escape(finding.text)}", highlight=False, soft_wrap=True)
            if finding.remedy:
                console.print(f"     → {finding.remedy}", markup=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    if any(each["level"] == "FAIL" for each in found):
        raise typer.Exit(EXIT_WRONG)
