"""A journal written to MLflow: exactly what MLflow lacks, however often it is done."""

import time
from collections.abc import Iterable
from pathlib import Path

from kdtune.tracking.confined import leads_outside
from kdtune.tracking.events import Attached, Event
from kdtune.tracking.journal import FOLDER
from kdtune.tracking.server import Refused, Server
from kdtune.tracking.sink_report import SinkReport
from kdtune.tracking.turns import Turns
from kdtune.tracking.writer import Progress, Writer

TRIES = 3
PAUSE_S = 1.0


def replay(
    events: Iterable[Event],
    *,
    tracking_uri: str,
    experiment: str,
    search_id: str,
    base: Path,
    nested: bool = True,
    progress: Progress | None = None,
) -> SinkReport:
    """Bring MLflow to what ``events`` tell of a search; the search may still be running.

    Runs are found by ``search_id`` and key, and compared with the events value by value. Other
    tags and metrics that a run has, its comments for one, stay as they are.

    A journal may be somebody else's, and names the files that go to the server: one that lies
    outside ``base`` is refused, be it by ``..`` or by a link.

    Args:
        events: Of the search, in order.
        tracking_uri: Of a server or database; MLflow's global one is left alone.
        experiment: Name of the experiment; made if there is none.
        search_id: Tells the runs of the search from all others.
        base: Folder of the search: relative paths of files begin there.
        nested: Whether runs are children of the search's own; MLflow's list of runs folds them in.
        progress: Is told how many runs are dealt with, of how many.

    Returns:
        What was written, what was there, and what failed; an absent server is told there too.
    """
    folder = base / FOLDER
    turns = Turns(folder if folder.is_dir() else None)
    server = Server(tracking_uri, experiment)
    writer = Writer(server, search_id=search_id, base=base, turns=turns, lookup=True, nested=nested)
    told = list(events)
    outside = [e for e in told if isinstance(e, Attached) and leads_outside(e.path, base)]
    writer.take(event for event in told if event not in outside)
    for event in outside:
        writer.note(Refused(f"'{event.path}' is outside '{base}' and is not sent anywhere"))
        writer.given_up += 1
    for attempt in range(TRIES):
        time.sleep(PAUSE_S * attempt)
        try:
            writer.write(progress)
            break
        except Exception as error:  # Told in the report, which the caller has to show.
            writer.note(error)
    return writer.report(folder=str(base))
