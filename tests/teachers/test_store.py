import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kdtune.teachers.store import (
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


def test_a_published_teacher_is_read_back(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "teachers")
    assert key_of(_identity({"seed": 1})) not in store
    key = _publish(store)
    state, record = store.read(key)
    assert key in store
    assert torch.equal(state["w"], STATE["w"])
    assert (record.config, record.val_accuracy) == ({"seed": 1}, 0.9)
    assert {p.name for p in store.root.iterdir()} <= {key, f"{key}.lock"}


def test_a_sound_teacher_is_never_replaced_and_a_damaged_one_is(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    key = _publish(store)
    file = tmp_path / key / "weights.safetensors"
    written = file.stat().st_ino
    _publish(store)
    assert file.stat().st_ino == written
    file.write_bytes(b"damaged")
    _publish(store)
    assert torch.equal(store.read(key)[0]["w"], STATE["w"])


def test_a_teacher_under_a_foreign_name_is_refused(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    (tmp_path / _publish(store)).rename(tmp_path / "other")
    with pytest.raises(TeacherError, match="holds another teacher"):
        store.read("other")


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_damaged_weights_are_found(tmp_path: Path, keep: int) -> None:
    store = TeacherStore(tmp_path)
    key = _publish(store)
    file = tmp_path / key / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content if keep < 0 else content[:keep])
    with pytest.raises(TeacherError, match="is damaged"):
        store.read(key)


def test_a_half_published_teacher_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "weights.safetensors").write_bytes(b"x")
    store = TeacherStore(tmp_path)
    assert "k" not in store
    with pytest.raises(KeyError):
        store.read("k")


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
    assert set(record) == {"identity", "val_accuracy", "sha256"}
