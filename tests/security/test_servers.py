"""What listens does so on this machine alone, and says what it means to have it otherwise."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import requests
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.cli.ui import is_of_this_machine
from kdtune.tracking import MLflowSink, default_tracking_uri

START_S = 90.0


class Served(NamedTuple):
    """A running ``kdtune ui``."""

    process: psutil.Process
    port: int


def listens(process: psutil.Process) -> set[str]:
    """The addresses that a process and all its children listen on."""
    found = set()
    for each in (process, *process.children(recursive=True)):
        for connection in each.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.add(connection.laddr.ip.removeprefix("::ffff:"))
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    storage = tmp_path_factory.mktemp("results")
    uri = default_tracking_uri(storage)
    sink = MLflowSink(tracking_uri=uri, experiment="e", run_name="r")
    sink.end("finished")
    assert sink.close(60.0).complete
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["ui", "--storage", str(storage), "--port", str(port)]
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_BACKEND_STORE_URI")
    started = subprocess.Popen(
        [sys.executable, "-c", "from kdtune.cli import main; main()", *words],
        env={key: value for key, value in os.environ.items() if key not in names},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # its workers end with it
    )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Served(psutil.Process(started.pid), port)
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(timeout=30)


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=START_S).ok
    except requests.ConnectionError:
        return False


@pytest.mark.slow
def test_the_ui_listens_on_this_machine_alone(served: Served) -> None:
    assert listens(served.process) == {"127.0.0.1"}


@pytest.mark.slow
@pytest.mark.parametrize("host", ["evil.example.org", "10.evil.example.org", "192.168.evil.org"])
def test_the_ui_is_not_for_names_that_only_lead_here(served: Served, host: str) -> None:
    """DNS rebinding: a page of a stranger's name whose address becomes this machine's."""
    uri = f"http://127.0.0.1:{served.port}/ajax-api/2.0/mlflow/experiments/search?max_results=1"
    assert requests.get(uri, timeout=START_S).status_code == 200
    asked = requests.get(uri, headers={"Host": f"{host}:{served.port}"}, timeout=START_S)
    assert asked.status_code == 403


@pytest.mark.slow
def test_the_database_is_not_among_the_arguments_that_all_users_can_read(served: Served) -> None:
    family = (served.process, *served.process.children(recursive=True))
    assert not any("sqlite" in word for each in family for word in each.cmdline())


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *(("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True)),
        *(("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)),
        *(("localhost.example.org", False), ("127.0.0.1.example.org", False)),
    ],
)
def test_an_address_that_others_reach_is_told_with_its_risk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, own: bool
) -> None:
    assert is_of_this_machine(host) is own
    (tmp_path / "mlflow.db").touch()
    begun: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: begun.append(words))
    for name in ("BACKEND_STORE_URI", "SERVER_ALLOWED_HOSTS", "SERVER_ENABLE_JOB_EXECUTION"):
        monkeypatch.setenv(f"MLFLOW_{name}", "")  # brought back after the test
    result = CliRunner().invoke(app, ["ui", "--storage", str(tmp_path), "--host", host])
    assert result.exit_code == 0, result.output
    assert ("can read and change all runs" in result.output) is not own
    assert begun[0][begun[0].index("--host") + 1] == host


def test_no_address_at_all_is_not_taken_for_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    result = CliRunner().invoke(app, ["ui", "--storage", str(tmp_path), "--host", ""])
    assert result.exit_code == 2
    assert "must name an address" in result.output


CONNECTED = """
import psutil, sys, time
sys.path.insert(0, sys.argv[1])
from test_servers import listens
from kdtune.search.cluster import connected
with connected(""):
    import ray
    ray.get(ray.remote(lambda: 1).remote())
    print("listens", *listens(psutil.Process()), ray.is_initialized())
"""


@pytest.mark.ray
def test_a_ray_that_starts_here_listens_on_this_machine_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONNECTED, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "listens 127.0.0.1 True" in done.stdout
