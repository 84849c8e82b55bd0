"""Which search a user means: by the folder of its results, its name, or MLflow's run."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdtune.tracking import RunRecord, SearchRecord


def find_search(
    asked: str, *, storage: Path, tracking_uri: str | None
) -> tuple["SearchRecord", Path | None]:
    """The record of a search, and the folder of its results if it is at hand.

    Its journal comes first, which holds all that was logged whatever became of the server.

    Args:
        asked: Folder of its results, its name, or MLflow's id of its own run.
        storage: Folder of all results.
        tracking_uri: Of MLflow; by default the database in ``storage``.

    Raises:
        ValueError: If nothing goes by that name, or its journal cannot be read.
        ConnectionError: If no server answers.
    """
    from kdtune.tracking import read_journal, read_search, resolve_tracking_uri
    from kdtune.tracking.journal import journal_folder

    for place in (Path(asked), storage / asked):
        try:
            folder = journal_folder(place).parent
        except FileNotFoundError:
            continue
        return read_journal(folder), folder
    uri = resolve_tracking_uri(tracking_uri, None, storage)
    run = _run_of(asked, uri, storage)
    # A tag of a server is anybody's: it names a folder of the storage, or none.
    name = Path(run.tags.get("search", run.name)).name
    results = storage / name
    return read_search(uri, run.run_id), results if name and results.is_dir() else None


def _run_of(asked: str, uri: str, storage: Path) -> "RunRecord":
    """The search's own run in MLflow; of several with one name the latest."""
    from kdtune.registry import nearest
    from kdtune.tracking import read_runs
    from kdtune.tracking.location import sqlite_file

    file = sqlite_file(uri)
    if file and not file.is_file():
        raise ValueError(
            f"no search '{asked}': no journal there, and no MLflow database at '{file}'; "
            "give --storage or --tracking-uri"
        )
    runs = read_runs(uri, kinds=("search",))
    named = [run for run in runs if asked in (run.run_id, run.name, run.tags.get("search"))]
    if not named:
        journals = [path.parent.name for path in storage.glob("*/journal")]
        raise ValueError(
            f"no search '{asked}'{nearest(asked, {*journals, *(run.name for run in runs)})}"
        )
    return named[-1]
