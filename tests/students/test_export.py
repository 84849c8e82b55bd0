"""Exported students give torch's logits where neither kdtune nor, for ONNX, torch is needed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small_student import images, student

from kdtune.models import build
from kdtune.pruning import PRUNERS
from kdtune.students import (
    StudentCard,
    export_onnx,
    export_program,
    export_student,
    load_student,
    save_student,
)

METHODS = PRUNERS.names()
READER = """
import sys
for name in ("kdtune", "torch_pruning", "pydantic", "safetensors"):
    sys.modules[name] = None  # importing it fails from here on
import torch
folder = sys.argv[1]
for method in sys.argv[2:]:
    program = torch.export.load(f"{folder}/{method}/student.pt2").module()
    batch = torch.load(f"{folder}/images.pt", weights_only=True)
    logits = [program(batch[:count]) for count in (1, 2, 5)]
    torch.save(logits, f"{folder}/{method}/logits.pt")
assert sys.modules["kdtune"] is None
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a student per pruner, programs included."""
    folder = tmp_path_factory.mktemp("students")
    for method in METHODS:
        save_student(folder / method, *student(method))
    return folder


def test_a_program_runs_in_a_process_without_kdtune(saved: Path) -> None:
    torch.save(images(), saved / "images.pt")
    subprocess.run([sys.executable, "-c", READER, str(saved), *METHODS], check=True, cwd=saved)
    for method in METHODS:
        expected = student(method)[0]
        found = torch.load(saved / method / "logits.pt", weights_only=True)
        assert [len(logits) for logits in found] == [1, 2, 5]
        for logits in found:
            answers = expected(images()[: len(logits)])
            torch.testing.assert_close(logits, answers, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_onnxruntime_gives_the_logits_of_torch(saved: Path, method: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    file = export_student(saved / method)
    assert file == saved / method / "student.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    model = load_student(saved / method)[0]
    for count in (1, 2, 5):
        (logits,) = session.run(["logits"], {"images": images()[:count].numpy()})
        assert logits.shape == (count, 10)
        np.testing.assert_allclose(
            logits, model(images()[:count]).detach().numpy(), rtol=0, atol=1e-4
        )
    assert [entry.shape[0] for entry in session.get_inputs()] == ["batch"]
    metadata = session.get_modelmeta().custom_metadata_map
    assert (
        StudentCard(**_tuples(json.loads(metadata["kdtune.student"])))
        == load_student(saved / method)[1]
    )


def _tuples(values: dict[str, object]) -> dict[str, object]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def test_files_know_no_path_of_the_machine(saved: Path) -> None:
    pytest.importorskip("onnxscript")
    file = export_student(saved / "l1_filter", file=saved / "deep" / "net.onnx")
    here = str(Path(torch.__file__).parent).encode()
    for content in (file.read_bytes(), (saved / "l1_filter" / "student.pt2").read_bytes()):
        assert here not in content
        assert str(Path.cwd()).encode() not in content


def test_a_program_may_be_exported_later(tmp_path: Path) -> None:
    save_student(tmp_path, *student("slimming"), program=False)
    file = export_student(tmp_path, format="pt2")
    assert file == tmp_path / "student.pt2"
    program = torch.export.load(file).module()
    torch.testing.assert_close(program(images()), student("slimming")[0](images()))


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown format 'onx'; did you mean 'onnx'"):
        export_student(tmp_path, format="onx")


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    model, _ = student()
    with pytest.raises(ValueError, match=r"needs the package 'onnxscript'.*extra 'onnx'"):
        export_onnx(model, tmp_path / "net.onnx", channels=1, size=8)


def test_masks_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    model, _ = student("magnitude")
    with pytest.raises(ValueError, match="must have no masks; finalize it first"):
        export_program(model, tmp_path / "net.pt2", channels=1, size=8)
    assert not list(tmp_path.iterdir())


def test_a_net_elsewhere_is_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with pytest.raises(ValueError, match="must be on the CPU, got meta"):
        export_program(model, tmp_path / "net.pt2", channels=1, size=8)


def test_a_net_that_cannot_read_such_images_is_refused_with_its_mode_intact(
    tmp_path: Path,
) -> None:
    model = build("resnet8x0.5", classes=10, channels=3, size=8, seed=0)
    model.get_submodule("block2").eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(ValueError, match=r"torch cannot export 'Sequential' for images of 1x8x8"):
        export_program(model, tmp_path / "net.pt2", channels=1, size=8)
    assert [module.training for module in model.modules()] == modes
