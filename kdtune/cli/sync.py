"""Journals to MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kdtune.cli.app import PLACES, app, bad_input
from kdtune.cli.options import RESULTS, Storage

if TYPE_CHECKING:
    from kdtune.tracking import SinkReport

EXIT_INCOMPLETE = 1
DENIED = ("401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNAUTHORIZED")
"""How a server says that it wants to know who asks, or knows."""

SYNC_HELP = """
Write to MLflow what it lacks of searches, from the journals in their results.

For a tracking server that was away, a search that was killed, or another server. What is there \
already is left alone, so a second time changes nothing. A search may still be running.

[bold]Examples[/bold]

  kdtune sync

  kdtune sync quickstart-20260101-120000

  kdtune sync kdtune-results/NAME --tracking-uri http://mlflow.example.org:5000

[bold]Exit codes[/bold]: 0 MLflow has everything; 1 something could not be written, or a journal \
is damaged; 2 bad input.
"""


@app.command(help=SYNC_HELP)
def sync(
    searches: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|PATH", help="By default all of the storage folder."),
    ] = None,
    storage: Storage = RESULTS,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="Of MLflow; by default where the search logs.", rich_help_panel=PLACES),
    ] = None,
) -> None:
    """Replay journals; ``--help`` shows SYNC_HELP."""
    console = Console()
    from kdtune.tracking.location import checked_uri

    with bad_input():
        if tracking_uri:
            checked_uri(tracking_uri)
        folders = _folders(searches or [], storage)
    failed = [folder for folder in folders if not _sync(folder, tracking_uri, console)]
    if failed:
        raise typer.Exit(EXIT_INCOMPLETE)


def _folders(searches: list[str], storage: Path) -> list[Path]:
    """The folders of the searches that were asked for."""
    from kdtune.registry import nearest
    from kdtune.tracking.journal import journal_folder

    def search_of(path: Path) -> Path | None:
        try:
            return journal_folder(path).parent
        except FileNotFoundError:
            return None

    found = {path.name: search_of(path) for path in sorted(storage.glob("*"))}
    known = {name: folder for name, folder in found.items() if folder}
    if not (searches or known):
        raise ValueError(f"no search with a journal in '{storage}'; give --storage or its PATH")
    folders = []
    for search in searches:
        folder = known.get(search) or search_of(Path(search))
        if folder is None:
            raise ValueError(f"no journal of a search '{search}'{nearest(search, known)}")
        folders.append(folder)
    return folders or list(known.values())


def _sync(folder: Path, tracking_uri: str | None, console: Console) -> bool:
    """Bring MLflow to the journal of one search, and say what that took; whether all went well."""
    from kdtune.tracking import replay
    from kdtune.tracking.journal import read_contents
    from kdtune.tracking.location import logged_to

    name = folder.name
    try:
        contents = read_contents(folder)
        uri = tracking_uri or logged_to(contents.header.tracking_uri, folder)
    except (ValueError, OSError) as error:
        _say(console, f"{name}: {error}", style="red")
        return False
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    unseen = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=unseen) as progress:
        task = progress.add_task(name, total=None)
        report = replay(
            contents.events,
            tracking_uri=uri,
            experiment=contents.header.experiment,
            search_id=contents.header.search_id,
            base=folder,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    _tell(console, name, report, contents.damage)
    return not (report.lost or contents.damage)


def _tell(console: Console, name: str, report: "SinkReport", damage: list[str]) -> None:
    counts = f"{report.written:,} records written, {report.present:,} there already"
    _say(console, f"{name}: {report.runs} runs in '{report.experiment}'; {counts}")
    if report.lost:
        _say(console, f"  {report.lost:,} records could not be written: {report.error}", "red")
        if any(word in report.error for word in DENIED):
            text = "  passwords are not kept in a journal: give --tracking-uri with user and "
            text += "password, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            _say(console, text)
    for text in damage:
        _say(console, f"  {text}; what follows it was read", "red")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
