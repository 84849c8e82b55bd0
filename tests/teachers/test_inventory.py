"""What lies in a store, and what goes when it is cleared."""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stored import flip_a_bit, put, weights_file

from kdtune.storage import Claim, Claimed, Location
from kdtune.teachers.inventory import (
    Leftover,
    entries,
    find_key,
    keys,
    leftovers,
    problem_of,
    remove_leftover,
    remove_teacher,
)
from kdtune.teachers.store import RECORD, TeacherStore

Damage = Callable[[Location], None]


def rewrite(file: Path, **changes: Any) -> None:
    """Change a record, None for dropping a field, and let its checksum agree."""
    found = {**json.loads(file.read_text()), **changes}
    fields = {key: v for key, v in found.items() if v is not None and key != "checksum"}
    text = json.dumps(fields, sort_keys=True).encode()
    file.write_text(json.dumps({**fields, "checksum": hashlib.sha256(text).hexdigest()}))


def test_every_teacher_is_listed_with_its_record_and_nothing_else_is(root: Location) -> None:
    store = TeacherStore(root.uri)
    one, other = put(store), put(store, seed=1)
    root.child("signals").child(one).write("x", b"0")
    root.write("notes.txt", b"mine")
    found = {entry.key: entry for entry in entries(store)}
    assert found.keys() == {one, other}
    assert [found[one].record, found[other].record] == [store.record(one), store.record(other)]
    assert found[one].record is not None
    assert found[one].record.dataset == "parquet:/data/cats"
    folder = root.child(one)
    assert found[one].bytes == sum(len(folder.read(name)) for name in folder.names())
    assert all(entry.stored_s > 1e9 and not entry.problem for entry in found.values())


