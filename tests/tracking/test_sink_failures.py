"""A server that is absent, slow, broken or busy neither blocks nor fails the caller."""

import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Run

from kdtune.tracking import MLflowSink, default_tracking_uri
from kdtune.tracking.buffer import Entry, FoundRun, Parcel
from kdtune.tracking.events import Attached, Measured, Started
from kdtune.tracking.location import first_use, sqlite_file
from kdtune.tracking.turns import Turns
from kdtune.tracking.worker import Worker
from kdtune.tracking.writer import Writer

MakeSink = Callable[..., MLflowSink]
RunsOf = Callable[[], dict[str, Run]]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


def use(sink: MLflowSink, trials: int = 20) -> list[float]:
    """Seconds that each call took."""
    times = []

    def timed(call: Callable[[], None]) -> None:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)

    for number in range(trials):
        key = f"t{number}"
        timed(partial(sink.start_run, key, name=key, params={"p": 1}, tags={}))
        metrics = {f"m{i}": 0.5 for i in range(10)}
        for epoch in range(1, 6):
            timed(partial(sink.log, key, epoch=epoch, metrics=metrics))
        timed(partial(sink.end_run, key, outcome="finished"))
    return times


def test_an_absent_server_costs_nothing_and_is_reported(closed_port: int) -> None:
    sink = MLflowSink(
        tracking_uri=f"http://me:secret@127.0.0.1:{closed_port}", experiment="e", run_name="r"
    )
    times = use(sink)
    assert statistics.median(times) < 0.005
    start = time.perf_counter()
    assert not sink.flush(0.2)
    report = sink.close(10.0)
    assert time.perf_counter() - start < 12.0
    assert report.written == 0
    assert report.lost > 20 * (1 + 50 + 1)
    assert "no MLflow server answers" in report.error
    assert "secret" not in str(report)
    assert "check that the server runs" in str(report)


def test_a_server_that_never_answers_is_left_at_the_deadline(mute_port: int) -> None:
    sink = MLflowSink(tracking_uri=f"http://127.0.0.1:{mute_port}", experiment="e", run_name="r")
    use(sink, trials=1)
    start = time.perf_counter()
    report = sink.close(0.5)
    assert time.perf_counter() - start < 2.0
    assert report.lost > 0


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    uri = default_tracking_uri(tmp_path / "file" / "below")
    sink = MLflowSink(tracking_uri=uri, experiment="e", run_name="r")
    use(sink, trials=1)
    report = sink.close(10.0)
    assert report.lost > 0
    assert "Error" in report.error


def test_a_deleted_experiment_is_named_with_its_remedy(
    make_sink: MakeSink, tracking_uri: str
) -> None:
    client = MlflowClient(tracking_uri=tracking_uri)
    client.delete_experiment(client.create_experiment("gone"))
    sink = make_sink(experiment="gone")
    use(sink, trials=1)
    report = sink.close(30.0)
    assert "mlflow experiments restore" in report.error
    assert report.written == 0


def test_values_without_a_start_are_lost_alone(make_sink: MakeSink, runs_of: RunsOf) -> None:
    sink = make_sink()
    sink.log("never started", epoch=1, metrics={"m": 1.0})
    sink.start_run("a", name="trial", params={}, tags={})
    report = sink.close(30.0)
    assert set(runs_of()) == {"search", "trial"}
    assert report.lost == 1
    assert "call start_run first" in report.error


def test_a_database_in_first_use_by_another_process_is_waited_for(tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path / "new")
    with first_use(uri), pytest.raises(Timeout):
        FileLock(f"{sqlite_file(uri)}.lock", is_singleton=False).acquire(timeout=0)
    FileLock(f"{sqlite_file(uri)}.lock", is_singleton=False).acquire(timeout=0).lock.release()


def found_run(run_id: str) -> FoundRun:
    return FoundRun(
        run_id=run_id, status="RUNNING", ended_ms=None, params={}, tags={}, latest={}, inputs=()
    )


