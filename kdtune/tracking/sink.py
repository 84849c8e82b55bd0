"""Everything of one search: in its journal at once, in one MLflow experiment a little later."""

import math
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdtune.tracking.canonical import (
    MAX_NAME,
    canonical_params,
    canonical_tags,
    clipped,
    entity_name,
)
from kdtune.tracking.events import (
    PARENT,
    STATUS,
    Attached,
    DatasetUse,
    Ended,
    Event,
    Measured,
    Started,
    Tagged,
)
from kdtune.tracking.journal import Header, Journal, read_segments, segments
from kdtune.tracking.location import anchored, without_credentials
from kdtune.tracking.provenance import origin_tags, version_tags
from kdtune.tracking.server import Server
from kdtune.tracking.sink_report import SinkReport
from kdtune.tracking.told import Told
from kdtune.tracking.turns import Turns
from kdtune.tracking.worker import Worker
from kdtune.tracking.writer import Writer

if TYPE_CHECKING:
    from kdtune.contracts import Scalar

NOTE_TAG = "mlflow.note.content"
LASTING = (
    *("tracking_uri", "experiment", "search_id", "_run_name", "_params", "_tags", "_inputs"),
    *("_folder", "_source"),
)
"""What a pickled sink consists of."""
KINDS = ("artifact", "model")
CLOSE_TIMEOUT_S = 30.0
ROOM, ROOM_BESIDE_A_JOURNAL = 2_000_000, 200_000
"""Records kept in memory for a server that does not answer: some 200 bytes each."""


