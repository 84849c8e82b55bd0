"""Tiny datasets on disk, made from known pixels."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

SIDE = 8
NAMES = ("bee", "cat", "dog")


def pixels(count: int, *, seed: int, channels: int = 3, side: int = SIDE) -> NDArray[np.uint8]:
    """``(n, side, side[, 3])`` random pixels."""
    shape = (count, side, side, 3) if channels == 3 else (count, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image: NDArray[np.uint8], format: str = "PNG") -> bytes:
    """One image as the bytes of a file; PNG keeps every pixel."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format)
    return stream.getvalue()


def write_shard(
    path: Path,
    blobs: Sequence[bytes | None],
    labels: Sequence[int | None],
    *,
    names: Sequence[str] | None = NAMES,
    image: str = "image",
    label: str = "label",
) -> Path:
    """A Parquet file as the Hugging Face libraries write it."""
    rows = [None if blob is None else {"bytes": blob, "path": None} for blob in blobs]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({image: pa.array(rows, kind), label: pa.array(labels, pa.int64())})
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"names": list(names)}}
        metadata = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": metadata})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def write_pair(folder: Path, *, train: int = 12, test: int = 6, channels: int = 3) -> Path:
    """A sound dataset of three classes: one training and one test shard."""
    for split, count, seed in (("train", train, 1), ("test", test, 2)):
        blobs = [encode(image) for image in pixels(count, seed=seed, channels=channels)]
        write_shard(folder / f"{split}.parquet", blobs, [row % 3 for row in range(count)])
    return folder