class FakeServer:
    """Fails as often as told, before or after having done what was asked."""

    def __init__(self) -> None:
        self.experiment_id = "1"
        self.failures = 0
        self.delay_s = 0.0
        self.lost_answers = 0
        self.made: list[str] = []
        self.logged: list[Parcel] = []
        self.called = threading.Event()

    def connect(self) -> None:
        self.called.set()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("down")

    def create_run(self, *, name: str, tags: dict[str, str], time_ms: int) -> str:
        self.made.append(name)
        if self.lost_answers:
            self.lost_answers -= 1
            raise ConnectionError("no answer")
        return name

    def runs_of(self, search_id: str) -> dict[str, FoundRun]:
        return {"": found_run(self.made[0])} if self.made else {}

    def history(self, run_id: str, metric: str) -> set[Entry]:
        return set()

    def log(self, run_id: str, parcel: Parcel) -> None:
        time.sleep(self.delay_s)
        self.logged.append(parcel)

    def set_status(self, run_id: str, status: str, time_ms: int | None) -> None: ...

    def attach(self, run_id: str, event: Attached, path: Path) -> bool:
        raise OSError("no store")


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def worker(server: FakeServer, tmp_path: Path) -> Iterator[Worker]:
    writer = Writer(
        server,  # type: ignore[arg-type]
        search_id="s",
        base=tmp_path,
        turns=Turns(None),
        lookup=False,
    )
    worker = Worker(writer, room=100)
    yield worker
    worker.stop(5.0)


START = Started(key="", name="search", params={"p": "1"}, tags={}, time_ms=1)


def test_what_failed_is_written_once_the_server_is_back(server: FakeServer, worker: Worker) -> None:
    server.failures = 2
    worker.put(START)
    worker.stop(10.0)
    assert server.made == ["search"]
    assert [parcel.params for parcel in server.logged] == [{"p": "1"}]
    assert (worker.writer.written, worker.writer.first_error) == (2, "ConnectionError: down")


def test_a_run_whose_creation_was_not_answered_is_not_made_twice(
    server: FakeServer, worker: Worker
) -> None:
    server.lost_answers = 1
    worker.put(START)
    worker.stop(10.0)
    assert server.made == ["search"]
    assert len(server.logged) == 1


def test_events_gather_into_one_call(server: FakeServer, worker: Worker) -> None:
    worker.put(START)
    for epoch in range(50):
        worker.put(Measured(key="", epoch=epoch, metrics={"m": 1.0}, time_ms=epoch))
    assert worker.flush(10.0)
    assert sum(len(parcel.entries) for parcel in server.logged) == 50
    assert len(server.logged) <= 2


def test_a_slow_server_is_written_to_more_rarely(server: FakeServer, worker: Worker) -> None:
    server.delay_s = 0.05
    worker.put(START)
    assert worker.flush(10.0)
    for epoch in range(20):
        worker.put(Measured(key="", epoch=epoch, metrics={"m": 1.0}, time_ms=epoch))
        time.sleep(0.05)
    assert len(server.logged) <= 2
    assert worker.flush(10.0)
    assert sum(len(parcel.entries) for parcel in server.logged) == 20


def test_memory_is_bounded_and_what_had_no_room_is_counted(
    server: FakeServer, worker: Worker
) -> None:
    server.failures = 1_000_000
    worker.put(START)
    for epoch in range(300):
        worker.put(Measured(key="", epoch=epoch, metrics={"m": 1.0, "n": 2.0}, time_ms=epoch))
    worker.put(Started(key="late", name="late", params={"p": "1"}, tags={}, time_ms=1))
    server.failures = 0
    assert worker.flush(20.0)
    kept = sum(len(parcel.entries) for parcel in server.logged)
    assert 50 < kept <= 2 * 100
    assert worker.left == 2 * 300 - kept + 2
    # A run whose start had no room is left to a replay as a whole.
    worker.put(Measured(key="late", epoch=1, metrics={"m": 1.0}, time_ms=1))
    worker.put(Measured(key="", epoch=500, metrics={"m": 1.0}, time_ms=1))
    worker.stop(10.0)
    assert worker.left == 2 * 300 - kept + 3
    assert (worker.writer.given_up, server.made) == (0, ["search"])
    assert sum(len(parcel.entries) for parcel in server.logged) == kept + 1


def test_a_file_that_cannot_be_written_holds_up_no_value(
    server: FakeServer, worker: Worker, tmp_path: Path
) -> None:
    worker.put(START)
    worker.put(Attached(key="", path=str(tmp_path), kind="artifact", place="", time_ms=1))
    for epoch in range(120):  # More than there is room for, were they to wait for the file.
        worker.put(Measured(key="", epoch=epoch, metrics={"m": 1.0}, time_ms=epoch))
        if epoch % 40 == 39:
            worker.flush(0.3)
    worker.stop(10.0)
    assert sum(len(parcel.entries) for parcel in server.logged) == 120
    assert worker.writer.waiting + worker.left == 1
    assert "no store" in worker.writer.first_error