class MLflowSink:
    """A parent run for the search, and a child run for each trial, teacher and finalist.

    Every call returns at once. It appends to the journal; MLflow is written in batches by a daemon
    thread, which the first call starts. A server that is slow, locked or absent neither blocks nor
    fails the search: :meth:`close` says what it did not take, and a replay of the journal brings
    it there. An object that was pickled, or made again with the same ``search_id``, goes on with
    the runs that are there.

    Args:
        tracking_uri: Of a server or database; MLflow's global one is left alone.
        experiment: Name of the experiment.
        run_name: Name of the search's own run.
        params: Of the search's own run; written as canonical texts, None left out.
        tags: Of the search's own run; user, source, git commit and versions are added.
        note: Markdown that the UI shows on top of the search's own run.
        inputs: What the search reads.
        journal: Folder of the journal, in the folder of the search; None for none.
        search_id: Tells the runs of this search from all others; made up if empty.
        source: Folder whose git commit is recorded.
    """

    def __init__(
        self,
        *,
        tracking_uri: str,
        experiment: str,
        run_name: str,
        params: Mapping[str, "Scalar"] | None = None,
        tags: Mapping[str, str] | None = None,
        note: str = "",
        inputs: Sequence[DatasetUse] = (),
        journal: Path | None = None,
        search_id: str = "",
        source: str | Path = ".",
    ) -> None:
        self.tracking_uri = anchored(tracking_uri)
        self.experiment = experiment
        self.search_id = (search_id or uuid.uuid4().hex).replace("'", "_")
        self._run_name = clipped(run_name, MAX_NAME)
        self._params = canonical_params(params or {})
        self._tags = canonical_tags({**(tags or {}), NOTE_TAG: note or None})
        self._inputs = tuple(inputs)
        self._folder = journal.absolute() if journal else None
        self._source = os.path.abspath(source)
        self._lookup = self._behind = bool(search_id)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._journal: Journal | None = None
        self._unjournaled = 0
        self._journal_error = ""
        self._beginless: set[str] = set()
        self._origin: dict[str, str] = {}
        self._open: set[str] = set()
        self._epochs: dict[str, int] = {}
        self._told: Told | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in LASTING}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lookup = self._behind = True
        self._reset()

    def start_run(
        self,
        key: str,
        *,
        name: str,
        params: Mapping[str, "Scalar"],
        tags: Mapping[str, str],
        inputs: Sequence[DatasetUse] = (),
    ) -> None:
        """Begin a child run; a key that was begun already goes on.

        Args:
            key: Names the run within the search, for the other methods.
            name: What a person reads in the list of runs.
            params: Written as canonical texts, None left out.
            tags: ``kind``, ``space``, ``method`` and the like.
            inputs: What it reads.

        Raises:
            ValueError: If ``key`` is empty, which names the search's own run.
        """
        if key == PARENT:
            raise ValueError("a child run needs a key, got ''")
        if key in self._open:
            return
        self._put(
            Started(
                key=key,
                name=clipped(name, MAX_NAME),
                params=canonical_params(params),
                tags={**self._identity(), **canonical_tags(tags)},
                time_ms=_now_ms(),
                inputs=tuple(inputs),
            )
        )
        self._open.add(key)

    def log(self, key: str, *, epoch: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a child run at step ``epoch``.

        NaN and infinities are left out, since MLflow's charts and filters misread them; the tag
        ``nonfinite`` names the latest of them.
        """
        self._measure(key, epoch, metrics)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Tag a run that was started; ``PARENT`` is the key of the search's own."""
        self._put(Tagged(key=key, tags=canonical_tags(tags), time_ms=_now_ms()))

    def attach(
        self,
        key: str,
        path: str | Path,
        *,
        kind: str = "artifact",
        place: str = "",
        register: str = "",
    ) -> None:
        """Keep a file or folder with a run; it is read when it is written, not now.

        Args:
            key: As in :meth:`start_run`; ``PARENT`` is that of the search's own run.
            path: Of the file or folder.
            kind: ``artifact``, or ``model`` for the folder of a saved student.
            place: Folder among the run's artifacts, or the name of the model.
            register: Name under which the model is registered; empty for none.

        Raises:
            ValueError: If ``kind`` is neither.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got '{kind}'")
        file = Path(path).absolute()
        if self._folder and file.is_relative_to(self._base):
            file = file.relative_to(self._base)
        self._put(
            Attached(
                key=key,
                path=file.as_posix(),
                kind=kind,
                place=entity_name(place) if place else "",
                register=register,
                time_ms=_now_ms(),
            )
        )

    def end_run(
        self,
        key: str,
        *,
        outcome: str,
        epoch: int | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """End a child run.

        Args:
            key: As in :meth:`start_run`.
            outcome: ``finished``, ``cut``, ``diverged``, ``failed`` or ``stopped``.
            epoch: Last epoch reached; by default that of the last :meth:`log`.
            metrics: Written once, at ``epoch``.
            tags: Added to the run's own and to ``outcome`` (and ``cut_epoch``).

        Raises:
            ValueError: If ``outcome`` is none of these.
        """
        self._end(key, outcome, epoch, metrics or {}, tags or {})

    def end(
        self,
        outcome: str,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """End the search's own run; arguments as in :meth:`end_run`."""
        self._end(PARENT, outcome, 0, metrics or {}, tags or {})

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Write now; whether everything was dealt with within ``timeout_s`` seconds."""
        return self._worker.flush(timeout_s) if self._worker else True

    @property
    def journal_error(self) -> str:
        """What kept the journal from taking something first; empty if it took everything."""
        return self._journal_error

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> SinkReport:
        """Write what waits, for ``timeout_s`` seconds at most, and say what was written.

        The sink may be used again afterwards; it goes on with the same runs.
        """
        if self._worker is None:
            uri = without_credentials(self.tracking_uri)
            return SinkReport(tracking_uri=uri, experiment=self.experiment)
        self._worker.stop(timeout_s)
        if self._journal:
            with suppress(OSError):  # Only the mark of its end is missing then.
                self._journal.close()
        report = self._worker.writer.report(folder=str(self._base) if self._folder else "")
        report = replace(
            report,
            lost=report.lost + self._worker.left,
            unjournaled=self._unjournaled,
            journal_error=self._journal_error,
        )
        self._lookup, self._behind = True, report.lost > 0
        self._reset()
        return report

    def _measure(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        values = {entity_name(name): float(value) for name, value in metrics.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        left_out = [name for name in values if name not in finite]
        tags = {"nonfinite": f"{left_out[0]} at epoch {epoch}"} if left_out else {}
        self._epochs[key] = epoch
        finite = self._told_before().new(key, epoch, finite)
        if finite or tags:
            now = _now_ms()
            self._put(Measured(key=key, epoch=epoch, metrics=finite, time_ms=now, tags=tags))

    def _told_before(self) -> Told:
        """Read when the first value comes, and only if there may have been another process."""
        if self._told is None:
            files = segments(self._folder) if self._lookup and self._folder else []
            try:
                self._told = Told(read_segments(files).events if files else ())
            except (OSError, ValueError):  # Told by who writes to MLflow.
                self._told = Told()
        return self._told

    def _end(
        self,
        key: str,
        outcome: str,
        epoch: int | None,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        if outcome not in STATUS:
            raise ValueError(f"outcome must be one of {', '.join(STATUS)}, got '{outcome}'")
        epoch = self._epochs.get(key, 0) if epoch is None else epoch
        if metrics:
            self._measure(key, epoch, metrics)
        own = {"outcome": outcome} | ({"cut_epoch": str(epoch)} if outcome == "cut" else {})
        self._put(
            Ended(key=key, outcome=outcome, tags=canonical_tags({**tags, **own}), time_ms=_now_ms())
        )
        self._open.discard(key)

    def _put(self, event: Event) -> None:
        with self._lock:
            if self._worker is None:
                self._worker = self._new_worker()
                self._record(
                    Started(
                        key=PARENT,
                        name=self._run_name,
                        params=self._params,
                        tags={**self._identity(), **version_tags(), **self._tags},
                        time_ms=event.time_ms,
                        inputs=self._inputs,
                    )
                )
            self._record(event)

    def _record(self, event: Event) -> None:
        """One event to the journal, then to the thread; a search never fails for its log."""
        if self._journal:
            try:
                if event.key in self._beginless:
                    raise ValueError(f"the beginning of run '{event.key}' is not there")
                self._journal.put(event)
            except (OSError, ValueError) as error:
                self._unjournaled += 1
                self._journal_error = self._journal_error or str(error)
                if isinstance(event, Started):
                    self._beginless.add(event.key)
        assert self._worker is not None
        self._worker.put(event)

    def _new_worker(self) -> Worker:
        earlier: list[Path] = []
        if self._folder:
            earlier = segments(self._folder) if self._behind else []
            header = Header(
                search_id=self.search_id,
                experiment=self.experiment,
                tracking_uri=without_credentials(self.tracking_uri),
                run_name=self._run_name,
            )
            self._journal = Journal(self._folder, header)
        writer = Writer(
            Server(self.tracking_uri, self.experiment),
            search_id=self.search_id,
            base=self._base,
            turns=Turns(self._folder),
            lookup=self._lookup,
            earlier=earlier,
        )
        return Worker(writer, room=ROOM_BESIDE_A_JOURNAL if self._folder else ROOM)

    @property
    def _base(self) -> Path:
        """Where relative paths begin: the folder of the search."""
        return self._folder.parent if self._folder else Path()

    def _identity(self) -> dict[str, str]:
        """Tags that say where a run came from."""
        self._origin = self._origin or origin_tags(Path(self._source))
        return self._origin


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
