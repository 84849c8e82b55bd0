"""Writes what waits, run by run, in as few calls as MLflow allows.

Used by one thread alone. What could not be written stays in its buffer for the next try, so a
write that is repeated after a failure neither loses nor doubles anything. A run that another
process made is compared with what waits, value by value, and gets only what it lacks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kdtune.tracking.buffer import Buffer, FoundRun
from kdtune.tracking.confined import leads_outside
from kdtune.tracking.events import PARENT, Attached, Event
from kdtune.tracking.journal import JournalDamaged, read_segments
from kdtune.tracking.location import without_credentials
from kdtune.tracking.server import (
    KEY_TAG,
    PARENT_KEY,
    PARENT_TAG,
    SEARCH_TAG,
    Refused,
    Server,
    is_refusal,
    quiet_thread,
)
from kdtune.tracking.sink_report import SinkReport
from kdtune.tracking.turns import Turns

Progress = Callable[[int, int], None]
"""Is told how many runs are dealt with, of how many."""


class Writer:
    """The buffers of all runs of one search, and what is known of the runs.

    Args:
        server: Where to.
        search_id: Tells the runs of this search from those of all others.
        base: Folder at which relative paths of files begin.
        turns: Taken for each run that is written.
        lookup: Whether an earlier process may have made the runs already.
        earlier: Segments of the journal that it left, to be written first.
        nested: Whether runs are children of the search's own.
    """

    def __init__(
        self,
        server: Server,
        *,
        search_id: str,
        base: Path,
        turns: Turns,
        lookup: bool,
        earlier: Sequence[Path] = (),
        nested: bool = True,
    ) -> None:
        self.server = server
        self.written = 0
        self.present = 0
        self.given_up = 0
        self.first_error = ""
        self.run_ids: dict[str, str] = {}
        self._search_id = search_id
        self._base = base
        self._turns = turns
        self._pending: dict[str, Buffer] = {}
        self._found: Mapping[str, FoundRun] | None = None if lookup else {}
        self._had_files: set[str] = set()
        self._earlier = earlier
        self._nested = nested

    def take(self, events: Iterable[Event]) -> None:
        """Sort events into their runs' buffers, in order."""
        for event in (*self._left_by_others(), *events):
            self._pending.setdefault(event.key, Buffer()).take(event)

    def _left_by_others(self) -> Sequence[Event]:
        files, self._earlier = self._earlier, ()
        if not files:
            return ()
        try:
            found = read_segments(files)
        except (OSError, ValueError) as error:
            self.note(error)
            return ()
        for damage in found.damage:
            self.note(JournalDamaged(damage))
        return [event for event in found.events if not self._leads_outside(event)]

    def _leads_outside(self, event: Event) -> bool:
        """Whether a journal, which others may have written, names a file that is not its own."""
        if not isinstance(event, Attached) or not leads_outside(event.path, self._base):
            return False
        self.note(Refused(f"'{event.path}' is outside '{self._base}' and is not sent anywhere"))
        return True

    @property
    def waiting(self) -> int:
        """How many records are not dealt with."""
        return sum(map(len, list(self._pending.values())))

    def note(self, error: Exception) -> None:
        """Remember the first thing that went wrong, for the report."""
        self.first_error = self.first_error or f"{type(error).__name__}: {error}"

    def report(self, *, folder: str) -> SinkReport:
        """What was written so far; ``folder`` is that of the search if it keeps a journal."""
        return SinkReport(
            tracking_uri=without_credentials(self.server.tracking_uri),
            experiment=self.server.experiment,
            experiment_id=self.server.experiment_id,
            run_id=self.run_ids.get(PARENT, ""),
            runs=len(self.run_ids),
            written=self.written,
            present=self.present,
            lost=self.given_up + self.waiting,
            error=without_credentials(self.first_error),
            folder=folder,
        )

    def write(self, progress: Progress | None = None) -> None:
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
                self.given_up += self.waiting
                self._pending.clear()
            total = len(self._pending)
            for number, key in enumerate(list(self._pending), 1):
                self._write_or_give_up(key)
                if progress:
                    progress(number, total)
            # Last, as a file that is slow or fails should hold up no value.
            for key in list(self._pending):
                with self._turn(key):
                    self._write_files(key, self._pending[key].attached)
                del self._pending[key]

    def _write_or_give_up(self, key: str) -> None:
        buffer = self._pending[key]
        try:
            with self._turn(key):
                self._write_run(key, buffer)
        except Exception as error:
            if not is_refusal(error):
                raise
            self.note(error)
            self.given_up += len(buffer)
            self._pending[key] = Buffer()

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """Inside, a run may be written; a failure puts it behind the others for the next time."""
        try:
            with self._turns.take() as others_wrote:
                if others_wrote:
                    self._found = None
                    self._had_files.update(self.run_ids)
                yield
        except Exception:
            # The answer that never came may have been "made": look before making it again.
            self._found = None
            if key != PARENT:
                self._pending[key] = self._pending.pop(key)
            raise

    def _write_run(self, key: str, buffer: Buffer) -> None:
        run_id = self._open(key, buffer)
        if buffer.inputs:
            self.server.log_inputs(run_id, buffer.inputs)
            self.written += len(buffer.inputs)
            buffer.inputs = []
        while parcel := buffer.parcel():
            self.server.log(run_id, parcel)
            buffer.sent(parcel)
            self.written += len(parcel)
        if buffer.started or buffer.ended:
            self.server.set_status(run_id, *buffer.status)
            self.written += bool(buffer.started) + bool(buffer.ended)
            buffer.started = buffer.ended = None

    def _open(self, key: str, buffer: Buffer) -> str:
        """The id of a run: known, found, or made now."""
        if key in self.run_ids:
            return self.run_ids[key]
        if self._found is None:
            self._found = self.server.runs_of(self._search_id)
        if found := self._found.get(key):
            history = self.server.history
            self.present += buffer.leave_out(found, lambda name: history(found.run_id, name))
            self._had_files.add(key)
            self.run_ids[key] = found.run_id
        else:
            self.run_ids[key] = self._make(key, buffer)
        return self.run_ids[key]

    def _make(self, key: str, buffer: Buffer) -> str:
        started = buffer.started
        if not started:
            raise Refused(f"run '{key}' got values but was never started; call start_run first")
        marks = {SEARCH_TAG: self._search_id, KEY_TAG: key or PARENT_KEY}
        if key != PARENT and self._nested:
            if PARENT not in self.run_ids:
                raise Refused(f"run '{key}' has no parent: the run of the search was refused")
            marks[PARENT_TAG] = self.run_ids[PARENT]
        run_id = self.server.create_run(
            name=started.name, tags={**marks, **buffer.tags}, time_ms=started.time_ms
        )
        self.written += 1 + len(buffer.tags)
        buffer.started, buffer.tags = None, {}
        return run_id

    def _write_files(self, key: str, attached: list[Attached]) -> None:
        """Write files and models; what is there already, or cannot be read, leaves the list."""
        while attached:
            event, run_id = attached[0], self.run_ids[key]
            path = self._base / event.path
            try:
                there = key in self._had_files and self.server.has(run_id, event, path)
                missing = not there and self.server.attach(run_id, event, path)
                self.written += missing
                self.present += not missing
            except Exception as error:
                if not (is_refusal(error) or isinstance(error, FileNotFoundError)):
                    raise
                self.note(error)
                self.given_up += 1
            del attached[0]
