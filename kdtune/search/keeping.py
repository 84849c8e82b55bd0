"""Holding a search's folder: by one process at a time, and mirrored where storage is remote."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from kdtune.search.telling import say
from kdtune.storage import Claim, Location, Mirror, fetch

LAST_UPLOAD_S = 120.0
"""How long the end of a search may wait for its last files to reach remote storage."""


@contextmanager
def held(location: Location, console: Console) -> Iterator[Claim]:
    """Inside, this process alone works on a search, and what it writes reaches remote storage.

    Args:
        location: Of the search.
        console: Where to say that the copy in remote storage is behind.

    Raises:
        ValueError: If another process works on it, or the storage cannot be used.
    """
    with Claim(location, what=f"the search in '{location.uri}'") as claim:
        if location.is_local:
            yield claim
            return
        fetch(location, location.local)
        location.local.mkdir(parents=True, exist_ok=True)
        mirror = Mirror(location.local, location)
        mirror.start()
        try:
            yield claim
        finally:
            report = mirror.close(LAST_UPLOAD_S)
            if not report.complete:
                left = f"{len(report.behind)} files are only in '{location.local}'"
                why = f" ({report.problem})" if report.problem else ""
                say(console, f"The copy in '{location.uri}' is behind: {left}{why}; resume there.")
