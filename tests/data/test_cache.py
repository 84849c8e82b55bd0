"""The decoded images on disk."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import write_pair

from kdtune.data.cache import open_or_decode
from kdtune.data.source import Decoded, Pictures, Plan

LOAD = """
import sys
from pathlib import Path
from kdtune.data import load_dataset
from kdtune.data.sources import parquet
decode = parquet._decode
def announced(*arguments):
    with open(sys.argv[3], "a") as log:
        log.write("decoded\\n")
    import time; time.sleep(1)
    return decode(*arguments)
parquet._decode = announced
print(load_dataset(f"parquet:{sys.argv[1]}", cache_dir=Path(sys.argv[2])).fingerprint)
"""


def counted(images: int = 4) -> tuple[Plan, list[int]]:
    """A plan and the list that grows with each decoding."""
    calls: list[int] = []

    def decode() -> Decoded:
        calls.append(1)
        pixels = np.arange(images * 16, dtype=np.uint8).reshape(images, 1, 4, 4)
        part = Pictures(images=pixels, labels=np.arange(images))
        return Decoded(train=part, test=part, class_names=("a", "b"))

    return Plan(identity=("counted",), decode=decode), calls


def entry(cache: Path) -> Path:
    (found,) = (path for path in cache.iterdir() if path.is_dir())
    return found


def test_the_second_open_does_not_decode(cache: Path) -> None:
    plan, calls = counted()
    first, second = open_or_decode(plan, cache), open_or_decode(plan, cache)
    assert len(calls) == 1
    assert first.fingerprint == second.fingerprint
    assert first.train_count == 4
    assert first.images.shape == (8, 1, 4, 4)
    assert first.sums[1].tolist() == [[sum(range(16, 32)), sum(p * p for p in range(16, 32))]]


def test_a_write_to_one_mapping_reaches_no_other(cache: Path) -> None:
    plan, _ = counted()
    first = open_or_decode(plan, cache)
    first.images.zero_()
    assert open_or_decode(plan, cache).images.sum() > 0


def flip_a_byte(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "sums.npy", "meta.json"])
@pytest.mark.parametrize("damage", [flip_a_byte, truncate, os.unlink])
def test_a_damaged_entry_is_decoded_again(
    file: str, damage: Callable[[Path], None], cache: Path
) -> None:
    plan, calls = counted()
    before = open_or_decode(plan, cache).fingerprint
    damage(entry(cache) / file)
    assert open_or_decode(plan, cache).fingerprint == before
    assert len(calls) == 2


def test_a_failed_decoding_leaves_no_entry(cache: Path) -> None:
    def fail() -> Decoded:
        raise ValueError("bad data")

    plan = Plan(identity=("x",), decode=fail)
    with pytest.raises(ValueError, match="bad data"):
        open_or_decode(plan, cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_what_a_killed_process_left_is_cleared_away(cache: Path) -> None:
    plan, calls = counted()
    open_or_decode(plan, cache)
    leftover = entry(cache).with_suffix(".partial")
    os.rename(entry(cache), leftover)
    open_or_decode(plan, cache)
    assert len(calls) == 2
    assert not leftover.exists()


@contextmanager
def full_disk(cache: Path) -> Iterator[None]:
    """The system refuses to write more than a few bytes into any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_folder(cache: Path) -> Iterator[None]:
    cache.write_text("in the way")
    yield
    cache.unlink()


@pytest.mark.parametrize("fault", [full_disk, no_folder])
def test_without_a_usable_cache_the_data_is_held_in_memory(
    cache: Path,
    fault: Callable[[Path], AbstractContextManager[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan, calls = counted()
    with fault(cache):
        found = open_or_decode(plan, cache)
    assert f"the dataset cache '{cache}' cannot be used" in caplog.text
    cached = open_or_decode(plan, cache)
    assert len(calls) == 2
    assert [entry(cache).suffix] == [""]
    assert (found.train_count, found.class_names) == (cached.train_count, cached.class_names)
    assert found.fingerprint == cached.fingerprint
    for name in ("images", "labels", "sums"):
        assert torch.equal(getattr(found, name), getattr(cached, name))


def test_concurrent_processes_decode_once(tmp_path: Path, cache: Path) -> None:
    log = tmp_path / "log"
    arguments = [write_pair(tmp_path / "tiny"), cache, log]
    command = [sys.executable, "-c", LOAD, *map(str, arguments)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    prints = {process.communicate(timeout=120)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(prints) == 1
    assert log.read_text() == "decoded\n"