def test_the_latest_comes_first(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    stored = [put(store, seed=seed) for seed in range(3)]
    for age, key in enumerate(stored):
        os.utime(tmp_path / key / RECORD, (2e9 - age, 2e9 - age))
    assert [entry.key for entry in entries(store)] == stored


def test_a_store_that_is_not_there_is_empty(root: Location) -> None:
    store = TeacherStore(root.child("none").uri)
    assert (entries(store), leftovers(store), keys(store)) == ([], [], [])


DAMAGE: dict[str, tuple[Damage, str]] = {
    "weights": (lambda f: flip_a_bit(f, weights_file(f)), "sha256 of its weights"),
    "no weights": (lambda f: f.remove(weights_file(f)), "it has no weights"),
    "record": (lambda f: flip_a_bit(f, RECORD), "its record is not what was stored"),
    "no record": (lambda f: f.remove(RECORD), "its writing was cut short"),
}


@pytest.mark.parametrize("part", DAMAGE)
def test_what_is_wrong_with_a_teacher_is_said(root: Location, part: str) -> None:
    store = TeacherStore(root.uri)
    key, sound = put(store), put(store, seed=1)
    damage, said = DAMAGE[part]
    damage(root.child(key))
    assert said in problem_of(store, key)
    assert problem_of(store, sound) == ""


def test_a_teacher_whose_record_is_damaged_is_listed_as_such(root: Location) -> None:
    store = TeacherStore(root.uri)
    key = put(store)
    flip_a_bit(root.child(key), RECORD)
    (entry,) = entries(store)
    assert entry.record is None
    assert "its record is not what was stored" in entry.problem


def test_a_record_of_an_earlier_version_has_no_dataset_and_is_read(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    key = put(store)
    rewrite(tmp_path / key / RECORD, dataset=None)
    assert store.record(key).dataset == ""
    assert problem_of(store, key) == ""


def test_a_teacher_of_another_schema_is_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TeacherStore(tmp_path)
    monkeypatch.setattr("kdtune.teachers.store.SCHEMA", 2)
    old = put(store)
    monkeypatch.undo()
    new = put(store)
    assert {entry.key: entry.outdated for entry in entries(store)} == {old: True, new: False}


def test_the_first_digits_name_a_teacher(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    key = put(store)
    other = "0" * 16 if key[0] != "0" else "1" * 16
    (tmp_path / other).mkdir()
    assert find_key(store, key[:3]) == find_key(store, f"store:{key}") == key


@pytest.mark.parametrize("text", ["", "x", "store:"])
def test_a_key_that_is_not_there_is_told_the_nearest(tmp_path: Path, text: str) -> None:
    store = TeacherStore(tmp_path)
    with pytest.raises(ValueError, match="which has no teachers"):
        find_key(store, text)
    key = put(store)
    with pytest.raises(ValueError, match=f"no teacher '.*' in '{tmp_path}'; the nearest are {key}"):
        find_key(store, text)


def test_digits_that_several_keys_begin_with_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"ab{number}{'0' * 13}").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"'ab' begins 3 keys: ab0.*, ab1.*, ab2.*; give more"):
        find_key(TeacherStore(tmp_path), "ab")


def test_a_deleted_teacher_is_gone_with_its_signals_and_its_lock(root: Location) -> None:
    store = TeacherStore(root.uri)
    key, other = put(store), put(store, seed=1)
    signals = root.local / "signals"
    for each in (key, other):
        (signals / each).mkdir(parents=True)
        (signals / each / "logits").write_bytes(b"0")
    remove_teacher(store, key)
    assert keys(store) == [other]
    assert key not in store
    assert [path.name for path in signals.iterdir()] == [other]
    assert not (root.local / f"{key}.lock").exists()
    assert put(store) == key


def held_elsewhere(store: TeacherStore, key: str, act: Callable[[], object]) -> None:
    """Do something while another thread, as another process, trains a teacher."""
    ready, over = threading.Event(), threading.Event()

    def train() -> None:
        with store.lock(key):
            ready.set()
            over.wait(30)

    trainer = threading.Thread(target=train)
    trainer.start()
    ready.wait(30)
    try:
        act()
    finally:
        over.set()
        trainer.join()


def test_a_teacher_in_training_is_not_deleted(root: Location) -> None:
    store = TeacherStore(root.uri)
    key = put(store)

    def delete() -> None:
        with pytest.raises(Claimed, match=f"teacher {key} in .* is being trained"):
            remove_teacher(store, key)

    held_elsewhere(store, key, delete)
    assert key in store


def test_what_dead_writers_left_is_found_and_deleted(
    root: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdtune.teachers.store.Claim", partial(Claim, settle_s=0.05, stale_s=0.0))
    store = TeacherStore(root.uri)
    key, absent = put(store), "0123456789abcdef"
    with store.lock(absent):
        pass
    root.child(key).write(".draft-1", b"half")
    if not root.is_local:
        root.write(f"{absent}.json", b"{}")
    (root.local / "mine.lock").write_text("")
    found = leftovers(store)
    expected = {f"{absent}.lock", ".draft-1"} | (set() if root.is_local else {f"{absent}.json"})
    assert {leftover.name for leftover in found} == expected
    for leftover in found:
        remove_leftover(store, leftover)
    assert leftovers(store) == []
    assert (problem_of(store, key), (root.local / "mine.lock").exists()) == ("", True)


def test_a_teacher_that_was_trained_again_meanwhile_stays(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    key = put(store)
    folder = store.location.child(key)
    (tmp_path / key / RECORD).unlink()
    put(store)
    assert not remove_teacher(store, key, if_damaged=True)
    weights = Leftover(folder, weights_file(folder), key)
    assert not remove_leftover(store, weights)
    assert problem_of(store, key) == ""
    flip_a_bit(folder, weights_file(folder))
    assert remove_teacher(store, key, if_damaged=True)


FORGED = {
    "a path for a sum": {"sha256": "../../secrets"},
    "a number for a sum": {"sha256": 7},
    "no configuration": {"identity": {"schema": 3, "config": "none"}},
    "no identity": {"identity": []},
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_record_is_a_damaged_teacher(tmp_path: Path, how: str) -> None:
    store = TeacherStore(tmp_path)
    key = put(store)
    rewrite(tmp_path / key / RECORD, **FORGED[how])
    assert "its record is not what was stored" in problem_of(store, key)
    assert [entry.record for entry in entries(store)] == [None]


def test_the_lock_of_a_teacher_in_training_is_no_leftover(tmp_path: Path) -> None:
    store, key = TeacherStore(tmp_path), "0123456789abcdef"

    def clear() -> None:
        (leftover,) = leftovers(store)
        with pytest.raises(Claimed):
            remove_leftover(store, leftover)

    held_elsewhere(store, key, clear)
