"""Teachers that leave a store as a file, and come into another."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_disk import mounted
from stored import STATE, flip_a_bit, put, weights_file

from kdtune.storage import Location, StorageError
from kdtune.teachers.exchange import export_teacher, import_teacher
from kdtune.teachers.store import TeacherError, TeacherStore


@pytest.fixture
def exported(tmp_path: Path) -> tuple[str, Path]:
    """A key and the file of that teacher."""
    store, file = TeacherStore(tmp_path / "from"), tmp_path / "teacher.safetensors"
    key = put(store)
    export_teacher(store, key, file)
    return key, file


def test_a_teacher_comes_back_under_its_key_and_bit_for_bit(
    exported: tuple[str, Path], tmp_path: Path, root: Location
) -> None:
    (key, file), store = exported, TeacherStore(root.uri)
    assert import_teacher(store, file) == (key, True)
    there = TeacherStore(tmp_path / "from")
    assert store.read_bytes(key) == there.read_bytes(key)
    assert import_teacher(store, file) == (key, False)


def test_an_exported_file_is_its_weights_to_every_reader(exported: tuple[str, Path]) -> None:
    found = load_file(exported[1])
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("place", [20, -1])
def test_a_file_that_was_changed_is_refused(
    exported: tuple[str, Path], tmp_path: Path, place: int
) -> None:
    _, file = exported
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    store = TeacherStore(tmp_path / "to")
    with pytest.raises(TeacherError, match=r"not what was exported|not a safetensors|bare weights"):
        import_teacher(store, file)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(("old", "new"), [('\\"seed\\": 0', '\\"seed\\": 1'), ("0.925", "0.975")])
def test_another_identity_or_accuracy_is_refused(
    exported: tuple[str, Path], tmp_path: Path, old: str, new: str
) -> None:
    _, file = exported
    assert old.encode() in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(TeacherError, match="its record is damaged"):
        import_teacher(TeacherStore(tmp_path / "to"), file)


def test_a_file_that_names_another_key_is_refused(
    exported: tuple[str, Path], tmp_path: Path
) -> None:
    key, file = exported
    own = f'"kdtune.key": "{key}"'.encode()
    file.write_bytes(file.read_bytes().replace(own, own.replace(key.encode(), b"0" * 16)))
    with pytest.raises(TeacherError, match=f"it says {'0' * 16} and is teacher {key}"):
        import_teacher(TeacherStore(tmp_path / "to"), file)


def test_bare_weights_are_sent_to_the_setting_that_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    save_file(STATE, file)
    with pytest.raises(TeacherError, match=f"bare weights.*teacher.weights={file}"):
        import_teacher(TeacherStore(tmp_path / "to"), file)


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "pickle.safetensors")
    with pytest.raises(TeacherError, match="is not a safetensors file"):
        import_teacher(TeacherStore(tmp_path / "to"), tmp_path / "pickle.safetensors")
    with pytest.raises(FileNotFoundError, match="kdtune teachers export"):
        import_teacher(TeacherStore(tmp_path / "to"), tmp_path / "none.safetensors")


def test_a_damaged_teacher_is_not_exported(tmp_path: Path) -> None:
    store, file = TeacherStore(tmp_path / "from"), tmp_path / "teacher.safetensors"
    key = put(store)
    folder = store.location.child(key)
    flip_a_bit(folder, weights_file(folder))
    with pytest.raises(TeacherError, match=f"teacher {key} in .* is damaged"):
        export_teacher(store, key, file)
    with pytest.raises(TeacherError, match="no whole teacher"):
        export_teacher(store, "0" * 16, file)
    assert not file.exists()


def test_only_safetensors_are_written(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "from")
    with pytest.raises(ValueError, match=r"end 'x.pt' in \.safetensors"):
        export_teacher(store, put(store), Path("x.pt"))


def test_a_full_disk_leaves_no_half_file_and_no_half_teacher(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "from")
    key = put(store)
    file = tmp_path / "teacher.safetensors"
    export_teacher(store, key, file)
    with mounted(tmp_path / "disk") as disk:
        there = TeacherStore(disk.folder / "teachers")
        put(there, seed=1)
        disk.fill()
        with pytest.raises(StorageError, match=r"cannot write .*teacher\.safetensors'.*No space"):
            export_teacher(store, key, disk.folder / "teacher.safetensors")
        with pytest.raises(StorageError, match=f"'{disk.folder}.*No space left"):
            import_teacher(there, file)
        assert key not in there
        assert not (disk.folder / "teacher.safetensors").exists()


def test_the_metadata_is_the_record(exported: tuple[str, Path], tmp_path: Path) -> None:
    key, file = exported
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    record = json.loads(header["__metadata__"]["kdtune.record"])
    assert record == json.loads((tmp_path / "from" / key / "teacher.json").read_text())
