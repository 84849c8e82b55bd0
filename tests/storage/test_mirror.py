"""A search's folder in an object store, and back from there, whatever happens on the way."""

import hashlib
import json
import logging
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from object_store import ObjectStore

from kdtune.storage import Location, Mirror, MirrorReport, StorageError, download, fetch

SEARCH = {
    "search.log": b"1\n2\n",
    "journal/0001-host.arrows": b"\x00\xff",
    "students/finalist-1/student.safetensors": bytes(100),
    "Bericht ü.html": b"<html>",
}


@pytest.fixture
def remote(objects: ObjectStore, tmp_path: Path) -> Location:
    return objects.location(tmp_path.name).child("my search")


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def held(folder: Path) -> dict[str, bytes]:
    """What is in a folder, hidden files apart."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    return {path: p.read_bytes() for path, p in files.items() if not p.name.startswith(".")}


def mirrored(local: Path, remote: Location) -> MirrorReport:
    mirror = Mirror(local, remote)
    mirror.start()
    return mirror.close(20)


def test_a_search_comes_back_as_it_was(tmp_path: Path, remote: Location) -> None:
    others = {"tune/a/checkpoint_000000/x": b"x", "driver.lock": b"", ".draft-1": b"half"}
    local = fill(tmp_path / "here", {**SEARCH, **others})
    report = mirrored(local, remote)
    assert (report.complete, report.uploads) == (True, len(SEARCH))
    assert fetch(remote, tmp_path / "there")
    assert held(tmp_path / "there") == SEARCH
    assert not fetch(remote.child("never"), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_only_what_changed_is_brought_and_what_went_goes(tmp_path: Path, remote: Location) -> None:
    local = fill(tmp_path / "here", SEARCH)
    mirrored(local, remote)
    (local / "Bericht ü.html").unlink()
    (local / "journal/0001-host.arrows").touch()
    changed = {"search.log": b"1\n2\n3\n", "leaderboard.csv": b"a,b"}
    fill(local, changed)
    assert mirrored(local, remote).uploads == 2
    fetch(remote, tmp_path / "there")
    left = {path: content for path, content in SEARCH.items() if path != "Bericht ü.html"}
    assert held(tmp_path / "there") == {**left, **changed}
    assert "Bericht ü.html" not in remote.names()


def test_changes_are_brought_while_the_search_runs(tmp_path: Path, remote: Location) -> None:
    local = fill(tmp_path / "here", SEARCH)
    mirror = Mirror(local, remote, every_s=0.05)
    mirror.start()
    for content in (b"3\n", b"3\n4"):
        (local / "search.log").write_bytes(content)
        deadline = time.monotonic() + 10
        while "search.log" not in remote.names() or remote.read("search.log") != b"3\n":
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert mirror.close(10).complete
    assert remote.read("search.log") == b"3\n", "a line that is being written is not brought"


@pytest.mark.parametrize("last", range(9))
def test_a_mirror_that_dies_after_any_of_its_requests_leaves_a_whole_search(
    tmp_path: Path, remote: Location, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = fill(tmp_path / "here", SEARCH)
    mirrored(local, remote)
    changed = {path: content * 2 for path, content in SEARCH.items()}
    fill(local, changed)
    write, left = Location.write, iter(range(last))

    def write_until_dead(self: Location, name: str, content: bytes) -> None:
        if next(left, None) is None:
            raise StorageError("dead")
        write(self, name, content)

    monkeypatch.setattr(Location, "write", write_until_dead)
    mirror = Mirror(local, remote)
    mirror.start()
    complete = mirror.close(0.9).complete
    monkeypatch.undo()
    (local / ".mirror").unlink()
    assert fetch(remote, tmp_path / "there")
    found = held(tmp_path / "there")
    assert found.keys() == SEARCH.keys()
    assert all(found[path] in (SEARCH[path], changed[path]) for path in SEARCH)
    assert found == changed or found["search.log"] == SEARCH["search.log"]
    assert complete == (last == 8), "the manifest twice for the log, twice for the rest, the files"


WRITE = """
import hashlib, sys
from pathlib import Path
from kdtune.storage import Location, Mirror
from kdtune.replacing import replace_file
folder, number = Path(sys.argv[1]), 0
folder.mkdir()
Mirror(folder, Location.parse(sys.argv[2]), every_s=0.01).start()
with (folder / "search.log").open("a", buffering=1) as log:
    while True:
        number += 1
        content = str(number).encode() * (1 + number % 7 * 5000)
        replace_file(folder / "students" / f"{number % 5}", content)
        log.write(f"{number} {hashlib.sha256(content).hexdigest()}\\n")
        print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_mirror_that_is_killed_leaves_a_whole_search(
    tmp_path: Path, remote: Location, seed: int
) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path / "here"), remote.uri]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    deadline = time.monotonic() + 20
    while "search.log" not in remote.names():
        assert time.monotonic() < deadline
        writer.stdout.read1()
    until = time.monotonic() + random.Random(seed).uniform(0.1, 1.0)
    while time.monotonic() < until:
        writer.stdout.read1()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert fetch(remote, tmp_path / "there")
    found = held(tmp_path / "there")
    lines = found.pop("search.log").decode()
    assert lines.endswith("\n")
    told = dict(line.split(" ") for line in lines.splitlines())
    assert [*told] == [str(number) for number in range(1, len(told) + 1)]
    assert len(found) == min(5, len(told))
    for path, content in found.items():
        number = _number_of(content)
        latest = max(n for n in range(len(told) + 1) if f"students/{n % 5}" == path)
        assert number >= latest, "the log tells of a file that is not there yet"
        if str(number) in told:
            assert hashlib.sha256(content).hexdigest() == told[str(number)]


