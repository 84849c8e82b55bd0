"""Parquet files in the Hugging Face image layout, local or behind any pyarrow file system.

An image column (a struct whose field ``bytes`` is the encoded file) and an integer label column,
in one or many shards. A shard belongs to a split by how its file name starts: ``train`` or
``test``. Files that start otherwise, ``validation`` among them, are not read: validation is carved
from train, the same way for every dataset.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdtune.data.errors import DataError
from kdtune.data.parquet_schema import Columns, check_columns, find_columns
from kdtune.data.pictures import MAX_BYTES, Item, decode_pictures
from kdtune.data.source import SOURCES, DatasetInfo, Decoded, Pictures, Plan, Request, Source

SHARD = re.compile(r"(train|test)([-_.].*)?\.parquet")
ROWS_AT_ONCE = 4096
MAX_GROUP_BYTES = 4 << 30
"""Of one row group, which pyarrow may hold in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The files of one dataset: ``{"train": [...], "test": [...]}``, each sorted by name."""

    filesystem: Any
    paths: dict[str, list[str]]


def parquet(request: Request) -> Plan:
    """The plan for a folder of shards, or for its subfolder ``data``.

    Raises:
        FileNotFoundError: If there is no shard of one of the two splits.
        DataError: If the URI's scheme is unknown to pyarrow.
    """
    filesystem, base = _open_filesystem(request.location)
    files = _list_shards(filesystem, base) or _list_shards(filesystem, f"{base}/data")
    if not files:
        raise FileNotFoundError(
            f"no Parquet files under '{request.location}'; "
            "expected e.g. train-00000-of-00001.parquet and test-00000-of-00001.parquet"
        )
    shards = Shards(filesystem=filesystem, paths={"train": [], "test": []})
    for split, file in files:
        shards.paths[split].append(file.path)
    for split, paths in shards.paths.items():
        if not paths:
            raise FileNotFoundError(
                f"no {split} shard under '{request.location}'; "
                f"expected e.g. {split}-00000-of-00001.parquet"
            )
    return Plan(
        identity=(
            "parquet",
            request.location,
            request.image_column,
            request.label_column,
            *(f"{file.path} {file.size} {file.mtime_ns}" for _, file in files),
        ),
        decode=partial(_decode, shards, request.image_column, request.label_column),
    )


def _open_filesystem(location: str) -> tuple[Any, str]:
    from pyarrow import fs

    if "://" not in location:
        return fs.LocalFileSystem(), location
    try:
        filesystem, base = fs.FileSystem.from_uri(location)
    except (ValueError, ImportError) as error:
        raise DataError(
            f"location must be a folder or a URI that pyarrow can open (file://, s3://, gs://, "
            f"hdfs://), got '{location}' ({error})"
        ) from error
    return filesystem, str(base)


def _list_shards(filesystem: Any, base: str) -> list[tuple[str, Any]]:
    """Pairs of split name and ``pyarrow.fs.FileInfo``, sorted by path."""
    from pyarrow import fs

    if filesystem.get_file_info(base).type != fs.FileType.Directory:
        return []
    infos = filesystem.get_file_info(fs.FileSelector(base))
    found = [(SHARD.fullmatch(info.base_name), info) for info in infos if info.is_file]
    shards = [(match.group(1), info) for match, info in found if match]
    return sorted(shards, key=lambda shard: str(shard[1].path))


def _decode(shards: Shards, image: str, label: str) -> Decoded:
    first = shards.paths["train"][0]
    with _opened(shards, first) as file:
        columns = find_columns(file.schema_arrow, image=image, label=label, place=_place(first))
    labels = {
        split: [_labels(shards, path, columns) for path in paths]
        for split, paths in shards.paths.items()
    }
    names = columns.class_names or _numbered(labels["train"])
    rows = sum(map(len, labels["train"]))
    if len(names) > rows:
        raise DataError(
            f"{_place(first)}: the metadata names {len(names):,} classes, and there are {rows:,} "
            "training images; every class needs at least 2"
        )
    for split, paths in shards.paths.items():
        for path, values in zip(paths, labels[split], strict=True):
            _check_range(values, len(names), f"{_place(path)}", columns.label)
    train = decode_pictures(_items(shards, "train", columns))
    test = decode_pictures(_items(shards, "test", columns), side=train.shape[2])
    return Decoded(
        train=Pictures(images=train, labels=np.concatenate(labels["train"])),
        test=Pictures(images=test, labels=np.concatenate(labels["test"])),
        class_names=names,
    )


def _labels(shards: Shards, path: str, columns: Columns) -> NDArray[np.int64]:
    """``(rows,)``, none of them null."""
    with _opened(shards, path) as file:
        check_columns(file.schema_arrow, columns, place=_place(path))
        if file.metadata.num_rows == 0:
            raise DataError(f"{_place(path)}: a shard must hold at least one row; remove the file")
        column = file.read(columns=[columns.label]).column(0)
        _check_count(len(column), file.metadata, _place(path))
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{_place(path, row)}: label '{columns.label}' must not be null")
    return np.asarray(column.to_numpy()).astype(np.int64)


def _numbered(labels: list[NDArray[np.int64]]) -> tuple[str, ...]:
    """Names for classes that the files do not name; never more of them than there are rows."""
    rows = sum(len(values) for values in labels)
    largest = max(int(values.max()) for values in labels)
    return tuple(str(label) for label in range(min(max(largest, 0) + 1, rows)))


def _check_range(values: NDArray[np.int64], classes: int, place: str, column: str) -> None:
    outside = np.flatnonzero((values < 0) | (values >= classes))
    if outside.size:
        row = int(outside[0])
        raise DataError(
            f"{place}, row {row}: label '{column}' must be in [0, {classes}), got {values[row]}"
        )


def _items(shards: Shards, split: str, columns: Columns) -> Iterator[Item]:
    for path in shards.paths[split]:
        with _opened(shards, path) as file:
            _check_bytes(file.metadata, _place(path))
            row = 0
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=[columns.image]):
                for blob in _blobs(batch):
                    if blob is None:
                        raise DataError(
                            f"{_place(path, row)}: image '{columns.image}' holds no bytes; "
                            "embed the files in the shard, a path alone is not followed"
                        )
                    yield _place(path, row), blob
                    row += 1
            _check_count(row, file.metadata, _place(path))


def _check_count(found: int, metadata: Any, place: str) -> None:
    if found != metadata.num_rows:
        raise DataError(
            f"{place}: {metadata.num_rows:,} rows are announced and a column has {found:,}; the "
            "file is damaged, write it again"
        )


def _check_bytes(metadata: Any, place: str) -> None:
    """Refuse row groups that unpack to more than images need, before they are unpacked.

    Asked for the size of a column in place of all, pyarrow 25 ends the process over a damaged file.
    """
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if group.total_byte_size > min(group.num_rows * MAX_BYTES, MAX_GROUP_BYTES):
            raise DataError(
                f"{place}: row group {number} must have <= {MAX_BYTES:,} bytes a row and "
                f"{MAX_GROUP_BYTES:,} in all, got {group.total_byte_size:,} in {group.num_rows:,} "
                "rows; drop columns, encode the images anew, or write smaller row groups"
            )


def _blobs(batch: Any) -> list[bytes | None]:
    import pyarrow.compute as pc

    blobs: list[bytes | None] = pc.struct_field(batch.column(0), "bytes").to_pylist()
    return blobs


@contextmanager
def _opened(shards: Shards, path: str) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile``; what pyarrow finds wrong inside becomes a `DataError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(
            path, filesystem=shards.filesystem, page_checksum_verification=True
        ) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError(f"{_place(path)}: not a readable Parquet file ({error})") from error


def _place(path: str, row: int | None = None) -> str:
    """Rows are counted from 0 within their file."""
    return f"'{path}'" if row is None else f"'{path}', row {row}"


SOURCES.register("parquet")(
    Source(
        info=DatasetInfo(
            name="parquet:URI",
            summary="Hugging Face image layout, one or many Parquet shards",
            classes=None,
            shape="1 or 3 x up to 512x512, square, one size",
            needs="train*.parquet and test*.parquet in a folder, or at s3://, gs://, ...",
        ),
        location="path",
        plan=parquet,
    )
)
