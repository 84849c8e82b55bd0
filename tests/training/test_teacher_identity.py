"""A teacher's key: everything that changes its weights changes it, and nothing else does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kdtune.config import parse, teacher_trial
from kdtune.teachers.store import key_of
from kdtune.training.teacher import identity_of

SIDE, TRAIN, TEST = 8, 12, 4


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise."""
    return written(tmp_path_factory.mktemp("pictures"))


def written(folder: Path, *, brighter: int = 0) -> Path:
    """A dataset in a folder, in which one pixel may be brighter."""
    draws = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("test", TEST)):
        for name in ("cat", "dog"):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(0, 200, (SIDE, SIDE, 3), dtype=np.uint8)
                if (split, name, number) == ("train", "cat", 0):
                    pixels[0, 0, 0] += brighter
                Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


def key(folder: Path, *, device: str = "cpu", **changes: Any) -> str:
    own = {name.replace("__", "."): value for name, value in changes.items()}
    base = {
        **{"dataset": f"folder:{folder}", "data.val_fraction": 0.25, "teacher_epochs": 10},
        **{"train.device": "cpu", "teacher.augment": "cutout"},
    }
    return key_of(identity_of(teacher_trial(parse({**base, **own})), device))


MATTERS: dict[str, dict[str, Any]] = {
    "label noise": {"data__label_noise": 0.2},
    "imbalance": {"data__imbalance": 1.5},
    "the seed of the split": {"data__seed": 1},
    "the share of validation": {"data__val_fraction": 0.5},
    "fewer images": {"data__train_limit": 10},
    "flips": {"data__flip": False},
    "the network": {"teacher": "resnet14"},
    "epochs": {"teacher_epochs": 11},
    "epochs of the full run": {"teacher_epochs": 10, "teacher__full_epochs": 10},
    "how it stops early": {"teacher__early_stop": "snapshot"},
    "epsilon": {"label_smoothing": 0.1},
    "the augmentation": {"teacher__augment": "standard"},
    "an option of the augmentation": {"teacher__augment__side": 2},
    "batch size": {"teacher__batch_size": 8},
    "learning rate": {"teacher__lr": 0.05},
    "momentum": {"teacher__momentum": 0.8},
    "Nesterov's momentum": {"teacher__nesterov": False},
    "weight decay": {"teacher__weight_decay": 1e-4},
    "the seed": {"teacher__seed": 1},
    "threads": {"train__threads": 2},
    "the kind of device": {"device": "cuda"},
}


@pytest.mark.parametrize("what", MATTERS)
def test_what_changes_the_weights_changes_the_key(pictures: Path, what: str) -> None:
    assert key(pictures, **MATTERS[what]) != key(pictures)


@pytest.mark.parametrize(
    "change", [{"teacher__milestones": "0.2,0.6"}, {"teacher__lr_factor": 0.3}]
)
def test_the_drops_of_a_full_schedule_change_the_key(
    pictures: Path, change: dict[str, Any]
) -> None:
    assert key(pictures, teacher_epochs=None, **change) != key(pictures, teacher_epochs=None)


def test_another_pixel_is_another_dataset(pictures: Path, tmp_path: Path) -> None:
    same = written(tmp_path / "same")
    other = written(tmp_path / "other", brighter=1)
    assert key(same) == key(pictures)
    assert key(other) != key(pictures)


def test_another_schema_of_the_code_changes_the_key(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(pictures)
    monkeypatch.setattr("kdtune.teachers.store.SCHEMA", 99)
    assert key(pictures) != before


def test_snapshots_of_one_run_have_keys_of_their_own(pictures: Path) -> None:
    found = {key(pictures, teacher__early_stop="snapshot", teacher_epochs=n) for n in (5, 10, 30)}
    assert len(found) == 3
    assert key(pictures, teacher__early_stop="snapshot", teacher_epochs=30) in found
    assert key(pictures, teacher_epochs=30) in found


MATTERS_NOT: dict[str, dict[str, Any]] = {
    "the student": {"student": "resnet14", "seed": 3, "augment": "mixup"},
    "the method": {"method": "at", "method__beta": 3.0},
    "how it teaches": {"temperature": 9.0, "alpha": 0.3},
    "the student's schedule": {"train__epochs": 3, "train__lr": 0.3, "train__schedule": "step"},
    "pruning": {"prune_ratio": 0.5},
    "where teachers lie": {"teacher__store": "/elsewhere"},
    "a role": {"role": "finalist"},
}


@pytest.mark.parametrize("what", MATTERS_NOT)
def test_what_is_of_the_student_leaves_the_key(pictures: Path, what: str) -> None:
    assert key(pictures, **MATTERS_NOT[what]) == key(pictures)
