"""Decoded datasets on disk, memory-mapped, so that the processes of a node share one copy.

An entry is a folder of plain ``.npy`` files beside a ``meta.json``. It appears by one rename, so a
reader sees all of it or nothing, and a lock beside it makes concurrent processes decode once. On
opening, sizes, shapes and content hashes are checked (about 0.1 s for CIFAR-10), those of images up
to `VERIFY_BYTES`; an entry that fails is decoded again.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from kdtune.data.pictures import as_rgb
from kdtune.data.source import Decoded, Plan

LAYOUT = 1
"""Raised whenever the meaning of an entry's files changes."""

VERIFY_BYTES = 1 << 30
ROWS_AT_ONCE = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class Stored:
    """An open entry; training images come first, then the test images.

    Attributes:
        images: ``(N, C, S, S)`` uint8, memory-mapped.
        labels: ``(N,)`` int64.
        sums: ``(N, C, 2)`` int64, the sum of each image's pixels and of their squares.
        train_count: How many of the N are training images.
        class_names: One per class.
        fingerprint: Hash of shapes, pixels and labels.
    """

    images: Tensor
    labels: Tensor
    sums: Tensor
    train_count: int
    class_names: tuple[str, ...]
    fingerprint: str


def open_or_decode(plan: Plan, folder: Path) -> Stored:
    """The entry for ``plan`` under ``folder``, decoded first if it is missing or damaged.

    Where the folder cannot be used, being full or read-only, the data is decoded into this
    process's own memory, with a warning.

    Raises:
        DataError: If the source's content breaks a rule.
        FileNotFoundError: If the source is no longer there.
    """
    key = hashlib.sha256(json.dumps([LAYOUT, *plan.identity]).encode()).hexdigest()[:24]
    entry = folder / key
    if stored := _open(entry):
        return stored
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(folder / f"{key}.lock"))
        except (OSError, NotImplementedError) as error:
            return _in_memory(plan.decode(), folder, error)
        if stored := _open(entry):
            return stored
        decoded = plan.decode()
        try:
            _publish(decoded, entry)
        except OSError as error:
            return _in_memory(decoded, folder, error)
    return _open(entry) or _in_memory(decoded, folder, "what was written cannot be read back")


def _in_memory(decoded: Decoded, folder: Path, reason: object) -> Stored:
    logger.warning(
        "the dataset cache '%s' cannot be used (%s): every process decodes the data anew and holds "
        "a copy of its own; free space there, or make it writable",
        folder,
        reason,
    )
    parts = _alike(decoded)
    images = np.concatenate(parts)
    sums = np.concatenate([_sums(images[rows]) for rows in _chunks(len(images))])
    labels = _labels(decoded)
    return Stored(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        sums=torch.from_numpy(sums),
        train_count=len(decoded.train.labels),
        class_names=decoded.class_names,
        fingerprint=_fingerprint(images, labels, len(decoded.train.labels)),
    )


def _publish(decoded: Decoded, entry: Path) -> None:
    """Write beside the entry, then rename; called under the lock, so leftovers are dead."""
    partial = entry.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write(decoded, partial)
        shutil.rmtree(entry, ignore_errors=True)
        os.replace(partial, entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(decoded: Decoded, folder: Path) -> None:
    parts = _alike(decoded)
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    sums = []
    # Not through a memory map: on a full disk that kills the process in place of an error.
    with (folder / "images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            for rows in _chunks(len(part)):
                file.write(np.ascontiguousarray(part[rows]).data)
                sums.append(_sums(part[rows]))
    labels = _labels(decoded)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "sums.npy", np.concatenate(sums))
    train_count = len(decoded.train.labels)
    meta = {
        "train_count": train_count,
        "shape": shape,
        "class_names": decoded.class_names,
        "fingerprint": _fingerprint(_mapped(folder / "images.npy"), labels, train_count),
        "small": _digest(labels, np.concatenate(sums)),
    }
    (folder / "meta.json").write_text(json.dumps({"meta": meta, "digest": _digest_of(meta)}))


def _alike(decoded: Decoded) -> list[NDArray[np.uint8]]:
    """Training and test images, both grey or both colour."""
    parts = [decoded.train.images, decoded.test.images]
    return parts if parts[0].shape[1] == parts[1].shape[1] else [as_rgb(part) for part in parts]


def _labels(decoded: Decoded) -> NDArray[np.int64]:
    return np.concatenate([decoded.train.labels, decoded.test.labels])


def _chunks(count: int) -> Iterator[slice]:
    return (slice(row, row + ROWS_AT_ONCE) for row in range(0, count, ROWS_AT_ONCE))


def _sums(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """``(n, C, S, S)`` to ``(n, C, 2)``: exact sums of the pixels and of their squares."""
    pixels = images.reshape(*images.shape[:2], -1)
    squares = np.square(pixels, dtype=np.uint16)
    return np.stack([pixels.sum(-1, dtype=np.int64), squares.sum(-1, dtype=np.int64)], axis=-1)


def _open(entry: Path) -> Stored | None:
    """The entry, or None if it is missing or fails a check."""
    try:
        written = json.loads((entry / "meta.json").read_text())
        meta = written["meta"]
        if written["digest"] != _digest_of(meta):
            return None
        images, labels, sums = (_mapped(entry / f"{n}.npy") for n in ("images", "labels", "sums"))
        if not _agrees(meta, images, labels, sums):
            return None
        return Stored(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(labels),
            sums=torch.from_numpy(sums),
            train_count=int(meta["train_count"]),
            class_names=tuple(meta["class_names"]),
            fingerprint=str(meta["fingerprint"]),
        )
    except Exception:  # a damaged file can raise nearly anything inside numpy's reader
        return None


def _mapped(path: Path) -> NDArray[Any]:
    """Mapped copy-on-write: shared by all processes as long as nobody writes, and nobody does."""
    return np.asarray(np.load(path, mmap_mode="c"))


def _agrees(
    meta: dict[str, Any], images: NDArray[Any], labels: NDArray[Any], sums: NDArray[Any]
) -> bool:
    count, channels = meta["shape"][:2]
    kinds = [array.dtype.name for array in (images, labels, sums)]
    if kinds != ["uint8", "int64", "int64"] or list(images.shape) != meta["shape"]:
        return False
    if labels.shape != (count,) or sums.shape != (count, channels, 2):
        return False
    if _digest(labels, sums) != meta["small"]:
        return False
    if images.nbytes > VERIFY_BYTES:
        return True
    return bool(_fingerprint(images, labels, int(meta["train_count"])) == meta["fingerprint"])


def _fingerprint(images: NDArray[Any], labels: NDArray[Any], train_count: int) -> str:
    return _digest(_as_array([train_count, *images.shape]), labels, images)


def _digest_of(meta: dict[str, Any]) -> str:
    return _digest(_as_array(meta))


def _as_array(plain: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)


def _digest(*arrays: NDArray[Any]) -> str:
    """16 hexadecimal digits of SHA-256 over the raw bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
