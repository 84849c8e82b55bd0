"""A folder of teachers, each under a key made of everything that fixes its weights."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_dir
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kdtune.contracts import Scalar

SCHEMA = 3
"""Raised when code changes what a teacher's configuration means; part of every key."""

_ELSEWHERE = (
    *("dataset", "data.root", "data.image_column", "data.label_column"),
    *("teacher.store", "train.device"),
)
"""Keys that say where things are; the dataset's fingerprint and the device type stand in."""


class TeacherError(ValueError):
    """A teacher that must not be used: damaged, of another network, or not what it says."""


@dataclass(frozen=True, kw_only=True)
class TeacherRecord:
    """What is known of a stored teacher.

    Attributes:
        identity: Everything that fixes its weights; its key follows from it.
        val_accuracy: On the validation split, share in [0, 1].
        sha256: Of the weights file.
    """

    identity: Mapping[str, Any]
    val_accuracy: float
    sha256: str

    @property
    def config(self) -> Mapping[str, Scalar]:
        """The flat configuration of the trial that trained it, less what says where things are."""
        config: Mapping[str, Scalar] = self.identity["config"]
        return config


def teacher_identity(
    flat: Mapping[str, Scalar], *, fingerprint: str, split: str, flip: bool, device: str
) -> dict[str, Any]:
    """Everything that fixes the weights of a teacher, as JSON.

    Args:
        flat: Canonical flat configuration of the trial that trains it.
        fingerprint: Of the dataset's pixels and labels.
        split: Digest of which images are training and which validation.
        flip: Whether the dataset allows flips.
        device: Type of the device it trains on (``cpu``, ``cuda``): the bits depend on it.
    """
    return {
        "schema": SCHEMA,
        "config": {key: value for key, value in flat.items() if key not in _ELSEWHERE},
        "fingerprint": fingerprint,
        "split": split,
        "flip": flip,
        "device": device,
    }


def key_of(identity: Mapping[str, Any]) -> str:
    """The content key of a teacher: 16 hexadecimal digits."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class TeacherStore:
    """Teachers in a local folder.

    Args:
        root: The folder, made when first needed; empty for the user's cache folder.
    """

    def __init__(self, root: str | Path = "") -> None:
        self.root = Path(root) if str(root) else Path(user_cache_dir("kdtune")) / "teachers"

    def lock(self, key: str) -> FileLock:
        """Held by whoever trains or publishes teacher ``key``, who may take it twice.

        The system releases it if that process dies.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / f"{key}.lock", is_singleton=True)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (self.root / key / "teacher.json").is_file()

    def publish(
        self, identity: Mapping[str, Any], state: Mapping[str, Tensor], *, val_accuracy: float
    ) -> str:
        """Store a teacher so that readers see all of it or nothing, and return its key.

        A sound teacher of the same key stays: others may be reading it.
        """
        key = key_of(identity)
        weights = save({name: tensor.contiguous().cpu() for name, tensor in state.items()})
        record = TeacherRecord(
            identity=dict(identity),
            val_accuracy=val_accuracy,
            sha256=hashlib.sha256(weights).hexdigest(),
        )
        with self.lock(key):
            if not self._is_sound(key):
                shutil.rmtree(self.root / key, ignore_errors=True)
                self._move_in(key, weights, record)
        return key

    def _move_in(self, key: str, weights: bytes, record: TeacherRecord) -> None:
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.root))
        try:
            (draft / "weights.safetensors").write_bytes(weights)
            (draft / "teacher.json").write_text(json.dumps(asdict(record), indent=2) + "\n")
            os.replace(draft, self.root / key)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _is_sound(self, key: str) -> bool:
        try:
            self.read(key)
        except (KeyError, TeacherError):
            return False
        return True

    def read(self, key: str) -> tuple[dict[str, Tensor], TeacherRecord]:
        """The weights and the record of a stored teacher.

        Raises:
            KeyError: If it is not stored.
            TeacherError: If the weights or the record are not those that were stored.
        """
        if key not in self:
            raise KeyError(key)
        record = TeacherRecord(**json.loads((self.root / key / "teacher.json").read_text()))
        if key_of(record.identity) != key:
            raise TeacherError(
                f"{self.root / key} holds another teacher than its name says; delete it and the "
                "teacher is trained again"
            )
        file = self.root / key / "weights.safetensors"
        weights = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(weights).hexdigest() != record.sha256:
            raise TeacherError(
                f"{file} is damaged: its sha256 differs from the one in teacher.json; delete "
                f"{file.parent} and the teacher is trained again"
            )
        return load(weights), record


def read_weights(file: Path) -> tuple[dict[str, Tensor], str]:
    """A user's own weights and the sha256 of their file.

    Raises:
        FileNotFoundError: If there is no such file.
        TeacherError: If it is not a safetensors file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no teacher weights at '{file}'; give a .safetensors file")
    content = file.read_bytes()
    try:
        return load(content), hashlib.sha256(content).hexdigest()
    except SafetensorError as error:
        raise TeacherError(f"'{file}' is not a safetensors file ({error})") from None
