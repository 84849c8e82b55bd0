"""What is really broken is found and told with a remedy; what works is left as it was."""

import json
import os
import resource
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from kdtune import doctor
from kdtune.cli import app
from kdtune.doctor import CHECKS, Asked, Finding, engines, machine, versions
from kdtune.tracking import MLflowSink, default_tracking_uri


def asked(folder: Path, **more: Any) -> Asked:
    storage = folder / "results"
    uri = default_tracking_uri(storage)
    return Asked(**{"storage": str(storage), "tracking_uri": uri, "timeout_s": 60.0, **more})


def only(check: str, request: Asked) -> Finding:
    """The one finding of a check, which has a remedy if anything is wrong."""
    (found,) = CHECKS[check](request)
    assert bool(found.remedy) == (found.level != "ok")
    return found


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A full file system of 256 kB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        with pytest.raises(OSError, match="No space left"):
            (folder / "full").write_bytes(bytes(10**6))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.ray
def test_a_sound_installation_passes_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(result.stdout)
    assert [each["check"] for each in found] == list(CHECKS)
    failures = [each for each in found if each["level"] == "FAIL"]
    assert (failures, result.exit_code) == ([], 0)
    assert "it runs tasks" in found[-1]["text"]
    assert not list(tmp_path.iterdir())
    assert not psutil.Process().children(recursive=True)


def test_failures_are_printed_with_remedies_and_told_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Asked) -> Iterator[Finding]:
        raise RuntimeError("no such [thing]")

    checks = {"broken": broken, "storage": CHECKS["storage"]}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    result = CliRunner().invoke(app, ["doctor", "--storage", str(tmp_path)])
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "FAIL broken: the check broke: RuntimeError: no such [thing] → " in said
    assert f"ok storage: '{tmp_path}' is writable" in said


def test_a_file_in_place_of_the_storage_is_found(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    found = only("storage", asked(tmp_path))
    assert found.level == "FAIL"
    assert f"the storage '{tmp_path}/results' cannot be written: Not a directory" in found.text


def test_a_full_disk_is_found(tiny_disk: Path) -> None:
    found = only("storage", asked(tiny_disk))
    assert found.level == "FAIL"
    assert "cannot be written: No space left on device" in found.text


def test_a_disk_that_will_soon_be_full_is_found(tiny_disk: Path) -> None:
    (tiny_disk / "full").unlink()
    assert only("storage", asked(tiny_disk)).level == "FAIL"
    assert not list(tiny_disk.iterdir())


def test_a_bucket_that_nobody_serves_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    uri = f"s3://bucket/x?endpoint_override=127.0.0.1:{closed_port}&scheme=http&region=eu-west-1"
    found = only("storage", asked(tmp_path, storage=uri))
    assert found.level == "FAIL"


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nothing listens to."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_a_server_that_is_down_is_found_without_its_password(
    tmp_path: Path, closed_port: int
) -> None:
    uri = f"http://me:secret@127.0.0.1:{closed_port}"
    found = only("tracking", asked(tmp_path, tracking_uri=uri))
    assert found.level == "FAIL"
    assert f"no MLflow server answers at http://***@127.0.0.1:{closed_port}" in found.text
    assert "kdtune sync" in found.remedy


def test_a_file_that_is_no_database_is_found(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mlflow.db").write_bytes(b"not a database" * 100)
    found = only("tracking", asked(tmp_path))
    assert found.level == "FAIL"
    assert "cannot be written: file is not a database" in found.text


def test_a_database_is_left_as_it_is_and_one_of_another_mlflow_is_found(tmp_path: Path) -> None:
    request = asked(tmp_path)
    sink = MLflowSink(tracking_uri=request.tracking_uri, experiment="e", run_name="r")
    sink.end("finished")
    assert sink.close(60.0).complete
    file = tmp_path / "results" / "mlflow.db"
    before = file.read_bytes()
    assert only("tracking", request).level == "ok"
    assert file.read_bytes() == before
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'abc'")
    found = only("tracking", request)
    assert found.level == "FAIL"
    assert "has schema abc, and this MLflow uses" in found.text


def with_versions(monkeypatch: pytest.MonkeyPatch, **changed: str | None) -> None:
    """Let the metadata of packages say other versions; None for a package that is not there."""
    real = metadata.version

    def version(package: str) -> str:
        found = changed.get(package, "")
        if found is None:
            raise metadata.PackageNotFoundError(package)
        return found or real(package)

    monkeypatch.setattr(versions.metadata, "version", version)


def test_packages_that_are_too_old_or_missing_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_versions(monkeypatch, torch="2.5.1", cmaes=None)
    found = list(CHECKS["packages"](asked(tmp_path)))
    texts = [each.text for each in found if each.level == "FAIL"]
    assert texts == [
        "kdtune asks for cmaes>=0.12, and there is none",
        "kdtune asks for torch>=2.7, and there is 2.5.1",
    ]
    assert all("-c constraints.txt" in each.remedy for each in found)
    (unsafe,) = CHECKS["known problems"](asked(tmp_path))
    assert unsafe.level == "warn"
    assert "torch 2.5.1: a damaged checkpoint can overwrite memory" in unsafe.text


def test_packages_that_do_not_fit_each_other_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_versions(monkeypatch, torch="2.8.0")
    found = list(CHECKS["packages"](asked(tmp_path)))
    assert any(
        each.level == "warn" and each.text.startswith("torchvision asks for torch>=")
        for each in found
    )


def test_a_python_that_is_too_old_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions.platform, "python_version", lambda: "3.10.4")
    found = only("python", asked(tmp_path))
    assert (found.level, found.text) == ("FAIL", "Python 3.10.4, and kdtune runs on <3.14,>=3.11")


