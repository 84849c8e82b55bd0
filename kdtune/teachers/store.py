"""Stored teachers, each under a key made of everything that fixes its weights."""

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kdtune.contracts import Scalar
from kdtune.storage import Claim, Claimed, Location, StorageError
from kdtune.storage.location import check_name
from kdtune.teachers.signals import FOLDER as SIGNALS

SCHEMA = 4
"""Raised when code changes what a teacher's configuration means; part of every key."""

_ELSEWHERE = (
    *("dataset", "data.root", "data.image_column", "data.label_column"),
    *("teacher.store", "train.device"),
)
"""Keys that say where things are; the dataset's fingerprint and the device type stand in."""


RECORD, WEIGHTS = "teacher.json", ".safetensors"
LOCK = ".lock"
POLL_S = 2.0
"""How often one who waits for another node's training looks whether it is done."""

_FOLDER = "teachers"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


class TeacherError(ValueError):
    """A teacher that must not be used: damaged, of another network, or not what it says."""


class DamagedTeacher(TeacherError):
    """A stored teacher that is not what was stored; one that trials train is trained again.

    Attributes:
        how: What is wrong with it.
    """

    def __init__(self, message: str, how: str = "") -> None:
        super().__init__(message)
        self.how = how


@dataclass(frozen=True, kw_only=True)
class TeacherRecord:
    """What is known of a stored teacher.

    Attributes:
        identity: Everything that fixes its weights; its key follows from it.
        val_accuracy: On the validation split, share in [0, 1].
        sha256: Of the weights file.
        dataset: Its name where the teacher was trained; empty if an earlier version stored it.
    """

    identity: Mapping[str, Any]
    val_accuracy: float
    sha256: str
    dataset: str = ""

    @property
    def file(self) -> str:
        """Name of the weights file."""
        return f"{self.sha256}{WEIGHTS}"

    @property
    def config(self) -> Mapping[str, Scalar]:
        """The flat configuration of the trial that trained it, less what says where things are."""
        config: Mapping[str, Scalar] = self.identity.get("config", {})
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
    """Teachers in a folder or an object store, each in a folder named by its key.

    The weights are a file named by its sum, the record names it and is published last. So readers
    see all of a teacher or nothing, and whatever is not what was stored is found.

    Args:
        root: A folder or a URI, as :meth:`~kdtune.storage.Location.parse` takes it; empty for the
            user's cache folder.

    Attributes:
        location: The folder.
        root: Its absolute path or URI.
    """

    def __init__(self, root: str | Path = "") -> None:
        self.location = Location.parse(root if str(root) else user_cache_path("kdtune") / _FOLDER)
        self.root = self.location.uri

    @property
    def signals_folder(self) -> Path:
        """Where trials share what these teachers say: in the store, if it is a folder.

        Beside an object store it is the working folder of this machine, so every node has its own.
        """
        return self.location.local / SIGNALS

    @contextmanager
    def lock(self, key: str, *, wait: bool = True) -> Iterator[None]:
        """Held by whoever trains, publishes or deletes teacher ``key``, who may take it twice.

        The system releases a local one if that process dies; in an object store it is taken over
        when its holder has been silent for a while.

        Args:
            key: Of a teacher, stored or not.
            wait: Wait for as long as another has it.

        Raises:
            Claimed: If another has it and ``wait`` is False.
            StorageError: If the storage is read-only or full.
        """
        with ExitStack() as held:
            if self._lock_here(check_name(key), held, wait) and not self.location.is_local:
                self._lock_everywhere(key, held, wait)
            yield

    def _lock_here(self, key: str, held: ExitStack, wait: bool) -> bool:
        """Take the lock of this machine; whether this thread did not have it yet."""
        lock = FileLock(self.location.local / f"{key}{LOCK}", is_singleton=True)
        try:
            self._acquire(lock, key, wait)
        except OSError as error:
            raise StorageError(
                f"cannot write '{self.location.local}', where trained teachers are stored: "
                f"{error.strerror or error}; free or open it, or give another teacher.store"
            ) from error
        held.callback(lock.release)
        return lock.lock_counter == 1

    def _acquire(self, lock: FileLock, key: str, wait: bool) -> None:
        self.location.local.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            busy = f"teacher {key} in '{self.root}' is being trained by another process"
            if not wait:
                raise Claimed(busy) from None
            _log.info("%s; waiting", busy)
            lock.acquire(timeout=-1)

    def _lock_everywhere(self, key: str, held: ExitStack, wait: bool) -> None:
        claim = Claim(self.location, name=key, what=f"the training of teacher {key}")
        while True:
            try:
                held.enter_context(claim)
                return
            except Claimed as refusal:
                if not wait:
                    raise
                _log.info("%s; waiting", refusal)
                time.sleep(POLL_S)

    def __contains__(self, key: object) -> bool:
        """Whether a sound teacher is stored under ``key``; reads all of it.

        A damaged one does not count, so that it is trained again, and a warning says so.
        """
        try:
            self.read(str(key))
        except KeyError:
            return False
        except DamagedTeacher as damage:
            _log.warning("%s", damage)
            return False
        return True

    def publish(
        self,
        identity: Mapping[str, Any],
        state: Mapping[str, Tensor],
        *,
        val_accuracy: float,
        dataset: str = "",
    ) -> str:
        """Store a teacher and return its key.

        A sound teacher of the same key stays: others may be reading it.

        Args:
            identity: As :func:`teacher_identity` makes it.
            state: The weights.
            val_accuracy, dataset: As in :class:`TeacherRecord`.

        Raises:
            StorageError: If it cannot be written; nothing that is read back is left then.
        """
        weights = save({name: tensor.contiguous().cpu() for name, tensor in state.items()})
        record = TeacherRecord(
            identity=dict(identity),
            val_accuracy=val_accuracy,
            sha256=hashlib.sha256(weights).hexdigest(),
            dataset=dataset,
        )
        return self.put(record, weights)

    def put(self, record: TeacherRecord, weights: bytes) -> str:
        """Store a teacher as it was in another store, and return its key.

        A sound teacher of the same key stays.

        Args:
            record: Of the teacher.
            weights: The content of its weights file.

        Raises:
            StorageError: If it cannot be written; nothing that is read back is left then.
        """
        key = key_of(record.identity)
        with self.lock(key):
            if key not in self:
                folder = self.location.child(key)
                folder.write(record.file, weights)
                folder.write(RECORD, encode_record(record))
                for name in {*folder.names()} - {record.file, RECORD}:
                    folder.remove(name)
        return key

    def read(self, key: str) -> tuple[dict[str, Tensor], TeacherRecord]:
        """The weights and the record of a stored teacher.

        Raises:
            KeyError: If it is not stored.
            DamagedTeacher: If the weights or the record are not those that were stored.
            StorageError: If the storage cannot be read, or the key is no key.
        """
        weights, record = self.read_bytes(key)
        return load(weights), record

    def read_bytes(self, key: str) -> tuple[bytes, TeacherRecord]:
        """The content of the weights file, verified, and the record; raises as :meth:`read`."""
        record = self.record(key)
        try:
            weights = self.location.child(key).read(record.file)
        except FileNotFoundError:
            raise self._damaged(key, "it has no weights") from None
        if hashlib.sha256(weights).hexdigest() != record.sha256:
            raise self._damaged(key, "the sha256 of its weights is not that in its record")
        return weights, record

    def record(self, key: str) -> TeacherRecord:
        """What is known of a stored teacher, whatever became of its weights.

        Raises:
            KeyError: If it is not stored.
            DamagedTeacher: If the record is not the one that was stored.
            StorageError: If the storage cannot be read, or the key is no key.
        """
        try:
            written = self.location.child(key).read(RECORD)
        except FileNotFoundError:
            raise KeyError(key) from None
        try:
            record = decode_record(written)
        except ValueError as error:
            raise self._damaged(key, f"its record is not what was stored ({error})") from None
        if key_of(record.identity) != key:
            raise self._damaged(key, f"it is teacher {key_of(record.identity)}")
        return record

    def _damaged(self, key: str, how: str) -> DamagedTeacher:
        return DamagedTeacher(
            f"teacher {key} in '{self.root}' is damaged: {how}; a trial that trains this teacher "
            "replaces it",
            how,
        )


def encode_record(record: TeacherRecord) -> bytes:
    """The record as JSON, with a checksum of its own."""
    fields = asdict(record)
    return json.dumps({**fields, "checksum": _checksum(fields)}, indent=2).encode() + b"\n"


def decode_record(content: bytes) -> TeacherRecord:
    """What :func:`encode_record` wrote.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        fields = json.loads(content)
        if fields.pop("checksum") != _checksum(fields):
            raise ValueError("its checksum differs")
        record = TeacherRecord(**fields)
        if not (isinstance(record.config, dict) and _SHA256.fullmatch(record.sha256)):
            raise ValueError("it describes no teacher")
        return record
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _checksum(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


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
