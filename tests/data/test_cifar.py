"""torchvision's CIFAR layout, with tiny stand-ins for the real files."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny_data import NAMES, pixels
from torchvision import datasets

from kdtune.data import DataError, Dataset, download, load_dataset


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six training and three test images under the sums that torchvision then expects."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: object) -> list[str]:
        blob = pickle.dumps(content)
        (folder / name).write_bytes(blob)
        return [name, hashlib.md5(blob, usedforsecurity=False).hexdigest()]

    def batch(count: int, seed: int) -> dict[str, object]:
        flat = pixels(count, seed=seed, side=32).transpose(0, 3, 1, 2).reshape(count, -1)
        return {"data": flat, "labels": [row % 3 for row in range(count)]}

    kind = datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [write("data_batch_1", batch(6, 1))])
    monkeypatch.setattr(kind, "test_list", [write("test_batch", batch(3, 2))])
    name, md5 = write("batches.meta", {"label_names": list(NAMES)})
    monkeypatch.setattr(kind, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return tmp_path


def load(root: Path, cache: Path) -> Dataset:
    return load_dataset("cifar10", root=str(root), cache_dir=cache)


def test_pixels_labels_and_names_are_torchvisions(root: Path, cache: Path) -> None:
    dataset = load(root, cache)
    expected = np.concatenate([pixels(6, seed=1, side=32), pixels(3, seed=2, side=32)])
    np.testing.assert_array_equal(dataset.train.images.numpy(), expected.transpose(0, 3, 1, 2))
    assert dataset.test.targets.tolist() == [0, 1, 2]
    assert dataset.class_names == NAMES


def test_nothing_is_unpickled_from_a_file_with_another_sum(root: Path, cache: Path) -> None:
    trap = root / "trap"
    (root / "cifar-10-batches-py/test_batch").write_bytes(
        b"cbuiltins\nopen\n(V" + str(trap).encode() + b"\nVw\ntR."
    )
    with pytest.raises(DataError, match="MD5 sum is not that of cifar10; remove"):
        load(root, cache)
    assert not trap.exists()


def test_a_missing_folder_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cifar-10-batches-py' for dataset 'cifar10'"):
        load(tmp_path / "nowhere", cache)


def test_a_download_is_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Fake:
        def __init__(self, root: str, *, download: bool) -> None:
            calls.append((root, download))

    monkeypatch.setattr(datasets, "CIFAR100", Fake)
    download("cifar100", str(tmp_path))
    assert calls == [(str(tmp_path), True)]


def test_a_failed_download_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, root: str, *, download: bool) -> None:
            raise OSError("no route")

    monkeypatch.setattr(datasets, "CIFAR10", Fake)
    with pytest.raises(DataError, match=r"download of 'cifar10' into .* failed \(no route\)"):
        download("cifar10", str(tmp_path))
