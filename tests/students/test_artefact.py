"""A saved student: what comes back, and what is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from small_student import card, images, student

from kdtune.models import taps
from kdtune.pruning import PRUNERS, pruned_cost
from kdtune.students import StudentCard, StudentError, load_student, save_student

METHODS = [None, *PRUNERS.names()]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, described = student("l1_filter")
    save_student(tmp_path / "student", model, described, program=False)
    return tmp_path / "student"


@pytest.mark.parametrize("method", METHODS)
def test_a_student_comes_back_with_its_card_and_its_answers(
    tmp_path: Path, method: str | None
) -> None:
    model, described = student(method)
    written = save_student(tmp_path / "new" / "folder", model, described, program=False)
    loaded, read = load_student(tmp_path / "new" / "folder")
    assert read == written
    assert read == described.model_copy(update={"sha256": read.sha256})
    assert len(read.sha256) == 64
    assert not loaded.training
    assert torch.equal(loaded(images()), model(images()))
    assert taps(loaded) == taps(model)
    keep = ("params_nonzero", "conv_nonzero", "macs")
    here, there = (pruned_cost(m, channels=1, size=8) for m in (model, loaded))
    assert {k: here[k] for k in keep} == {k: there[k] for k in keep}


@pytest.mark.parametrize("method", METHODS)
def test_the_files_hold_plain_weights_and_json(tmp_path: Path, method: str | None) -> None:
    model, described = student(method)
    save_student(tmp_path, model, described, program=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["student.json", "student.safetensors"]
    weights = load_file(tmp_path / "student.safetensors")
    assert not [key for key in weights if key.endswith(("_mask", "_orig"))]
    content = json.loads((tmp_path / "student.json").read_text())
    assert content["class_names"][9] == "digit 9"
    assert content["metadata"] == {"val/accuracy": 0.9, "seed": 3}


def test_saving_leaves_the_model_with_its_masks_and_its_mode(tmp_path: Path) -> None:
    model, described = student("magnitude")
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    save_student(tmp_path, model, described, program=False)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert model.training


def test_a_newer_student_replaces_the_older_and_its_program(tmp_path: Path) -> None:
    save_student(tmp_path, *student("l1_filter"), program=False)
    (tmp_path / "student.pt2").write_bytes(b"of the older student")
    save_student(tmp_path, *student("magnitude"), program=False)
    assert not (tmp_path / "student.pt2").exists()
    _, read = load_student(tmp_path)
    assert read.pruned is not None
    assert "magnitude" in read.pruned


@pytest.mark.parametrize("changes", [{"model": "resnet14x0.5"}, {"pruned": None}])
def test_a_card_of_another_net_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    model, described = student("l1_filter")
    other = described.model_copy(update=changes)
    with pytest.raises(ValueError, match=r"must describe the network|must be .* of the model"):
        save_student(tmp_path / "student", model, other, program=False)
    assert not (tmp_path / "student").exists()


def test_a_missing_student_is_named(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no student in .*; expected student\.json"):
        load_student(tmp_path / "nowhere")
    (saved / "student.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected student\.safetensors"):
        load_student(saved)


def test_damaged_weights_are_refused(saved: Path) -> None:
    file = saved / "student.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StudentError, match=r"its sha256 differs from the one in student\.json"):
        load_student(saved)


@pytest.mark.parametrize("changes", [{"model": "resnet8"}, {"model": "vgg8"}, {"pruned": None}])
def test_weights_of_another_net_than_the_cards_are_refused(
    saved: Path, changes: dict[str, object]
) -> None:
    file = saved / "student.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(StudentError, match=r"holds another network than student\.json names"):
        load_student(saved)


@pytest.mark.parametrize("content", [b"no safetensors", save({"other": torch.zeros(1)})])
def test_a_card_cannot_vouch_for_other_files(saved: Path, content: bytes) -> None:
    file = saved / "student.json"
    (saved / "student.safetensors").write_bytes(content)
    sha256 = {"sha256": hashlib.sha256(content).hexdigest()}
    file.write_text(json.dumps(json.loads(file.read_text()) | sha256))
    with pytest.raises(StudentError, match=r"holds another network than student\.json names"):
        load_student(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "is not the card of a student: the file: Invalid JSON"),
        ("{}", "is not the card of a student: model: Field required"),
    ],
)
def test_a_broken_card_is_refused(saved: Path, text: str, message: str) -> None:
    (saved / "student.json").write_text(text)
    with pytest.raises(StudentError, match=message):
        load_student(saved)


def test_a_folder_of_a_later_format_is_refused(saved: Path) -> None:
    file = saved / "student.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(StudentError, match="format: Input should be 1"):
        load_student(saved)


def test_a_folder_may_be_moved(saved: Path, tmp_path: Path) -> None:
    shutil.move(saved, tmp_path / "moved")
    assert load_student(tmp_path / "moved")[1].model == "resnet8x0.5"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("a", "b")}, "class_names of a student must have 10 entries, got 2"),
        ({"mean": (0.1, 0.2)}, "mean of a student must have 1 entries, got 2"),
        ({"std": (0.0,)}, "greater than 0"),
        ({"mean": (float("nan"),)}, "finite number"),
        ({"pruned": "{}"}, "a prune record must be a JSON object"),
        ({"unknown": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_card_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        card(**changes)


def test_a_card_survives_json_and_cannot_be_changed() -> None:
    _, described = student("slimming")
    assert StudentCard.model_validate_json(described.model_dump_json()) == described
    with pytest.raises(ValueError, match="frozen"):
        described.model = "vgg8"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_student_on_the_gpu_is_delivered_to_the_cpu(tmp_path: Path, method: str | None) -> None:
    model, described = student(method)
    expected = model(images())
    save_student(tmp_path, model.cuda(), described, program=False)
    assert torch.equal(load_student(tmp_path)[0](images()), expected)
