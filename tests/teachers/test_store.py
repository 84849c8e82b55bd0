import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_disk import SmallDisk, mounted

from kdtune.storage import Location, StorageError
from kdtune.teachers.store import (
    DamagedTeacher,
    TeacherError,
    TeacherStore,
    key_of,
    read_weights,
    teacher_identity,
)

STATE = {"w": torch.arange(6.0).reshape(2, 3)}


def _identity(flat: dict[str, Any], **changes: Any) -> dict[str, Any]:
    settings = {"fingerprint": "f", "split": "s", "flip": True, "device": "cpu", **changes}
    return teacher_identity(flat, **settings)


def _publish(store: TeacherStore) -> str:
    return store.publish(_identity({"seed": 1}), STATE, val_accuracy=0.9)


def _weights(folder: Location) -> str:
    """Name of the weights file in a teacher's folder."""
    return next(name for name in folder.names() if name.endswith(".safetensors"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "disk") as small:
        yield small


def test_a_published_teacher_is_read_back(root: Location) -> None:
    store = TeacherStore(root.uri)
    assert key_of(_identity({"seed": 1})) not in store
    key = _publish(store)
    state, record = store.read(key)
    assert key in store
    assert torch.equal(state["w"], STATE["w"])
    assert (record.config, record.val_accuracy) == ({"seed": 1}, 0.9)
    assert set(root.names()) <= {key, f"{key}.lock"}
    assert set(root.child(key).names()) == {"teacher.json", record.file}


def _flipped(folder: Location, name: str) -> None:
    content = bytearray(folder.read(name))
    content[len(content) // 2] ^= 1
    folder.write(name, bytes(content))


DAMAGE: dict[str, Callable[[Location], None]] = {
    "a flipped bit of the weights": lambda f: _flipped(f, _weights(f)),
    "half of the weights": lambda f: f.write(_weights(f), f.read(_weights(f))[:10]),
    "no weights": lambda f: f.remove(_weights(f)),
    "a flipped bit of the record": lambda f: _flipped(f, "teacher.json"),
    "half of the record": lambda f: f.write("teacher.json", f.read("teacher.json")[:50]),
    "an empty record": lambda f: f.write("teacher.json", b""),
    "another accuracy": lambda f: f.write(
        "teacher.json", f.read("teacher.json").replace(b"0.9", b"0.8")
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_teacher_is_found_said_and_replaced(
    root: Location, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = TeacherStore(root.uri)
    key = _publish(store)
    DAMAGE[damage](root.child(key))
    with pytest.raises(DamagedTeacher, match=f"teacher {key} in .* is damaged"):
        store.read(key)
    with caplog.at_level(logging.WARNING):
        assert key not in store
    assert f"teacher {key} in '{root.uri}' is damaged" in caplog.text
    assert _publish(store) == key
    assert torch.equal(store.read(key)[0]["w"], STATE["w"])


def test_a_sound_teacher_is_never_replaced(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    file = tmp_path / _publish(store) / "teacher.json"
    written = file.stat().st_ino
    _publish(store)
    assert file.stat().st_ino == written


def test_a_teacher_under_a_foreign_name_is_refused(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    (tmp_path / _publish(store)).rename(tmp_path / "other")
    with pytest.raises(TeacherError, match="is damaged: it is teacher"):
        store.read("other")


def test_a_half_published_teacher_is_not_there(root: Location) -> None:
    root.child("k").write("0123.safetensors", b"x")
    store = TeacherStore(root.uri)
    assert "k" not in store
    with pytest.raises(KeyError):
        store.read("k")


@pytest.mark.parametrize("key", ["../teachers", "..", "/etc", "a/b", ""])
def test_a_key_cannot_lead_out_of_the_store(root: Location, key: str) -> None:
    store = TeacherStore(root.uri)
    with pytest.raises(StorageError, match="one plain part of a path"):
        store.read(key)
    with pytest.raises(StorageError, match="one plain part of a path"), store.lock(key):
        pass


PUBLISH = """
import sys, torch
from kdtune.teachers.store import TeacherStore
store, number = TeacherStore(sys.argv[1]), 0
while True:
    number += 1
    store.publish({"n": number}, {"w": torch.full((100_000,), number)}, val_accuracy=0.5)
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_publisher_that_is_killed_leaves_whole_teachers(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-c", PUBLISH, str(tmp_path)]
    publisher = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert publisher.stdout is not None
    publisher.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.1))
    publisher.send_signal(signal.SIGKILL)
    done = int((b"1\n" + publisher.stdout.read()).split()[-1])
    publisher.wait()
    store = TeacherStore(tmp_path)
    assert all(key_of({"n": number}) in store for number in range(1, done + 1))
    store.publish({"n": done + 1}, STATE, val_accuracy=0.5)
    assert key_of({"n": done + 1}) in store


TRAIN_ONCE = """
import sys, time, torch
from kdtune.teachers.store import TeacherStore, key_of
store, identity = TeacherStore(sys.argv[1]), {"n": 1}
with store.lock(key_of(identity)):
    if key_of(identity) not in store:
        print("training", flush=True)
        time.sleep(1)
        store.publish(identity, {"w": torch.ones(3)}, val_accuracy=0.5)
"""


def test_a_teacher_is_trained_once_by_all_that_ask_at_once(root: Location, tmp_path: Path) -> None:
    def one(number: int) -> subprocess.Popen[str]:
        # With caches of their own, as on two machines that share nothing but an object store.
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / f"cache-{number}")}
        command = [sys.executable, "-c", TRAIN_ONCE, root.uri]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    said = [process.communicate(timeout=90)[0] for process in [one(0), one(1)]]
    assert sorted(said) == ["", "training\n"]
    assert key_of({"n": 1}) in TeacherStore(root.uri)


def test_a_full_disk_is_named_and_holds_no_half_teacher(disk: SmallDisk) -> None:
    store = TeacherStore(disk.folder)
    key = _publish(store)
    disk.fill()
    identity = _identity({"seed": 2})
    with pytest.raises(StorageError, match=f"'{disk.folder}.*No space left.*free"):
        store.publish(identity, {"w": torch.zeros(10_000)}, val_accuracy=0.9)
    assert key_of(identity) not in store
    assert key in store
    (disk.folder / "ballast").unlink()
    store.publish(identity, {"w": torch.zeros(10_000)}, val_accuracy=0.9)
    assert key_of(identity) in store


def test_a_read_only_store_is_read_and_named_when_it_must_be_written(disk: SmallDisk) -> None:
    store = TeacherStore(disk.folder)
    key = _publish(store)
    disk.make_read_only()
    assert torch.equal(store.read(key)[0]["w"], STATE["w"])
    with (
        pytest.raises(StorageError, match=rf"cannot write '{disk.folder}'.*Read-only.*store"),
        store.lock("another"),
    ):
        pass


def test_the_key_ignores_where_things_are_and_nothing_else() -> None:
    flat = {"dataset": "parquet:/a", "data.root": "/x", "student": "resnet8", "seed": 0}
    key = key_of(_identity(flat))
    assert key_of(_identity({**flat, "dataset": "parquet:/b", "data.root": "/y"})) == key
    others = [{"fingerprint": "g"}, {"split": "t"}, {"flip": False}, {"device": "cuda"}]
    assert key not in {key_of(_identity(flat, **other)) for other in others}
    assert key_of(_identity({**flat, "seed": 1})) != key


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "pickle.pt")
    with pytest.raises(TeacherError, match="not a safetensors file"):
        read_weights(tmp_path / "pickle.pt")


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    key = _publish(TeacherStore(tmp_path))
    record = json.loads((tmp_path / key / "teacher.json").read_text())
    assert set(record) == {"identity", "val_accuracy", "sha256", "dataset", "checksum"}
