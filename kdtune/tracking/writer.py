"""Writes what waits, run by run, in as few calls as MLflow allows.

Used by one thread alone. What could not be written stays in its buffer for the next try, so a
write that is repeated after a failure neither loses nor doubles anything.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from kdtune.tracking.buffer import Buffer
from kdtune.tracking.events import PARENT, STATUS, Event
from kdtune.tracking.provenance import origin_tags, version_tags
from kdtune.tracking.server import Refused, Server, is_refusal, quiet_thread

SEARCH_TAG = "kdtune.search"
KEY_TAG = "kdtune.key"


class Writer:
    """The buffers of all runs of one search, and what is known of the runs.

    Args:
        server: Where to.
        search_id: Tells the runs of this search from those of all others.
        source: Folder whose git state is recorded.
        lookup: Whether an earlier process may have made the runs already.
    """

    def __init__(self, server: Server, *, search_id: str, source: Path, lookup: bool) -> None:
        self.server = server
        self.written = 0
        self.first_error = ""
        self.run_ids: dict[str, str] = {}
        self._search_id = search_id
        self._source = source
        self._resumed = self._lookup = lookup
        self._pending: dict[str, Buffer] = {}
        self._floors: dict[str, Mapping[str, int]] = {}
        self._origin: dict[str, str] = {}

    def take(self, events: Iterable[Event]) -> None:
        """Sort events into their runs' buffers, in order."""
        for event in events:
            self._pending.setdefault(event.key, Buffer()).take(event)

    def note(self, error: Exception) -> None:
        """Remember the first thing that went wrong, for the report."""
        self.first_error = self.first_error or f"{type(error).__name__}: {error}"

    def write(self) -> None:
        """Empty all buffers. One that is refused is given up, so that it holds up no other.

        Raises:
            Exception: Whatever the server or the network raised, if trying again may help.
        """
        with quiet_thread():
            try:
                self.server.connect()
            except Exception as error:
                if not is_refusal(error):
                    raise
                self.note(error)
                self._pending.clear()
            for key in list(self._pending):
                self._write_or_give_up(key)
            self._lookup = self._resumed

    def _write_or_give_up(self, key: str) -> None:
        try:
            self._write_run(key, self._pending[key])
        except Exception as error:
            if not is_refusal(error):
                # The answer that never came may have been "made": look before making it again.
                self._lookup = True
                raise
            self.note(error)
        del self._pending[key]

    def _write_run(self, key: str, buffer: Buffer) -> None:
        run_id = self._open(key, buffer)
        self.written += buffer.skip(self._floors.get(key, {}))
        while parcel := buffer.parcel():
            self.server.log(run_id, parcel)
            buffer.sent(parcel)
            self.written += len(parcel.points)
        if buffer.ended:
            self.server.set_status(run_id, STATUS[buffer.ended.outcome], buffer.ended.time_ms)
            buffer.ended = None
            self.written += 1

    def _open(self, key: str, buffer: Buffer) -> str:
        """The id of a run: known, found, or made now."""
        started = buffer.started
        if key not in self.run_ids and self._lookup:
            self._find(key, buffer)
        if key in self.run_ids:
            if started:
                self.server.set_status(self.run_ids[key], "RUNNING", None)
        elif started:
            tags = self._identity(key) | dict(started.tags)
            self.run_ids[key] = self.server.create_run(
                name=started.name, tags=tags, time_ms=started.time_ms
            )
        else:
            raise Refused(f"run '{key}' got values but was never started; call start_run first")
        if started:
            buffer.started = None
            self.written += 1
        return self.run_ids[key]

    def _find(self, key: str, buffer: Buffer) -> None:
        found = self.server.find_run(self._marks(key))
        if found:
            self.run_ids[key] = found.run_id
            self._floors[key] = found.last_epochs
            buffer.params = {k: v for k, v in buffer.params.items() if k not in found.params}

    def _identity(self, key: str) -> dict[str, str]:
        """Tags that say where a run came from and where it belongs."""
        self._origin = self._origin or origin_tags(self._source)
        tags = self._marks(key) | self._origin
        if key == PARENT:
            return tags | version_tags()
        if PARENT not in self.run_ids:
            raise Refused(f"run '{key}' has no parent: the run of the search was refused")
        return tags | {"mlflow.parentRunId": self.run_ids[PARENT]}

    def _marks(self, key: str) -> dict[str, str]:
        """The two tags by which a run is found again; a filter cannot quote an apostrophe."""
        marks = {SEARCH_TAG: self._search_id, KEY_TAG: key or "search"}
        return {tag: value.replace("'", "_") for tag, value in marks.items()}
