"""Files that were cut short, tipped over, or were made to do harm: usable, or a clear error."""

import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_data import encode, pixels, write_pair

from kdtune.data import DataError, Dataset, forget_loaded, load_dataset
from kdtune.data.pictures import MAX_BYTES, decode_pictures
from kdtune.teachers.store import TeacherError, read_weights

ROWS, SIDE = 12, 8


def load(folder: Path, kind: str = "parquet") -> Dataset:
    forget_loaded()
    return load_dataset(f"{kind}:{folder}", cache_dir=folder / "cache")


# Parquet


def mutated(content: bytes, draws: random.Random) -> bytes:
    """``content`` with one of the things that happen to files: bits, blocks, ends."""
    found = bytearray(content)
    place = draws.randrange(len(found))
    match draws.choice(("flip", "noise", "gap", "end", "bytes")):
        case "flip":
            found[place] ^= 1 << draws.randrange(8)
        case "noise":
            block = found[place : place + draws.randrange(1, 40)]
            found[place : place + len(block)] = draws.randbytes(len(block))
        case "gap":
            del found[place : place + draws.randrange(1, 20)]
        case "end":
            del found[place:]
        case "bytes":
            for _ in range(draws.randrange(1, 4)):
                found[draws.randrange(len(found))] = draws.randrange(256)
    return bytes(found)


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_parquet_file_is_right_shaped_data_or_a_named_error(
    tmp_path: Path, seed: int
) -> None:
    file = write_pair(tmp_path) / "train.parquet"
    content, draws = file.read_bytes(), random.Random(seed)
    refused = taken = 0
    for _ in range(100):
        file.write_bytes(mutated(content, draws))
        try:
            data = load(tmp_path)
        except DataError as error:
            refused += str(tmp_path) in str(error)
        else:
            taken += 1
            assert data.train.images.shape == (ROWS + 6, 3, SIDE, SIDE)
            assert len(data.train) + len(data.val) == ROWS
            assert int(data.train.labels.max()) < data.classes <= ROWS
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert refused + taken == 100
    assert taken


KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
BLOBS = [encode(image) for image in pixels(ROWS, seed=1)]
LABELS = pa.array([row % 3 for row in range(ROWS)], pa.int64())


def images(blobs: list[Any] = BLOBS, kind: pa.DataType = KIND) -> pa.Array:
    return pa.array([None if blob is None else {"bytes": blob} for blob in blobs], kind)


