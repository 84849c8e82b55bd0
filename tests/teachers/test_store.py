import json
from pathlib import Path

import pytest
import torch

from kdtune.teachers.store import TeacherError, TeacherStore, read_weights, teacher_key

STATE = {"w": torch.arange(6.0).reshape(2, 3)}


def _publish(store: TeacherStore) -> None:
    store.publish("k", STATE, config={"seed": 1}, fingerprint="f", val_accuracy=0.9)


def test_a_published_teacher_is_read_back(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "teachers")
    assert "k" not in store
    _publish(store)
    state, record = store.read("k")
    assert "k" in store
    assert torch.equal(state["w"], STATE["w"])
    assert (record.config, record.val_accuracy) == ({"seed": 1}, 0.9)
    assert [p.name for p in store.root.iterdir()] == ["k"]


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_damaged_weights_are_found(tmp_path: Path, keep: int) -> None:
    store = TeacherStore(tmp_path)
    _publish(store)
    file = tmp_path / "k" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content if keep < 0 else content[:keep])
    with pytest.raises(TeacherError, match="is damaged"):
        store.read("k")


def test_a_half_published_teacher_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "weights.safetensors").write_bytes(b"x")
    store = TeacherStore(tmp_path)
    assert "k" not in store
    with pytest.raises(KeyError):
        store.read("k")


def test_the_key_ignores_where_things_are_and_nothing_else() -> None:
    flat = {"dataset": "parquet:/a", "data.root": "/x", "student": "resnet8", "seed": 0}
    key = teacher_key(flat, fingerprint="f", device="cpu")
    moved = {**flat, "dataset": "parquet:/b", "data.root": "/y"}
    assert teacher_key(moved, fingerprint="f", device="cpu") == key
    assert teacher_key(flat, fingerprint="g", device="cpu") != key
    assert teacher_key(flat, fingerprint="f", device="cuda") != key
    assert teacher_key({**flat, "seed": 1}, fingerprint="f", device="cpu") != key


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "pickle.pt")
    with pytest.raises(TeacherError, match="not a safetensors file"):
        read_weights(tmp_path / "pickle.pt")


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    _publish(store)
    record = json.loads((tmp_path / "k" / "teacher.json").read_text())
    assert set(record) == {"config", "fingerprint", "val_accuracy", "sha256"}
