"""The tracking server dies in the middle of a search, which loses nothing by that."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_in_mlflow import assert_the_same
from mlflow_server import MLflowServer
from searching import WHOLE, one_line, search
from typer.testing import CliRunner

from kdtune.cli import MLFLOW_ENVIRONMENT, app
from kdtune.tracking import read_events
from kdtune.tracking.events import Measured

pytestmark = [pytest.mark.ray, pytest.mark.drill]

WATCHED_S = 200.0


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MLflowServer]:
    for key, value in MLFLOW_ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "server").mkdir()
    server = MLflowServer(tmp_path / "server")
    server.start()
    yield server
    server.kill()


def kill_in_the_middle(server: MLflowServer, journal: Path) -> None:
    """Kill the server once the second trial has reported."""
    deadline = time.monotonic() + WATCHED_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        events = read_events(journal) if any(journal.glob("*.arrows")) else []
        if len({event.key for event in events if isinstance(event, Measured)}) > 2:
            break
    server.kill()


def test_a_sync_brings_back_what_a_dead_server_missed(
    server: MLflowServer, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "lost-server"
    watching = threading.Thread(
        target=kill_in_the_middle, args=(server, storage / name / "journal")
    )
    watching.start()
    done = search(storage, "--name", name, "--tracking-uri", server.uri, *WHOLE)
    watching.join()
    assert done.exit_code == 0, done.output
    assert "records did not reach MLflow" in one_line(done.output)
    assert "'kdtune sync " in one_line(done.output)

    server.start()
    words = ["sync", name, "--storage", str(storage)]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    record = assert_the_same(storage / name, server.uri)
    assert record.search.outcome == "finished"
    kinds = {run.kind for run in record.runs}
    assert kinds == {"teacher", "trial", "finalist", "baseline"}
    second = CliRunner().invoke(app, words)
    assert "; 0 records written, " in one_line(second.output)
