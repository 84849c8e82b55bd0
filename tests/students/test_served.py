"""A student as MLflow serves it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_student import student

from kdtune.students import save_student
from kdtune.students.served import ServedStudent, _load_pyfunc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model, card = student("l1_filter")
    save_student(tmp_path / "student", model, card, program=False)
    return tmp_path / "student"


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize("count", [0, 1, 300])
def test_it_gives_the_students_own_probabilities(folder: Path, count: int) -> None:
    model, card = student("l1_filter")
    normalised = (torch.tensor(pixels(count)) / 255 - card.mean[0]) / card.std[0]
    with torch.no_grad():
        expected = model(normalised).softmax(dim=1)
    found = _load_pyfunc(str(folder)).predict(pixels(count))
    assert (found.shape, found.dtype) == ((count, 10), np.float32)
    torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (pixels(1).astype(np.float32), "got float32"),
        (pixels(1)[0], r"got uint8 of shape \(1, 8, 8\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"must be uint8 of shape \(B, 1, 8, 8\)"),
    ],
)
def test_other_images_are_refused(folder: Path, images: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ServedStudent(folder).predict(images)


def test_the_pixels_stay_as_they_are(folder: Path) -> None:
    images = pixels(3)
    images.flags.writeable = False
    ServedStudent(folder).predict(images)
    assert (images == pixels(3)).all()


def test_serving_needs_neither_ray_nor_mlflow() -> None:
    code = "import kdtune.students.served, sys; print({'ray', 'mlflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
