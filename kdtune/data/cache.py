"""Decoded datasets on disk, memory-mapped, so that the processes of a node share one copy.

An entry is a folder of plain ``.npy`` files beside a ``meta.json``. It appears by one rename, so a
reader sees all of it or nothing, and a lock beside it makes concurrent processes decode once. On
opening, file sizes and shapes are checked and, up to `VERIFY_BYTES`, the content hash (about 0.1 s
for CIFAR-10); an entry that fails is decoded again.
"""

import hashlib
import json
import os
import shutil
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

    Raises:
        DataError: If the source's content breaks a rule.
    """
    key = hashlib.sha256(json.dumps([LAYOUT, *plan.identity]).encode()).hexdigest()[:24]
    entry = folder / key
    if stored := _open(entry):
        return stored
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{key}.lock"):
        if stored := _open(entry):
            return stored
        _publish(plan.decode(), entry)
    stored = _open(entry)
    if stored is None:
        raise OSError(f"dataset cache entry '{entry}' is not readable right after it was written")
    return stored


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
    parts = [decoded.train.images, decoded.test.images]
    if parts[0].shape[1] != parts[1].shape[1]:
        parts = [as_rgb(part) for part in parts]
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    images = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape
    )
    sums = np.empty((*shape[:2], 2), dtype=np.int64)
    start = 0
    for part in parts:
        for row in range(0, len(part), ROWS_AT_ONCE):
            chunk = part[row : row + ROWS_AT_ONCE]
            rows = slice(start, start + len(chunk))
            images[rows], sums[rows] = chunk, _sums(chunk)
            start += len(chunk)
    labels = np.concatenate([decoded.train.labels, decoded.test.labels])
    images.flush()
    np.save(folder / "labels.npy", labels)
    np.save(folder / "sums.npy", sums)
    train_count = len(decoded.train.labels)
    meta = {
        "train_count": train_count,
        "shape": shape,
        "class_names": decoded.class_names,
        "fingerprint": _fingerprint(images, labels, train_count),
        "sums": _digest(sums),
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def _sums(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """``(n, C, S, S)`` to ``(n, C, 2)``: exact sums of the pixels and of their squares."""
    pixels = images.reshape(*images.shape[:2], -1)
    squares = np.square(pixels, dtype=np.uint16)
    return np.stack([pixels.sum(-1, dtype=np.int64), squares.sum(-1, dtype=np.int64)], axis=-1)


def _open(entry: Path) -> Stored | None:
    """The entry, or None if it is missing or fails a check."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
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
    except (OSError, ValueError, KeyError, TypeError, EOFError):
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
    if images.nbytes > VERIFY_BYTES:
        return True
    content = _fingerprint(images, labels, int(meta["train_count"]))
    return bool(content == meta["fingerprint"] and _digest(sums) == meta["sums"])


def _fingerprint(images: NDArray[Any], labels: NDArray[Any], train_count: int) -> str:
    head = json.dumps([train_count, *images.shape]).encode()
    return _digest(np.frombuffer(head, dtype=np.uint8), labels, images)


def _digest(*arrays: NDArray[Any]) -> str:
    """16 hexadecimal digits of SHA-256 over the raw bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
