"""Teachers put into a store without any training."""

from typing import Any

import torch

from kdtune.storage import Location
from kdtune.teachers.store import TeacherStore, teacher_identity

STATE = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.int64)}
FLAT: dict[str, Any] = {
    **{"student": "resnet8", "train.epochs": 30, "train.schedule": "step", "seed": 0},
    **{"method.label_smoothing": 0.1, "augment": "standard"},
}


def identity(**flat: Any) -> dict[str, Any]:
    """Of a teacher whose configuration has these keys, ``__`` for a dot."""
    own = {key.replace("__", "."): value for key, value in flat.items()}
    facts = {"fingerprint": "f", "split": "s", "flip": True, "device": "cpu"}
    return teacher_identity({**FLAT, **own}, **facts)


def put(store: TeacherStore, **flat: Any) -> str:
    """Store a teacher, and return its key."""
    return store.publish(identity(**flat), STATE, val_accuracy=0.925, dataset="parquet:/data/cats")


def weights_file(folder: Location) -> str:
    """Name of the weights file in a teacher's folder."""
    return next(name for name in folder.names() if name.endswith(".safetensors"))


def flip_a_bit(folder: Location, name: str) -> None:
    """Damage a file in the middle."""
    content = bytearray(folder.read(name))
    content[len(content) // 2] ^= 1
    folder.write(name, bytes(content))
