"""Names, arguments and what a limit does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_data import write_pair

from kdtune.data import absolute_name, describe, download, load_dataset, merge_train_val


def test_a_limit_shrinks_train_and_validation_in_proportion(cache: Path) -> None:
    whole = load_dataset("digits", cache_dir=cache)
    small = load_dataset("digits", train_limit=100, cache_dir=cache)
    assert (len(small.train), len(small.val), len(small.test)) == (100, 33, 359)
    assert set(small.train.index.tolist()) < set(whole.train.index.tolist())
    assert set(small.val.index.tolist()) < set(whole.val.index.tolist())
    assert torch.bincount(small.train.targets).min() >= 9


def test_a_limit_above_the_size_changes_nothing(cache: Path) -> None:
    whole = load_dataset("digits", cache_dir=cache)
    assert torch.equal(
        load_dataset("digits", train_limit=5000, cache_dir=cache).train.index, whole.train.index
    )


def test_the_fraction_is_of_the_training_images(cache: Path) -> None:
    assert len(load_dataset("digits", val_fraction=0.1, cache_dir=cache).val) == 144


def test_merged_training_images_keep_their_positions_first(cache: Path) -> None:
    digits = load_dataset("digits", cache_dir=cache)
    merged = merge_train_val(digits)
    assert torch.equal(merged.train.index[:1078], digits.train.index)
    assert torch.equal(merged.train.index[1078:], digits.val.index)
    assert merged.val is digits.val
    assert replace(merged, train=digits.train).mean == digits.mean


def test_a_repeated_load_is_the_same_object(cache: Path) -> None:
    assert load_dataset("digits", cache_dir=cache) is load_dataset("digits", cache_dir=cache)


def test_the_user_decides_about_flips(tmp_path: Path, cache: Path) -> None:
    name = f"parquet:{write_pair(tmp_path / 'tiny')}"
    assert load_dataset(name, cache_dir=cache).flip
    assert not load_dataset(name, flip=False, cache_dir=cache).flip


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("digit", {}, "unknown dataset 'digit'; did you mean 'digits'"),
        ("digits:here", {}, "takes no location, got 'digits:here'; write 'digits'"),
        ("parquet", {}, "needs a location, got 'parquet'; write parquet:URI"),
        ("cifar10", {}, "needs a data root, got none"),
        ("digits", {"val_fraction": 1.0}, r"val_fraction must be in \(0, 1\), got 1.0"),
        ("digits", {"train_limit": 0}, "train_limit must be >= 1, got 0"),
        ("digits", {"train_limit": 9}, "at least the number of classes of 'digits', 10, got 9"),
    ],
)
def test_a_wrong_argument_is_named(
    name: str, options: dict[str, float], words: str, cache: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        load_dataset(name, cache_dir=cache, **options)


def test_relative_locations_count_from_the_root(tmp_path: Path, cache: Path) -> None:
    write_pair(tmp_path / "tiny")
    dataset = load_dataset("parquet:tiny", root=str(tmp_path), cache_dir=cache)
    assert dataset.name == "parquet:tiny"
    assert absolute_name("parquet:tiny", root=str(tmp_path)) == f"parquet:{tmp_path / 'tiny'}"


@pytest.mark.parametrize("name", ["digits", "parquet:s3://bucket/folder"])
def test_names_without_a_local_path_are_absolute_already(name: str) -> None:
    assert absolute_name(name) == name


def test_the_list_of_datasets_names_them_all() -> None:
    names = [info.name for info in describe()]
    assert names == ["cifar10", "cifar100", "digits", "folder:PATH", "parquet:URI"]


def test_only_some_datasets_can_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'digits' cannot be downloaded; these can: cifar10, cif"):
        download("digits", str(tmp_path))