def named(names: Any) -> pa.Table:
    features = {"image": {}, "label": {"names": names}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table({"image": images(), "label": LABELS}).replace_schema_metadata(metadata)


MALFORMED = {
    "two columns of one name": (
        pa.Table.from_arrays([images(), LABELS, LABELS], ["image", "label", "label"]),
        "several columns are called 'label'",
    ),
    "labels that are fractions": (
        pa.table({"image": images(), "label": pa.array([0.5] * ROWS)}),
        "exactly one column must hold integer labels, got none",
    ),
    "labels below 0": (
        pa.table({"image": images(), "label": pa.array([0] * 5 + [-(2**63)] * 7)}),
        r"train.parquet', row 5: label 'label' must be in \[0, 1\)",
    ),
    "labels above an int64": (
        pa.table({"image": images(), "label": pa.array([2**64 - 1] * ROWS, pa.uint64())}),
        r"train.parquet', row 0: label 'label' must be in \[0, 1\)",
    ),
    "lists of images": (
        pa.table({"image": pa.array([[{"bytes": blob}] for blob in BLOBS]), "label": LABELS}),
        "must be a struct with a binary field 'bytes', got none",
    ),
    "images as text": (
        pa.table({"image": pa.array([{"bytes": "x"}] * ROWS), "label": LABELS}),
        "must be a struct with a binary field 'bytes', got none",
    ),
    "no images": (
        pa.table({"image": images([*BLOBS[:3], None, *BLOBS[4:]]), "label": LABELS}),
        "train.parquet', row 3: image 'image' holds no bytes",
    ),
    "no rows": (
        pa.table({"image": images([]), "label": LABELS[:0]}),
        "a shard must hold at least one row",
    ),
    "no columns": (pa.table({}), "got none; name one with label_column"),
    "more classes than rows": (
        named(["x"] * 100_000),
        "the metadata names 100,000 classes, and there are 12 training images",
    ),
    "a number in place of names": (named(5), "its names are not a list of texts"),
    "names that are lists": (named([["a"], ["b"], ["c"]]), "its names are not a list of texts"),
    "bottomless metadata": (
        named([]).replace_schema_metadata({"huggingface": "[" * 100_000}),
        "the Hugging Face metadata must describe column 'label'",
    ),
    "an image with ballast": (
        pa.table({"image": images([*BLOBS[:2], BLOBS[2] + b"\0" * MAX_BYTES, *BLOBS[3:]]),
                  "label": LABELS}),
        "train.parquet', row 2: an encoded image must have <= 4,194,304 bytes, got 4,194,",
    ),
    "rows that unpack to more than images can have": (
        pa.table({"image": images([b"\0" * (MAX_BYTES + 1)] * ROWS), "label": LABELS}),
        "train.parquet': row group 0 must have <= 4,194,304 bytes a row",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_parquet_file_is_named_with_its_fault(tmp_path: Path, case: str) -> None:
    table, words = MALFORMED[case]
    # One value per page and no dictionary: equal images take their space.
    pq.write_table(table, write_pair(tmp_path) / "train.parquet", use_dictionary=False)
    with pytest.raises(DataError, match=words):
        load(tmp_path)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_page_checksums_are_compared_where_the_file_has_them(tmp_path: Path) -> None:
    file = write_pair(tmp_path) / "train.parquet"
    table = pa.table({"image": images(), "label": LABELS})
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False}
    pq.write_table(table, file, write_page_checksum=True, **options)
    place = file.read_bytes().index(LABELS.buffers()[1].to_pybytes()[:64])
    content = bytearray(file.read_bytes())
    content[place] ^= 1  # Class 0 becomes class 1, which nothing else would notice.
    file.write_bytes(content)
    with pytest.raises(DataError, match="could not verify page integrity, CRC checksum"):
        load(tmp_path)


# Images


def header_of(side: int) -> bytes:
    """A PNG that announces a square of that side, and has next to nothing in it."""
    found = b"\x89PNG\r\n\x1a\n"
    body = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    for kind, content in ((b"IHDR", body), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")):
        crc = zlib.crc32(kind + content)
        found += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
    return found


@pytest.mark.parametrize("side", [513, 4000, 60_000])
def test_a_bomb_is_refused_before_it_goes_off(side: int) -> None:
    with pytest.raises(DataError, match=r"'x', row 7: .*(must be <= 512|decompression bomb)"):
        decode_pictures([("'x', row 7", header_of(side))])


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with three images each, in both splits."""
    root = tmp_path / "images"
    for number, image in enumerate(pixels(12, seed=3)):
        split, name = ("train", "test")[number // 6], ("ape", "bat")[number % 2]
        (root / split / name).mkdir(parents=True, exist_ok=True)
        (root / split / name / f"{number}.png").write_bytes(encode(image))
    return root


def link_out(place: Path) -> None:
    outside = place.parents[3] / "outside.png"
    outside.write_bytes(BLOBS[0])
    place.symlink_to(outside)


def link_out_folder(folder: Path, elsewhere: Path) -> None:
    shutil.move(folder, elsewhere)
    folder.symlink_to(elsewhere)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a link out of the folder": (link_out, "is a link that leads out of"),
    "a class that is a link out": (
        lambda place: link_out_folder(place.parent, place.parents[3] / "elsewhere"),
        "is a link that leads out of",
    ),
    "a split that is a link out": (
        lambda place: link_out_folder(place.parents[1], place.parents[3] / "elsewhere"),
        "is a link that leads out of",
    ),
    "a link to nowhere": (lambda place: place.symlink_to(place.with_name("none.png")), "cannot be"),
    "a link in a circle": (lambda place: place.symlink_to(place), "cannot be read"),
    "a folder": (Path.mkdir, "must be an image file, and is none"),
    "a pipe": (os.mkfifo, "must be an image file, and is none"),
    "an empty file": (Path.touch, "not a readable image"),
    "half an image": (lambda place: place.write_bytes(BLOBS[0][:60]), "not a readable image"),
    "a huge file": (
        lambda place: os.truncate(os.open(place, os.O_CREAT | os.O_RDWR), 1 << 40),
        "an encoded image must have <= 4,194,304 bytes, got 1,099,511,627,776",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_in_a_folder_is_named(folder: Path, fault: str) -> None:
    make, words = FAULTS[fault]
    make(folder / "train" / "ape" / "99.png")
    with pytest.raises(DataError, match=rf"/train(/ape(/99\.png)?)?'.*{words}"):
        load(folder, "folder")


def test_a_link_inside_the_folder_is_followed(folder: Path) -> None:
    (folder / "train" / "ape" / "99.png").symlink_to(folder / "train" / "ape" / "0.png")
    assert len(load(folder, "folder").train.images) == 13


# What kdtune wrote itself


def test_a_cache_entry_is_whole_or_made_anew(tmp_path: Path) -> None:
    write_pair(tmp_path)
    expected = load(tmp_path)
    pixels_of = expected.train.images.clone()
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    draws = random.Random(0)
    for file in sorted(entry.iterdir()):
        content = file.read_bytes()
        for _ in range(50):
            # Another file of that name: the one before may still be mapped.
            file.unlink(missing_ok=True)
            file.write_bytes(mutated(content, draws))
            found = load(tmp_path)
            assert found.fingerprint == expected.fingerprint
            assert found.class_names == expected.class_names
            assert np.array_equal(found.train.images, pixels_of)


def test_mutated_teacher_weights_are_tensors_or_a_named_error(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save

    file = tmp_path / "weights.safetensors"
    content = save({"layer.weight": torch.rand(3, 4), "layer.bias": torch.zeros(3)})
    draws = random.Random(0)
    for _ in range(400):
        file.write_bytes(mutated(content, draws))
        with suppress(TeacherError):
            state, _ = read_weights(file)
            assert all(isinstance(value, torch.Tensor) for value in state.values())