def _number_of(content: bytes) -> int:
    """The number whose repetition the writer wrote."""
    text = content.decode()
    sizes = range(1, 8)
    return int(next(text[:n] for n in sizes if _times(text, n) == 1 + int(text[:n]) % 7 * 5000))


def _times(text: str, length: int) -> int:
    whole, rest = divmod(len(text), length)
    return whole if not rest and text == text[:length] * whole else 0


def test_an_outage_costs_nothing_but_time(
    tmp_path: Path, objects: ObjectStore, remote: Location
) -> None:
    local = fill(tmp_path / "here", SEARCH)
    mirror = Mirror(local, remote, every_s=0.05)
    objects.stop()
    mirror.start()
    time.sleep(0.2)
    objects.start()
    assert mirror.close(60).complete
    fetch(remote, tmp_path / "there")
    assert held(tmp_path / "there") == SEARCH


def test_what_could_not_be_brought_is_named(
    tmp_path: Path, objects: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = Mirror(fill(tmp_path / "here", SEARCH), objects.location("x", bucket="missing"))
    mirror.start()
    with caplog.at_level(logging.WARNING):
        report = mirror.close(2)
    assert not report.complete
    assert set(report.behind) == set(SEARCH)
    assert "make the bucket first" in report.problem
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_the_folder_that_is_mirrored_is_the_latest_itself(tmp_path: Path, remote: Location) -> None:
    local = fill(tmp_path / "here", SEARCH)
    mirrored(local, remote)
    fill(local, {"search.log": b"1\n2\nnot mirrored yet\n"})
    before = held(local)
    assert fetch(remote, local)
    assert held(local) == before
    assert mirrored(local, remote).complete
    assert remote.read("search.log") == before["search.log"]


def test_a_search_that_went_on_elsewhere_replaces_the_older_one(
    tmp_path: Path, remote: Location, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = fill(tmp_path / "first", SEARCH), tmp_path / "second"
    mirrored(first, remote)
    fetch(remote, second)
    fill(second, {"search.log": b"1\n2\nelsewhere\n"})
    assert mirrored(second, remote).complete
    fill(first, {"search.log": b"1\n2\nnever mirrored\n"})
    late = mirrored(first, remote)
    assert "another folder is mirrored there" in late.problem
    assert fetch(remote, first)
    assert held(first) == held(second)
    assert held(tmp_path / "first.aside-1")["search.log"] == b"1\n2\nnever mirrored\n"
    assert "first.aside-1" in caplog.text
    assert mirrored(first, remote).complete


def test_a_folder_that_does_not_come_from_there_replaces_nothing(
    tmp_path: Path, remote: Location
) -> None:
    mirrored(fill(tmp_path / "first", SEARCH), remote)
    report = mirrored(fill(tmp_path / "second", {"search.log": b"another\n"}), remote)
    assert "another folder is mirrored there" in report.problem
    assert remote.read("search.log") == SEARCH["search.log"]


def test_a_damaged_log_is_refused_and_any_other_file_left_out(
    tmp_path: Path, remote: Location, caplog: pytest.LogCaptureFixture
) -> None:
    mirrored(fill(tmp_path / "here", SEARCH), remote)
    remote.write("Bericht ü.html", b"<htmk>")
    remote.child("journal").remove("0001-host.arrows")
    assert fetch(remote, tmp_path / "there")
    left_out = {"Bericht ü.html", "journal/0001-host.arrows"}
    assert held(tmp_path / "there").keys() == SEARCH.keys() - left_out
    assert all(path in caplog.text for path in left_out)
    remote.write("search.log", b"1\n2")
    with pytest.raises(StorageError, match=r"'search.log' in .*sha256 differs"):
        fetch(remote, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("path", ["../outside", "/outside", "a/../../outside"])
def test_a_manifest_cannot_lead_out_of_the_folder(
    tmp_path: Path, remote: Location, path: str
) -> None:
    files = {path: [hashlib.sha256(b"").hexdigest()]}
    remote.write("mirror.json", json.dumps({"writer": "w", "files": files}).encode())
    with pytest.raises(StorageError, match="one plain part of a path"):
        fetch(remote, tmp_path / "there")
    assert [*tmp_path.iterdir()] == []


def test_a_damaged_manifest_is_named(tmp_path: Path, remote: Location) -> None:
    remote.write("mirror.json", b'{"writer": ')
    with pytest.raises(StorageError, match=r"'mirror.json' in 's3://.*is damaged"):
        fetch(remote, tmp_path / "there")


def test_a_folder_is_copied_whole_from_wherever_it_lies(location: Location, tmp_path: Path) -> None:
    deep = location.child("checkpoint_000001").child("student")
    deep.write("student.json", b"{}")
    deep.child("more").write("weights ü", bytes(10))
    local = download(deep, tmp_path / "students" / "finalist 1")
    assert held(local) == {"student.json": b"{}", "more/weights ü": bytes(10)}
    with pytest.raises(StorageError, match="cannot copy"):
        download(deep, local)
    with pytest.raises(FileNotFoundError):
        download(location.child("never"), tmp_path / "never")
    assert [p.name for p in (tmp_path / "students").iterdir()] == ["finalist 1"]
