"""One holder at a time, on folders and in object stores."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from object_store import ObjectStore

from kdtune.storage import Claim, Claimed, Location, StorageError

QUICK: dict[str, Any] = {"beat_s": 0.1, "stale_s": 3.0, "settle_s": 0.5}

HOLD = f"""
import sys, time
from kdtune.storage import Claim, Location
with Claim(Location.parse(sys.argv[1]), **{QUICK}):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(location: Location) -> subprocess.Popen[bytes]:
    """Another process that holds ``location`` by now."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, location.uri], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def take_within(location: Location, seconds: float) -> None:
    """Take and release ``location``, which others may still hold for so long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with Claim(location, **QUICK):
                return
        except Claimed:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_folder_has_one_holder_who_is_named_until_he_is_killed(location: Location) -> None:
    holder = hold(location)
    try:
        named = f"in use by process {holder.pid} on {socket.gethostname()}, since 20"
        for _ in range(3):
            with pytest.raises(Claimed, match=named), Claim(location, **QUICK):
                pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    take_within(location, 0 if location.is_local else 10)
    assert set(location.names()) <= {"driver.lock"}


def test_of_many_who_take_a_folder_at_once_one_has_it(location: Location) -> None:
    together = threading.Barrier(4)

    def take(_: int) -> bool:
        together.wait()
        try:
            with Claim(location, **QUICK):
                together.wait()
                return True
        except Claimed:
            together.wait()
            return False

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(take, range(4))) == 1


def test_a_holder_learns_that_he_was_taken_over(objects: ObjectStore, tmp_path: Path) -> None:
    location = objects.location(tmp_path.name)
    with Claim(location, **QUICK) as claim:
        assert not claim.lost
        location.write("driver.json", b'{"token": "of another"}')
        deadline = time.monotonic() + 10
        while not claim.lost:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert location.names() == ("driver.json",)


def test_a_holder_outlives_an_outage(objects: ObjectStore, tmp_path: Path) -> None:
    location = objects.location(tmp_path.name)
    with Claim(location, **QUICK) as claim:
        objects.stop()
        time.sleep(0.3)
        objects.start()
        with pytest.raises(Claimed, match=f"process {os.getpid()}"), Claim(location, **QUICK):
            pass
        assert not claim.lost


def test_a_place_that_cannot_be_held_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match=r"cannot hold '.*file/x': Not a directory"),
        Claim(Location.parse(tmp_path / "file" / "x")),
    ):
        pass
