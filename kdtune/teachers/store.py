"""A folder of teachers, each under a key made of everything that fixes its weights."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_dir
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kdtune.contracts import Scalar

SCHEMA = 1
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
        config: The flat configuration of the trial that trained it.
        fingerprint: Of the dataset it was trained on.
        val_accuracy: On the validation split, share in [0, 1].
        sha256: Of the weights file.
    """

    config: Mapping[str, Scalar]
    fingerprint: str
    val_accuracy: float
    sha256: str


def teacher_key(flat: Mapping[str, Scalar], *, fingerprint: str, device: str) -> str:
    """The content key of a teacher.

    Args:
        flat: Canonical flat configuration of the trial that trains it.
        fingerprint: Of the dataset.
        device: Type of the device it trains on (``cpu``, ``cuda``): the bits depend on it.
    """
    config = {key: value for key, value in flat.items() if key not in _ELSEWHERE}
    text = json.dumps([SCHEMA, config, fingerprint, device], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class TeacherStore:
    """Teachers in a local folder.

    Args:
        root: The folder, made when first needed; empty for the user's cache folder.
    """

    def __init__(self, root: str | Path = "") -> None:
        self.root = Path(root) if str(root) else Path(user_cache_dir("kdtune")) / "teachers"

    def lock(self, key: str) -> FileLock:
        """Held by whoever trains teacher ``key``; released by the system if that process dies."""
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / f"{key}.lock")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (self.root / key / "teacher.json").is_file()

    def publish(
        self,
        key: str,
        state: Mapping[str, Tensor],
        *,
        config: Mapping[str, Scalar],
        fingerprint: str,
        val_accuracy: float,
    ) -> None:
        """Store a teacher so that readers see all of it or nothing."""
        weights = save({name: tensor.contiguous().cpu() for name, tensor in state.items()})
        record = TeacherRecord(
            config=dict(config),
            fingerprint=fingerprint,
            val_accuracy=val_accuracy,
            sha256=hashlib.sha256(weights).hexdigest(),
        )
        self.root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.root))
        try:
            (draft / "weights.safetensors").write_bytes(weights)
            (draft / "teacher.json").write_text(json.dumps(asdict(record), indent=2) + "\n")
            if (self.root / key).exists():
                shutil.rmtree(self.root / key)
            os.replace(draft, self.root / key)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def read(self, key: str) -> tuple[dict[str, Tensor], TeacherRecord]:
        """The weights and the record of a stored teacher.

        Raises:
            KeyError: If it is not stored.
            TeacherError: If the weights are not those that were stored.
        """
        if key not in self:
            raise KeyError(key)
        record = TeacherRecord(**json.loads((self.root / key / "teacher.json").read_text()))
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
