"""Parquet in the Hugging Face image layout."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_data import NAMES, encode, pixels, write_pair, write_shard

from kdtune.data import DataError, Dataset, load_dataset

GOOD = [encode(image) for image in pixels(6, seed=5)]
LABELS = [0, 1, 2, 0, 1, 2]
CIFAR = Path(__file__).parents[3] / "shared/data/cifar10"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pair(tmp_path / "tiny")


def load(folder: Path | str, cache: Path, **options: str) -> Dataset:
    return load_dataset(f"parquet:{folder}", cache_dir=cache, **options)


def test_pixels_labels_and_names_are_those_written(folder: Path, cache: Path) -> None:
    dataset = load(folder, cache)
    train, test = pixels(12, seed=1), pixels(6, seed=2)
    expected = np.concatenate([train, test]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(dataset.train.images.numpy(), expected)
    assert dataset.test.index.tolist() == list(range(12, 18))
    assert dataset.test.targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.class_names == NAMES
    assert dataset.flip


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path, cache: Path) -> None:
    one, many = write_pair(tmp_path / "one"), tmp_path / "many"
    blobs = [encode(image) for image in pixels(12, seed=1)]
    labels = [row % 3 for row in range(12)]
    write_shard(many / "train-00001-of-00002.parquet", blobs[7:], labels[7:])
    write_shard(many / "train-00000-of-00002.parquet", blobs[:7], labels[:7])
    (many / "test-00000-of-00001.parquet").write_bytes((one / "test.parquet").read_bytes())
    assert load(many, cache).fingerprint == load(one, cache).fingerprint


def test_the_subfolder_data_is_looked_into(tmp_path: Path, cache: Path) -> None:
    write_pair(tmp_path / "hub/data")
    assert len(load(tmp_path / "hub", cache).test) == 6


def test_validation_shards_are_left_alone(folder: Path, cache: Path) -> None:
    before = load(folder, cache)
    write_shard(folder / "validation.parquet", GOOD, LABELS)
    assert load(folder, cache).fingerprint == before.fingerprint


def test_a_file_uri_is_read_through_its_file_system(folder: Path, cache: Path) -> None:
    assert load(folder.as_uri(), cache).fingerprint == load(folder, cache).fingerprint


def test_classes_without_names_are_numbered(folder: Path, cache: Path) -> None:
    write_shard(folder / "train.parquet", GOOD, LABELS, names=None)
    assert load(folder, cache).class_names == ("0", "1", "2")


def test_grey_train_and_colour_test_become_rgb(folder: Path, cache: Path) -> None:
    grey = pixels(6, seed=5, channels=1)
    write_shard(folder / "train.parquet", [encode(image) for image in grey], LABELS)
    dataset = load(folder, cache)
    assert dataset.channels == 3
    np.testing.assert_array_equal(dataset.train.images[:6, 1].numpy(), grey)


def test_columns_are_detected_or_named(folder: Path, cache: Path) -> None:
    for split in ("train", "test"):
        path = folder / f"{split}.parquet"
        table = pq.read_table(path).rename_columns({"image": "img", "label": "fine_label"})
        coarse = pa.array([0, 1] * (table.num_rows // 2))
        table = table.replace_schema_metadata(None).append_column("coarse_label", coarse)
        pq.write_table(table, path)
    assert load(folder, cache).classes == 3
    assert load(folder, cache, image_column="img", label_column="coarse_label").classes == 2
    with pytest.raises(DataError, match="no column 'coarse'; did you mean 'coarse_label'"):
        load(folder, cache, label_column="coarse")
    with pytest.raises(DataError, match="'fine_label' must be a struct with a binary field"):
        load(folder, cache, image_column="fine_label")
    with pytest.raises(DataError, match="label column 'img' must hold integers"):
        load(folder, cache, label_column="img")


@pytest.mark.parametrize(
    ("blobs", "labels", "words"),
    [
        ([*GOOD[:4], b"junk", GOOD[5]], LABELS, "row 4: not a readable image"),
        ([*GOOD[:5], None], LABELS, "row 5: image 'image' holds no bytes"),
        ([*GOOD[:5], encode(pixels(1, seed=0, side=6)[0])], LABELS, "row 5: .* got 6x6 pixels"),
        (GOOD, [0, 1, 3, 0, 1, 2], r"row 2: label 'label' must be in \[0, 3\), got 3"),
        (GOOD, [0, -1, 2, 0, 1, 2], r"row 1: label 'label' must be in \[0, 3\), got -1"),
        (GOOD, [0, 1, 2, None, 1, 2], "row 3: label 'label' must not be null"),
        ([], [], "at least one row"),
    ],
    ids=["corrupt", "no bytes", "size", "too large", "negative", "null", "empty"],
)
@pytest.mark.parametrize("split", ["train-00001", "test"])
def test_a_bad_row_is_named_with_its_file(
    blobs: list[bytes], labels: list[int], words: str, split: str, folder: Path, cache: Path
) -> None:
    write_shard(folder / f"{split}.parquet", blobs, labels)
    with pytest.raises(DataError, match=rf"tiny/{split}\.parquet'.*{words}"):
        load(folder, cache)
    assert not [path for path in cache.glob("*") if path.is_dir()]


def test_a_huge_label_without_names_is_out_of_range(folder: Path, cache: Path) -> None:
    write_shard(folder / "train.parquet", GOOD, [0, 1, 10**12, 0, 1, 2], names=None)
    with pytest.raises(DataError, match=r"row 2: label 'label' must be in \[0, 6\)"):
        load(folder, cache)


def test_a_class_needs_two_training_images(folder: Path, cache: Path) -> None:
    write_shard(folder / "train.parquet", GOOD, [0, 1, 2, 0, 1, 1])
    with pytest.raises(DataError, match=r"class 2 \('dog'\) has 1"):
        load(folder, cache)


def test_a_damaged_parquet_file_is_named(folder: Path, cache: Path) -> None:
    path = folder / "test.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"test\.parquet': not a readable Parquet file"):
        load(folder, cache)


def test_missing_shards_say_what_is_expected(tmp_path: Path, folder: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no Parquet files under .*expected e\.g\. train"):
        load(tmp_path / "nowhere", cache)
    (folder / "test.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"no test shard under .*expected e\.g\. test-0"):
        load(folder, cache)


def test_an_unknown_scheme_is_refused(cache: Path) -> None:
    with pytest.raises(DataError, match=r"URI that pyarrow can open .* got 'gopher://hole'"):
        load("gopher://hole", cache)


@pytest.mark.shared
@pytest.mark.skipif(not CIFAR.is_dir(), reason="needs the real CIFAR-10 beside the checkout")
def test_real_cifar10(cache: Path) -> None:
    dataset = load(CIFAR, cache)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (45000, 5000, 10000)
    assert torch.bincount(dataset.val.targets).tolist() == [500] * 10
    assert torch.bincount(dataset.test.targets).tolist() == [1000] * 10
    assert dataset.class_names[:2] == ("airplane", "automobile")
    assert dataset.mean == pytest.approx((0.491, 0.482, 0.447), abs=2e-3)
    assert dataset.std == pytest.approx((0.247, 0.243, 0.261), abs=3e-3)
