"""The teacher of a trial: stored, shared, frozen."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import same
from object_store import serving
from runs import rest
from safetensors.torch import save_file
from small_disk import mounted

from kdtune.config import parse, teacher_trial
from kdtune.storage import Location, StorageError
from kdtune.teachers.store import TeacherError, TeacherStore
from kdtune.training.teacher import STORED, stored_teacher
from kdtune.training.trial import Trial


def test_a_teacher_is_trained_once_and_shared(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    assert trial.teacher is not None
    record = Path(base["teacher.store"], trial.teacher.key, "teacher.json")
    written = record.stat().st_mtime_ns
    assert Trial(parse({**base, "alpha": 0.1})).teacher is trial.teacher
    assert record.stat().st_mtime_ns == written


@pytest.mark.parametrize("kind", ["a folder", "S3"])
def test_a_damaged_teacher_is_trained_again_and_never_used(
    base: dict[str, Any], tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        store = Location.parse(tmp_path / "store")
        if kind == "S3":
            store = stack.enter_context(serving(tmp_path / "cache")).location("teachers")
        flat = {**base, "teacher.store": store.uri, "teacher.full_epochs": 1}
        sound = Trial(parse(flat)).teacher
        assert sound is not None
        folder = store.child(sound.key)
        name = next(name for name in folder.names() if name.endswith(".safetensors"))
        content = bytearray(folder.read(name))
        content[-1] ^= 1
        folder.write(name, bytes(content))
        stored_teacher.cache_clear()
        again = Trial(parse(flat)).teacher
        assert again is not None
        assert again.key == sound.key
        assert same(again.model.state_dict(), sound.model.state_dict())
        assert f"teacher {sound.key} in '{store.uri}' is damaged" in caplog.text
        assert sound.key in TeacherStore(store.uri)


def test_a_damaged_network_that_is_named_by_its_key_is_refused(
    base: dict[str, Any], tmp_path: Path
) -> None:
    flat = {**base, "teacher.store": str(tmp_path), "teacher.full_epochs": 1}
    trained = Trial(parse(flat)).teacher
    assert trained is not None
    file = next((tmp_path / trained.key).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    stored_teacher.cache_clear()
    del flat["teacher.full_epochs"]
    with pytest.raises(TeacherError, match=f"teacher {trained.key} in .* is damaged"):
        Trial(parse({**flat, "teacher.weights": f"{STORED}{trained.key}"}))


def test_a_store_that_cannot_be_written_is_named_before_the_teacher_is_trained(
    base: dict[str, Any], tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk") as disk:
        disk.make_read_only()
        with pytest.raises(StorageError, match=f"cannot write '{disk.folder}'.*Read-only"):
            Trial(parse({**base, "teacher.store": str(disk.folder)}))


@pytest.mark.parametrize(
    "change", [{"label_smoothing": 0.1}, {"teacher_epochs": 1}, {"teacher.seed": 1}]
)
def test_another_teacher_has_another_key(base: dict[str, Any], change: dict[str, Any]) -> None:
    one, other = Trial(parse(base)).teacher, Trial(parse({**base, **change})).teacher
    assert one is not None
    assert other is not None
    assert one.key != other.key


def test_a_teacher_runs_without_gradients_in_eval_mode(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    assert trial.teacher is not None
    before = {k: v.clone() for k, v in trial.teacher.model.state_dict().items()}
    trial.next_epoch()
    assert not any(p.requires_grad for p in trial.teacher.model.parameters())
    assert not any(m.training for m in trial.teacher.model.modules())
    assert same(trial.teacher.model.state_dict(), before)


def test_a_users_own_weights_serve_as_teacher(base: dict[str, Any], tmp_path: Path) -> None:
    trained = Trial(teacher_trial(parse(base)))
    rest(trained)
    save_file(trained.student.state_dict(), tmp_path / "mine.safetensors")
    flat = {k: v for k, v in base.items() if k != "teacher.full_epochs"}
    trial = Trial(parse({**flat, "teacher.weights": str(tmp_path / "mine.safetensors")}))
    assert trial.teacher is not None
    assert trial.teacher.val_accuracy == pytest.approx(
        Trial(parse(base)).teacher.val_accuracy  # type: ignore[union-attr]
    )


def test_weights_of_another_network_are_an_error(base: dict[str, Any], tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    flat = {**base, "teacher.weights": str(tmp_path / "other.safetensors")}
    with pytest.raises(TeacherError, match=r"do not fit a resnet8x0\.5 with 10 classes"):
        Trial(parse(flat))


def test_untrained_weights_are_an_error(base: dict[str, Any], tmp_path: Path) -> None:
    state = Trial(teacher_trial(parse(base))).student.state_dict()
    save_file(state, tmp_path / "raw.safetensors")
    with pytest.raises(TeacherError, match="about chance for 10 classes"):
        Trial(parse({**base, "teacher.weights": str(tmp_path / "raw.safetensors")}))


def test_missing_weights_are_an_error(base: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match="no teacher weights at 'nowhere'"):
        Trial(parse({**base, "teacher.weights": "nowhere"}))


def test_a_method_that_reads_taps_the_network_lacks_fails_before_training(
    base: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="block4"):
        Trial(parse({**base, "method": "at", "method.blocks": 4}))
