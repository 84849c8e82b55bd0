"""Jobs on a real Ray cluster that asks for a token, through the command line."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.cluster.jobs import connect

pytestmark = pytest.mark.ray

RAYJOB = Path(__file__).parents[2] / "rayjob.yaml"
ENTRYPOINT = shlex.split(yaml.safe_load(RAYJOB.read_text())["spec"]["entrypoint"])
SLOW_TO_END = """
import signal, sys, time

def end(*_):
    time.sleep(4)  # longer than Ray's own 3 s
    print("saved all", flush=True)
    sys.exit(143)

signal.signal(signal.SIGTERM, end)
print("working on", sys.argv[1:], flush=True)
while True:
    signal.pause()
"""
"""A ``kdtune`` that a job runs only if the code that was sent comes before what is installed."""

WITH_OTHER_CODE = """
import sys
import kdtune.search.cluster
other = sys.argv.pop(1)
kdtune.search.cluster.runtime_env = lambda: {"py_modules": [other]}
from kdtune.cli import main
main()
"""


@dataclass(frozen=True)
class Head:
    """A running Ray, and the environment of somebody who may use it."""

    address: str
    folder: Path
    environment: dict[str, str]

    def call(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "kdtune", *arguments],
            env=self.environment | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=90,
        )


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("cluster")
    short = tempfile.TemporaryDirectory(prefix="kd")  # a socket's path has 107 bytes at most
    (folder / "token").write_text("5" * 64)
    dashboard, client, beside = _free_ports(3)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--port=0", "--num-cpus=2", f"--temp-dir={short.name}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={beside}"]
    command += ["--object-store-memory=100000000"]
    with (folder / "ray.log").open("w") as log:
        ray = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        _wait_for_answer(address, ray)
        yield Head(address, folder, environment)
    finally:
        ray.terminate()  # with --block it ends what it started, and nobody else's Ray
        with suppress(subprocess.TimeoutExpired):
            ray.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(ray.pid, signal.SIGKILL)
        short.cleanup()


def test_a_command_runs_on_the_cluster_and_its_output_comes_back(head: Head) -> None:
    done = head.call("submit", head.address, "--", "spaces")
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


@pytest.mark.drill
def test_a_job_is_left_found_again_and_ended_in_order(head: Head) -> None:
    other = head.folder / "other" / "kdtune"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "__main__.py").write_text(SLOW_TO_END)
    submitted = subprocess.Popen(
        [sys.executable, "-c", WITH_OTHER_CODE, str(other), "submit", head.address, "spaces"],
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert submitted.stdout is not None
    assert any("working on ['spaces']" in line for line in submitted.stdout)
    submitted.send_signal(signal.SIGINT)
    _, said = submitted.communicate(timeout=30)
    assert submitted.returncode == 130, said
    assert "the job goes on" in said
    job = re.findall(r"kdtune stop (\S+)", said)[0]

    shown = head.call("status", job, "--address", head.address).stdout
    assert "RUNNING" in shown
    assert "working on" in shown
    unknown = head.call("stop", job[:-1], "--address", head.address)
    assert unknown.returncode == 2
    assert f"did you mean '{job}'?" in "".join(unknown.stderr.split("\n")).replace("  ", " ")
    assert "STOPPED" in head.call("stop", job, "--address", head.address).stdout
    assert "saved all" in head.call("status", job, "--address", head.address).stdout
    followed = head.call("status", job, "--follow", "--address", head.address)
    assert followed.returncode == 143
    assert "over already" in head.call("stop", job, "--address", head.address).stdout


def test_the_launchers_file_opens_the_way_through_ssh(head: Head) -> None:
    """``ray dashboard`` itself, with another program in place of ``ssh``."""
    ssh = head.folder / "bin" / "ssh"
    ssh.parent.mkdir()
    source = Path(__file__).with_name("forwarding_ssh.py").read_text()
    ssh.write_text(f"#!{sys.executable}\n{source}")
    ssh.chmod(0o755)
    tags = {"ray-node-type": "head", "ray-node-status": "up-to-date", "ray-cluster-name": "here"}
    here = {"tags": tags, "state": "running"}
    (head.folder / "ray").mkdir()
    (head.folder / "ray" / "cluster-here.state").write_text(json.dumps({"127.0.0.1": here}))
    provider = {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}
    described = {"cluster_name": "here", "provider": provider, "auth": {"ssh_user": "me"}}
    (head.folder / "here.yaml").write_text(yaml.safe_dump(described | {"max_workers": 0}))
    listed = head.call(
        "status",
        "--address",
        "here.yaml",
        PATH=f"{ssh.parent}:{head.environment['PATH']}",
        RAY_TMPDIR=str(head.folder),
        DASHBOARD_PORT=head.address.rpartition(":")[2],
    )
    assert listed.returncode == 0, listed.stderr
    assert re.search(r"spaces-\S+ +SUCCEEDED", listed.stdout)


def test_without_the_token_nobody_gets_in(head: Head) -> None:
    refused = head.call("status", "--address", head.address, RAY_AUTH_MODE="disabled")
    assert refused.returncode == 2
    assert "RAY_AUTH_MODE=token" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ray://head:10001", "spaces"], "Ray Client"),
        (["cluster", "spaces"], "neither a file"),
        (["http://127.0.0.1:1", "spaces"], "nothing answers"),
        (["http://127.0.0.1:1", "serch"], "did you mean 'search'?"),
        (["http://127.0.0.1:1", "search", "--trails", "3"], "--trials"),
        (["http://127.0.0.1:1", "--", "search"], "goes with the cluster"),
        (["http://127.0.0.1:1", "search", "--storage", "results"], "goes with the cluster"),
        (["http://127.0.0.1:1", "search", "--storage", "s3://bucket/kdtune"], "nothing answers"),
        (["http://127.0.0.1:1", *ENTRYPOINT[1:]], "nothing answers"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_sent(
    arguments: list[str], words: str
) -> None:
    began = time.monotonic()
    result = CliRunner().invoke(app, ["submit", *arguments])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert time.monotonic() - began < 5


def test_a_server_that_is_no_ray_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # Ray would take it instead of ours
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ValueError, match=f"no Ray dashboard at .*:{server.server_port}"):
            connect(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _wait_for_answer(address: str, ray: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while ray.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2)
        except urllib.error.HTTPError:  # it wants a token, so it is up
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("Ray did not start")
