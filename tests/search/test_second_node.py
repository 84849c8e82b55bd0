"""A worker on another node runs trials with nothing but what the search ships to it.

The second node's Python has all dependencies and none of kdtune's packages, and the first node has
no CPU to offer, so every trial that finishes has run from the shipped code.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DRIVER = """
import importlib.util
import json
import sys
from pathlib import Path

import ray
from ray._private.state import actors

from kdtune.search.cluster import connected
from kdtune.search.requesting import build_request
from kdtune.search.session import run_search
from kdtune.tracking import default_tracking_uri

address, storage = sys.argv[1], Path(sys.argv[2])


@ray.remote(num_cpus=1)
def shipped():
    packages = ("kdtune", "search_spaces", "trainables")
    origins = [importlib.util.find_spec(name).origin for name in packages]
    return {"node": ray.get_runtime_context().get_node_id(), "modules": origins}


with connected(address):
    found = ray.get(shipped.remote())
    request = build_request(
        "quickstart",
        shortcuts={"train.epochs": 2, "data.train_limit": 200},
        settings=["teacher_epochs=1", "teacher.full_epochs=1", "label_smoothing=0.0"],
        name="far",
        storage=storage,
        tracking_uri=None,
        experiment=None,
        gpus_per_trial=0,
        cpus_per_trial=1,
        seed=0,
        trials=2,
        finalists=1,
        finalist_seeds=1,
    )
    found["code"] = run_search(request, program="kdtune")
    found["head"] = ray.get_runtime_context().get_node_id()
    found["actors"] = [actor["Address"]["NodeID"] for actor in actors().values()]
    found["nodes"] = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
(storage / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the dependencies of this one, but without its editable installs.

    A ``.pth`` file adds this Python's packages; ``.pth`` files that lie there are not read.
    """
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def two_nodes(bare_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster: a first node without CPUs, and a second with a bare Python."""
    session = Path(tempfile.mkdtemp(prefix="kd-"))  # short: the paths of sockets are limited
    away = tmp_path_factory.mktemp("away")
    started: list[subprocess.Popen[bytes]] = []

    def start(python: str, *words: str) -> None:
        command = [python, "-m", "ray.scripts.scripts", "start", "--block", *words]
        with (away / f"node{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=away, env=_plain_environment(), stdout=log, stderr=log
            )
        started.append(process)

    try:
        head = ["--head", "--port=0", "--num-cpus=0", "--include-dashboard=false"]
        start(sys.executable, *head, f"--temp-dir={session}")
        address = _appeared(session / "ray_current_cluster")
        start(str(bare_python), f"--address={address}", "--num-cpus=1")
        yield address
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(60)
        shutil.rmtree(session, ignore_errors=True)


def _plain_environment() -> dict[str, str]:
    """No token either, which ``ray start`` wants as soon as this user has one."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
    return {**outside, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def _appeared(file: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if file.is_file() and file.read_text().strip():
            return file.read_text().strip()
        time.sleep(0.2)
    raise TimeoutError(f"Ray's head node wrote no {file} within a minute")


def test_the_second_nodes_python_lacks_the_code(bare_python: Path, tmp_path: Path) -> None:
    names = ("ray", "torch", "kdtune", "search_spaces", "trainables")
    question = f"import importlib.util as u; print([bool(u.find_spec(n)) for n in {names}])"
    answer = subprocess.check_output(
        [str(bare_python), "-c", question], cwd=tmp_path, env=_plain_environment(), text=True
    )
    assert answer.strip() == str([True, True, False, False, False])


def test_a_search_ships_its_code_to_the_second_node(two_nodes: str, tmp_path: Path) -> None:
    script = tmp_path / "driver" / "driver.py"
    script.parent.mkdir()
    script.write_text(DRIVER)
    storage = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, str(script), two_nodes, str(storage)],
        cwd=script.parent,
        env=_plain_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((storage / "found.json").read_text())
    assert found["code"] == 0, done.stdout[-3000:]
    (second,) = set(found["nodes"]) - {found["head"]}
    assert found["node"] == second
    assert all("/runtime_resources/py_modules_files/" in name for name in found["modules"])
    assert found["actors"]
    assert set(found["actors"]) == {second}
    rows = json.loads((storage / "far" / "leaderboard.json").read_text())
    assert len(rows) == 2
    assert {row["outcome"] for row in rows} <= {"finished", "cut"}
    assert json.loads((storage / "far" / "finalists.json").read_text())[0]["test/accuracy_n"] == 1
