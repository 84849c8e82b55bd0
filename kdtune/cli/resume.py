"""Going on with a search."""

from pathlib import Path
from typing import Annotated

import typer

from kdtune.cli.app import app, bad_input
from kdtune.cli.options import RESULTS, AnyStorage, Concurrent, TrackingUri
from kdtune.cli.search import program

HELP = """
Go on with a search that was stopped, died, or is to grow.

Sampler and scheduler are told again all that they knew; runs that are over are not done again, \
and those that were under way continue from their last checkpoint, in the same MLflow runs.

[bold]Examples[/bold]

  kdtune resume quickstart-20260101-120000

  kdtune resume cifar --trials +50

  kdtune resume cifar --hours +2 --address auto

  kdtune resume cifar --retry-failed

  kdtune resume cifar --storage s3://bucket/results

[bold]Exit codes[/bold]: as of kdtune search; 2 if there is nothing to go on with, or another \
process runs the search.
"""


@app.command(help=HELP)
def resume(
    name: Annotated[str, typer.Argument(help="Of the search, or the folder of its results.")],
    trials: Annotated[
        str | None,
        typer.Option(metavar="[+]N", help="Let the search have N trials, or N more of them."),
    ] = None,
    hours: Annotated[
        str | None,
        typer.Option(metavar="[+]H", help="Let its trials take H hours in all, or H more."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed trials again.")
    ] = False,
    storage: AnyStorage = str(RESULTS),
    tracking_uri: TrackingUri = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; by default as it began.")
    ] = None,
    max_concurrent: Concurrent = None,
) -> None:
    """Go on with a search; ``--help`` shows HELP."""
    from kdtune.search.session import resume_search

    folder = Path(name)
    if len(folder.parts) > 1 and folder.is_dir():
        storage, name = str(folder.parent), folder.name
    with bad_input():
        code = resume_search(
            name,
            storage=storage,
            program=program(),
            trials=trials,
            hours=hours,
            retry_failed=retry_failed,
            tracking_uri=tracking_uri,
            address=address,
            max_concurrent=max_concurrent,
        )
    raise typer.Exit(code)
