"""Everything of one search in one MLflow experiment, written off the training path."""

import math
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdtune.tracking.canonical import canonical_params, canonical_tags, entity_name
from kdtune.tracking.events import PARENT, STATUS, Ended, Event, Measured, Started, records
from kdtune.tracking.location import without_credentials
from kdtune.tracking.server import Server
from kdtune.tracking.worker import Worker
from kdtune.tracking.writer import Writer

if TYPE_CHECKING:
    from kdtune.contracts import Scalar

NOTE_TAG = "mlflow.note.content"
CLOSE_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class SinkReport:
    """What became of everything that was logged.

    Attributes:
        tracking_uri: Where it went; passwords blanked out.
        experiment: Its name.
        experiment_id: MLflow's id of it, empty if the server was never reached.
        run_id: MLflow's id of the search's own run, empty if it was never made.
        runs: How many runs were written, the search's own included.
        written: Records written; a record is a run's start, its end, or one metric value.
        lost: Records that were not.
        error: The first thing that went wrong, empty if nothing did.
    """

    tracking_uri: str
    experiment: str
    experiment_id: str = ""
    run_id: str = ""
    runs: int = 0
    written: int = 0
    lost: int = 0
    error: str = ""

    def __str__(self) -> str:
        where = f"experiment '{self.experiment}' at {self.tracking_uri}"
        if not self.lost:
            return f"{self.runs} runs in MLflow, {where}"
        return (
            f"{self.lost} of {self.lost + self.written} records did not reach MLflow, {where}: "
            f"{self.error or 'the server was too slow'}. The search's own results are complete; "
            "check that the server runs and that its address is right"
        )


class MLflowSink:
    """A parent run for the search, and a child run for each trial, teacher and finalist.

    Every call returns at once: one daemon thread, started by the first call, makes the experiment
    and the runs and writes in batches. A server that is slow, locked or absent neither blocks nor
    fails the search; :meth:`close` says what it did not take. An object that was pickled, or made
    again with the same ``search_id``, goes on with the runs that are there.

    Args:
        tracking_uri: Of a server or database; MLflow's global one is left alone.
        experiment: Name of the experiment.
        run_name: Name of the search's own run.
        params: Of the search's own run; written as canonical texts, None left out.
        tags: Of the search's own run; user, source, git commit and versions are added.
        note: Markdown that the UI shows on top of the search's own run.
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
        search_id: str = "",
        source: str | Path = ".",
    ) -> None:
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.search_id = search_id or uuid.uuid4().hex
        self._run_name = run_name
        self._params = canonical_params(params or {})
        self._tags = canonical_tags({**(tags or {}), NOTE_TAG: note or None})
        self._source = os.path.abspath(source)
        self._lookup = bool(search_id)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._accepted = 0
        self._open: set[str] = set()
        self._epochs: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        own = ("_lock", "_worker", "_accepted", "_open", "_epochs")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lookup = True
        self._reset()

    def start_run(
        self, key: str, *, name: str, params: Mapping[str, "Scalar"], tags: Mapping[str, str]
    ) -> None:
        """Begin a child run, or go on with it; a run that is open already stays as it is.

        Args:
            key: Names the run within the search, for the other methods.
            name: What a person reads in the list of runs.
            params: Written as canonical texts, None left out.
            tags: ``kind``, ``space``, ``method`` and the like.

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
                name=name,
                params=canonical_params(params),
                tags=canonical_tags(tags),
                time_ms=_now_ms(),
            )
        )
        self._open.add(key)

    def log(self, key: str, *, epoch: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a child run at step ``epoch``.

        NaN and infinities are left out, since MLflow's charts and filters misread them; the tag
        ``nonfinite`` names the latest of them.
        """
        self._measure(key, epoch, metrics)

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
        self._end(PARENT, outcome, None, metrics or {}, tags or {})

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Write now; whether everything was dealt with within ``timeout_s`` seconds."""
        return self._worker.flush(timeout_s) if self._worker else True

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> SinkReport:
        """Write what waits, for ``timeout_s`` seconds at most, and say what was written.

        The sink may be used again afterwards; it goes on with the same runs.
        """
        report = SinkReport(
            tracking_uri=without_credentials(self.tracking_uri), experiment=self.experiment
        )
        if self._worker is None:
            return report
        self._worker.stop(timeout_s)
        writer = self._worker.writer
        report = SinkReport(
            tracking_uri=report.tracking_uri,
            experiment=report.experiment,
            experiment_id=writer.server.experiment_id,
            run_id=writer.run_ids.get(PARENT, ""),
            runs=len(writer.run_ids),
            written=writer.written,
            lost=self._accepted - writer.written,
            error=without_credentials(writer.first_error),
        )
        self._lookup = True
        self._reset()
        return report

    def _measure(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        values = {entity_name(name): float(value) for name, value in metrics.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        left_out = [name for name in values if name not in finite]
        tags = {"nonfinite": f"{left_out[0]} at epoch {epoch}"} if left_out else {}
        self._epochs[key] = epoch
        if finite or tags:
            now = _now_ms()
            self._put(Measured(key=key, epoch=epoch, metrics=finite, time_ms=now, tags=tags))

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
            self._worker.put(event)
            self._accepted += records(event)

    def _new_worker(self) -> Worker:
        server = Server(self.tracking_uri, self.experiment)
        writer = Writer(
            server, search_id=self.search_id, source=Path(self._source), lookup=self._lookup
        )
        worker = Worker(writer)
        parent = Started(
            key=PARENT, name=self._run_name, params=self._params, tags=self._tags, time_ms=_now_ms()
        )
        worker.put(parent)
        self._accepted += records(parent)
        return worker


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
