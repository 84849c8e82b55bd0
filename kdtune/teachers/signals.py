"""What a teacher says, kept in Arrow files that all trials of a machine or a shared folder read.

A piece is the tensors of some consecutive steps of one epoch, in one file. It appears by one
rename, so a reader sees all of it or nothing; its sum is checked whenever it is opened; and the
pieces that have not been read for longest make room for new ones.
"""

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock, Timeout
from torch import Tensor

SCHEMA = 1
"""Raised whenever the meaning of a file changes; part of every file's place."""

KEPT_SHARE = 0.9
"""Of the most bytes, what is left when room is made: so it is made rarely."""

LOOK_SHARE = 0.02
"""Of the most bytes, what one process may write before it looks whether room must be made."""

OLD_CLAIM_S = 3600.0
"""After so long, whoever claimed a piece has died."""

FOLDER = "signals"
"""Its place inside a teacher store."""

_SUFFIX, _CLAIM = ".arrow", ".claim"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The tensors of some consecutive steps, in a file that is mapped into memory.

    Attributes:
        type: Of the numbers, as NumPy names it.
        shapes: One per step.
        values: The bytes of each step.
        seconds: What it took to compute them.
        size: Bytes in the file.
    """

    type: str
    shapes: Sequence[Sequence[int]]
    values: Sequence[memoryview]
    seconds: float
    size: int

    def tensor(self, step: int) -> Tensor:
        """A float32 copy of the tensor of a step, counted from the first one of the piece."""
        array = np.frombuffer(self.values[step], dtype=self.type).astype("f4")
        return torch.from_numpy(array.reshape(self.shapes[step]))


class SignalStore:
    """Pieces in a folder, safe under concurrent readers and writers.

    Whatever goes wrong with the folder costs time and never a trial: what cannot be read is
    computed, and what cannot be written is not kept, with one warning.

    Args:
        folder: On a local disk, or on a network drive that several nodes share.
        most_bytes: About how much all pieces together may take.

    Attributes:
        failed_writes: How many pieces this object could not keep.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._unseen = most_bytes  # The first piece that is written looks, too.
        self.failed_writes = 0

    def read(self, name: str) -> Piece | None:
        """The piece called ``name``, or None if there is none; a damaged one is deleted."""
        file = self._file(name)
        try:
            with pa.memory_map(str(file)) as source:
                piece = _decoded(source, name)
            os.utime(file)
        except FileNotFoundError:
            return None
        except PermissionError:  # It cannot be marked as read: somebody else's, and as good.
            return piece
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            _log.warning("'%s' is damaged (%s); it is computed again", file, error)
            with suppress(OSError):
                file.unlink(missing_ok=True)
            return None
        return piece

    def claim(self, name: str) -> bool:
        """Whether it is for the caller to compute ``name``, and not for somebody else.

        A claim binds nobody: who waited in vain for as long as the work takes does it himself.
        """
        file = self._file(name, _CLAIM)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(exist_ok=False)
        except FileExistsError:
            return False
        except OSError:
            return True
        return True

    def publish(
        self, name: str, tensors: Sequence[Tensor], *, seconds: float, half: bool = False
    ) -> None:
        """Keep a piece for others, unless the disk refuses.

        Args:
            name: Of the piece: folders and a file name, each a plain part of a path.
            tensors: One per step, float32.
            seconds: What it took to compute them.
            half: Whether they are kept in half precision.
        """
        file = self._file(name)
        partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            size = _write(partial, name, tensors, seconds=seconds, half=half)
            os.replace(partial, file)
        except OSError as error:
            self._tell_failure(error)
            return
        finally:
            for left in (partial, self._file(name, _CLAIM)):
                with suppress(OSError):
                    left.unlink(missing_ok=True)
        self._unseen += size
        if self._unseen > LOOK_SHARE * self._most:
            self._unseen = 0
            self._make_room()

    def _file(self, name: str, suffix: str = _SUFFIX) -> Path:
        return self._folder / f"{name}{suffix}"

    def _tell_failure(self, error: OSError) -> None:
        self.failed_writes += 1
        if self.failed_writes == 1:
            reason = error.strerror or error
            _log.warning(
                "cannot write '%s' (%s): every trial runs its teacher itself; free space there, or "
                "make it writable, or set teacher.signals=live",
                self._folder,
                reason,
            )

    def _make_room(self) -> None:
        """Delete what was read longest ago; one process at a time, and nobody waits for it."""
        with suppress(Timeout, OSError), FileLock(self._folder / "room.lock", timeout=0):
            pieces = []
            for file in self._folder.rglob("*"):
                with suppress(FileNotFoundError):
                    status = file.stat()
                    if file.suffix == _SUFFIX and not file.name.startswith("."):
                        pieces.append((status.st_mtime, status.st_size, file))
                    elif _is_leftover(file) and time.time() - status.st_mtime > OLD_CLAIM_S:
                        file.unlink(missing_ok=True)
            total = sum(size for _, size, _ in pieces)
            if total <= self._most:
                return
            for _, size, file in sorted(pieces):
                if total <= KEPT_SHARE * self._most:
                    break
                file.unlink(missing_ok=True)  # Who has it open goes on reading it.
                total -= size


def place_of(identity: Mapping[str, Any]) -> str:
    """The folder of all pieces that ``identity`` fixes, as 16 hexadecimal digits."""
    text = json.dumps([SCHEMA, identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_leftover(file: Path) -> bool:
    """Whether it is a claim, or what a dead process was writing."""
    return file.suffix == _CLAIM or file.name.startswith(".")


def _write(file: Path, name: str, tensors: Sequence[Tensor], *, seconds: float, half: bool) -> int:
    """Write one row per step; returns the size in bytes."""
    arrays = [tensor.cpu().numpy().astype("<f2" if half else "<f4") for tensor in tensors]
    values = [array.tobytes() for array in arrays]
    shapes = [list(array.shape) for array in arrays]
    columns = {
        "shape": pa.array(shapes, pa.list_(pa.int64())),
        "values": pa.array(values, pa.large_binary()),
    }
    facts = {"type": arrays[0].dtype.str, "seconds": repr(seconds)}
    table = pa.table(columns)
    table = table.replace_schema_metadata({**facts, "sum": _sum(name, facts, shapes, values)})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return file.stat().st_size


def _decoded(source: pa.NativeFile, name: str) -> Piece:
    """What an open file holds; the piece keeps the file mapped.

    Raises:
        ValueError: If it is not what was written under that name.
    """
    table = pa.ipc.open_file(source).read_all().combine_chunks()
    facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    said = facts.pop("sum")
    shapes = table.column("shape").to_pylist()
    values = [memoryview(value.as_buffer()) for value in table.column("values")]
    if said != _sum(name, facts, shapes, values):
        raise ValueError("its sum differs")
    return Piece(
        type=facts["type"],
        shapes=shapes,
        values=values,
        seconds=float(facts["seconds"]),
        size=source.size(),
    )


def _sum(name: str, facts: Mapping[str, str], shapes: Any, values: Sequence[Any]) -> str:
    lengths = [len(value) for value in values]
    facts = dict(sorted(facts.items()))
    digest = hashlib.sha256(json.dumps([name, facts, shapes, lengths]).encode())
    for value in values:
        digest.update(value)
    return digest.hexdigest()