@pytest.mark.parametrize(
    ("module", "content", "text"),
    [
        (
            "torchvision",
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "RuntimeError: operator torchvision::nms does not exist",
        ),
        ("torch", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("torch", "import time; time.sleep(60)", "no answer within 2 s"),
    ],
    ids=["does not fit", "crashes", "hangs"],
)
def test_a_torch_that_does_not_work_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, content: str, text: str
) -> None:
    (tmp_path / f"{module}.py").write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    limit = 2.0 if "sleep" in content else 60.0
    found = only("torch", asked(tmp_path, timeout_s=limit))
    assert found.level == "FAIL"
    assert text in found.text
    assert "from the same index" in found.remedy


@pytest.mark.parametrize("built", [None, "13.2"])
def test_a_gpu_that_torch_cannot_use_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: str | None
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA T4, 470.10'\n")
    tool.chmod(0o755)
    broken = "raise RuntimeError('The NVIDIA driver on your system is too old')"
    (tmp_path / "torch.py").write_text(
        f"class version:\n    cuda = {built!r}\nclass cuda:\n    def init():\n        {broken}\n"
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = only("gpu", asked(tmp_path))
    assert "there is NVIDIA T4, 470.10" in found.text
    if built:
        assert found.level == "FAIL"
        assert "(CUDA 13.2) cannot use it: The NVIDIA driver on your system is too" in found.text
        assert "update NVIDIA's driver" in found.remedy
    else:
        assert found.level == "warn"
        assert "is built for CPUs alone" in found.text


def test_few_open_files_are_found(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        found = only("open files", asked(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.level, found.text) == ("warn", "256 open files are allowed")


def test_little_shared_memory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_disk: Path
) -> None:
    monkeypatch.setattr(machine, "SHARED", tiny_disk)
    found = only("shared memory", asked(tmp_path))
    assert found.level == "warn"
    assert "--shm-size" in found.remedy


def test_the_memory_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000000000\n")
    monkeypatch.setattr(machine, "MEMORY_LIMITS", (tmp_path / "memory.max",))
    found = only("memory", asked(tmp_path))
    assert (found.level, found.text[:16]) == ("warn", "1.0 GB of memory")


@pytest.mark.parametrize("now", [1e9, 5e9])
def test_a_clock_that_cannot_be_right_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: float
) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    assert only("clock", asked(tmp_path)).level == "FAIL"


def test_a_localhost_without_a_name_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = only("names", asked(tmp_path))
    assert found.level == "FAIL"
    assert "localhost is nothing (Name or service not known)" in found.text


@pytest.mark.parametrize(("mode", "level"), [(0o644, "warn"), (0o600, "ok")])
def test_a_token_of_ray_that_others_can_read_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, level: str
) -> None:
    (tmp_path / "token").touch(mode=mode)
    (tmp_path / "token").chmod(mode)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert only("ray token", asked(tmp_path)).level == level
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "runs code as this user" in only("ray token", asked(tmp_path)).text


def test_a_cluster_that_is_not_there_is_found(tmp_path: Path, closed_port: int) -> None:
    found = only("ray", asked(tmp_path, address=f"127.0.0.1:{closed_port}", timeout_s=8.0))
    assert found.level == "FAIL"
    assert "RAY_AUTH_MODE=token" in found.remedy
    assert not psutil.Process().children(recursive=True)


def test_a_ray_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = "import subprocess, time; subprocess.Popen(['sleep', '300']); time.sleep(300)"
    monkeypatch.setattr(engines, "RAY", hanging)
    found = only("ray", asked(tmp_path, timeout_s=2.0))
    assert "no answer within 2 s" in found.text
    assert not psutil.Process().children(recursive=True)
