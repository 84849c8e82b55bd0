"""The store of what teachers say: whole pieces or none, whatever happens to its files."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from small_disk import mounted
from torch import Tensor

from kdtune.teachers.signals import OLD_CLAIM_S, SignalStore, place_of

NAME = "teacher/place/epoch-00000-0"
MOST = 10_000_000


def tensors(count: int = 5, seed: int = 0) -> list[Tensor]:
    """Logits of some steps, of which the last one is smaller."""
    draws = torch.Generator().manual_seed(seed)
    sizes = [8] * (count - 1) + [3]
    return [torch.randn(size, 10, generator=draws) for size in sizes]


def store(folder: Path, most: int = MOST) -> SignalStore:
    return SignalStore(folder, most_bytes=most)


def read(place: SignalStore, name: str = NAME) -> list[Tensor] | None:
    piece = place.read(name)
    return None if piece is None else [piece.tensor(step) for step in range(len(piece.shapes))]


def same(found: Sequence[Tensor] | None, expected: Sequence[Tensor]) -> bool:
    return found is not None and all(map(torch.equal, found, expected))


def published(folder: Path, *, most: int = MOST) -> tuple[SignalStore, Path]:
    place = store(folder, most)
    place.publish(NAME, tensors(), seconds=1.5)
    return place, folder / f"{NAME}.arrow"


def test_a_piece_comes_back_the_same_bits(tmp_path: Path) -> None:
    place, file = published(tmp_path)
    piece = place.read(NAME)
    assert piece is not None
    assert same(read(place), tensors())
    assert piece.seconds == 1.5
    assert piece.size == file.stat().st_size


def test_tensors_of_any_shape_come_back(tmp_path: Path) -> None:
    place = store(tmp_path)
    mixed = [torch.randn(2, 3, 4), torch.randn(7), torch.zeros(0, 5), torch.tensor(float("inf"))]
    place.publish(NAME, mixed, seconds=0.0)
    assert same(read(place), mixed)


def test_what_is_read_does_not_change_when_the_file_is_gone(tmp_path: Path) -> None:
    place, file = published(tmp_path)
    piece = place.read(NAME)
    file.unlink()
    assert piece is not None
    assert same([piece.tensor(step) for step in range(5)], tensors())


def test_half_precision_rounds_and_nothing_more(tmp_path: Path) -> None:
    place = store(tmp_path)
    place.publish(NAME, tensors(), seconds=0.0, half=True)
    assert same(read(place), [tensor.half().float() for tensor in tensors()])


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert store(tmp_path / "nowhere").read(NAME) is None


def test_one_alone_may_claim_a_piece_until_it_is_published(tmp_path: Path) -> None:
    first, second = store(tmp_path), store(tmp_path)
    assert first.claim(NAME)
    assert not second.claim(NAME)
    first.publish(NAME, tensors(), seconds=0.0)
    assert [file.suffix for file in (tmp_path / NAME).parent.iterdir()] == [".arrow"]


def test_whatever_bit_flips_a_piece_is_the_same_or_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, file = published(tmp_path)
    whole = file.read_bytes()
    luck = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[luck.randrange(len(whole))] ^= 1 << luck.randrange(8)
        file.unlink(missing_ok=True)  # Never overwritten in place: a reader may have it mapped.
        file.write_bytes(damaged)
        found = read(place)
        assert found is None or same(found, tensors())
        refused += found is None
    assert refused > 100
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_piece_that_was_cut_short_is_deleted_and_computed_again(
    tmp_path: Path, share: float
) -> None:
    place, file = published(tmp_path)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert place.read(NAME) is None
    assert not file.exists()
    place.publish(NAME, tensors(), seconds=0.0)
    assert same(read(place), tensors())


def test_a_piece_under_another_name_is_not_taken_for_it(tmp_path: Path) -> None:
    place, file = published(tmp_path)
    other = file.with_name("epoch-00001-0.arrow")
    file.rename(other)
    assert place.read("teacher/place/epoch-00001-0") is None


def test_what_was_read_longest_ago_makes_room(tmp_path: Path) -> None:
    big = [torch.randn(100, 100) for _ in range(5)]  # 200 kB
    place = store(tmp_path, most=1_000_000)
    names = [f"teacher/place/epoch-{epoch:05d}-0" for epoch in range(7)]
    for age, name in enumerate(names[:4]):
        place.publish(name, big, seconds=0.0)
        long_ago = time.time() - 1000 + age
        os.utime(tmp_path / f"{name}.arrow", (long_ago, long_ago))
    assert place.read(names[0]) is not None  # Now it is the one that was read last.
    for name in names[4:]:
        place.publish(name, big, seconds=0.0)
    left = {name for name in names if place.read(name) is not None}
    assert names[0] in left
    assert names[1] not in left
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.arrow")) <= 1_000_000


def test_what_dead_writers_left_is_swept_when_room_is_looked_for(tmp_path: Path) -> None:
    place = store(tmp_path)
    assert place.claim("teacher/place/old")
    half = tmp_path / "teacher/place/.epoch-00009-0.arrow.0"
    half.write_bytes(b"half")
    long_ago = time.time() - 2 * OLD_CLAIM_S
    for file in (half, tmp_path / "teacher/place/old.claim"):
        os.utime(file, (long_ago, long_ago))
    assert place.claim("teacher/place/young")
    place.publish(NAME, tensors(), seconds=0.0)
    left = {file.name for file in half.parent.iterdir()}
    assert left == {"young.claim", "epoch-00000-0.arrow"}


def test_a_full_disk_is_said_once_and_leaves_nothing_half_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with mounted(tmp_path / "disk") as disk:
        place, _ = published(disk.folder)
        disk.fill()
        for epoch in (1, 2):
            place.publish(f"teacher/place/epoch-{epoch:05d}-0", tensors(2000), seconds=0.0)
        assert place.failed_writes == 2
        assert caplog.text.count("cannot write") == 1
        assert "No space left" in caplog.text
        assert same(read(place), tensors())
        assert [f.name for f in (disk.folder / NAME).parent.iterdir()] == ["epoch-00000-0.arrow"]


def test_a_read_only_store_can_be_read_and_everybody_computes_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with mounted(tmp_path / "disk") as disk:
        place, _ = published(disk.folder)
        disk.make_read_only()
        assert same(read(place), tensors())
        assert place.claim("teacher/place/other")
        place.publish("teacher/place/other", tensors(), seconds=0.0)
        assert place.failed_writes == 1
        assert "Read-only" in caplog.text


def test_equal_identities_have_one_place_and_others_another() -> None:
    identity = {"stream": {"seed": 1}, "half": False}
    assert place_of(identity) == place_of(dict(reversed(identity.items())))
    assert place_of(identity) != place_of({**identity, "half": True})


def _write_on_and_on(folder: Path) -> None:
    place = store(folder, most=200_000)
    for epoch in range(1_000_000):
        for number in range(4):
            name = f"teacher/place/epoch-{epoch % 50:05d}-{number}"
            place.publish(name, tensors(30, seed=number), seconds=0.0)


def test_killed_writers_and_crowds_of_readers_never_see_a_wrong_piece(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spawn = multiprocessing.get_context("fork")
    place = store(tmp_path)
    luck, seen = random.Random(1), 0
    for _ in range(6):
        writers = [spawn.Process(target=_write_on_and_on, args=(tmp_path,)) for _ in range(2)]
        for writer in writers:
            writer.start()
        until = time.monotonic() + 0.2 + luck.random() / 2
        while time.monotonic() < until:
            number = luck.randrange(4)
            found = read(place, f"teacher/place/epoch-{luck.randrange(50):05d}-{number}")
            assert found is None or same(found, tensors(30, seed=number))
            seen += found is not None
        for writer in writers:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
    assert seen > 20
    assert "damaged" not in caplog.text
