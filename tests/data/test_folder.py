"""Image folders."""

from pathlib import Path

import pytest
from tiny_data import NAMES, encode, pixels, write_shard

from kdtune.data import DataError, Dataset, load_dataset

PER_CLASS = {"train": 4, "test": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in PER_CLASS.items():
        images = iter(pixels(3 * count, seed=count))
        for name in NAMES:
            (tmp_path / "tree" / split / name).mkdir(parents=True)
            for number in range(count):
                path = tmp_path / "tree" / split / name / f"{number}.png"
                path.write_bytes(encode(next(images)))
    return tmp_path / "tree"


def load(folder: Path, cache: Path) -> Dataset:
    return load_dataset(f"folder:{folder}", cache_dir=cache)


def test_classes_are_the_sorted_folder_names(folder: Path, cache: Path) -> None:
    dataset = load(folder, cache)
    assert dataset.class_names == NAMES
    assert dataset.test.targets.tolist() == [0, 0, 1, 1, 2, 2]


def test_the_fingerprint_is_that_of_the_same_content_in_parquet(
    folder: Path, tmp_path: Path, cache: Path
) -> None:
    for split, count in PER_CLASS.items():
        blobs = [encode(image) for image in pixels(3 * count, seed=count)]
        labels = [row // count for row in range(3 * count)]
        write_shard(tmp_path / f"rows/{split}.parquet", blobs, labels)
    rows = load_dataset(f"parquet:{tmp_path / 'rows'}", cache_dir=cache)
    assert load(folder, cache).fingerprint == rows.fingerprint


def test_other_files_are_passed_over(folder: Path, cache: Path) -> None:
    before = load(folder, cache).fingerprint
    (folder / "train/bee/notes.txt").write_text("hello")
    (folder / "train/bee/.hidden.png").write_bytes(b"junk")
    assert load(folder, cache).fingerprint == before


def test_a_corrupt_image_is_named(folder: Path, cache: Path) -> None:
    (folder / "test/cat/1.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"test/cat/1\.png': not a readable image"):
        load(folder, cache)


def test_a_test_class_without_training_images_is_named(folder: Path, cache: Path) -> None:
    (folder / "test/cow").mkdir()
    (folder / "test/cow/0.png").write_bytes(encode(pixels(1, seed=0)[0]))
    with pytest.raises(DataError, match=r"test/cow' has no training images; .*bee, cat, dog"):
        load(folder, cache)


def test_missing_folders_say_what_is_expected(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder '.*train'; expected train/<class>"):
        load(tmp_path, cache)
    (tmp_path / "train/bee").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no images under '.*train'; expected <class>"):
        load(tmp_path, cache)
