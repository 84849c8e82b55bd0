"""The places that a search writes to."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from kdtune.doctor.finding import Asked, Finding, fail, ok, warn
from kdtune.storage import Location, StorageError
from kdtune.tracking.health import check_tracking

GB = 1e9
LEAST_DISK, SCARCE_DISK = 0.5 * GB, 5 * GB
LEAST_ENTRIES = 10_000
SLOW_S = 2.0
SKEW_S = 60.0
"""Seconds by which a file server's clock may differ."""
FULL = 0.95
"""Share of a disk above which Ray refuses to put objects there."""


def storage(asked: Asked) -> Iterator[Finding]:
    """Whether results can be written, made durable, renamed, and read back."""
    location = Location.parse(asked.storage)
    if location.is_local:
        yield from _folder("storage", location.local)
        return
    try:
        location.check_writable()
    except StorageError as error:
        yield fail(str(error), "see docs/cluster.md")
    else:
        yield ok(f"{location.uri} takes files and gives them back")


def teachers(asked: Asked) -> Iterator[Finding]:
    """The store of teachers, where it is in the storage already."""
    location = Location.parse(asked.storage)
    if location.is_local and (location.local / "teachers").exists():
        yield from _folder("teacher store", location.local / "teachers")
    else:
        yield ok("lies in the storage, made by the first search")


def cache(_: Asked) -> Iterator[Finding]:
    """Where decoded datasets are kept."""
    yield from _folder("cache", Path(platformdirs.user_cache_dir("kdtune")))


def temporary(_: Asked) -> Iterator[Finding]:
    """Where Ray keeps its logs and what does not fit into memory."""
    usage = shutil.disk_usage(tempfile.gettempdir())
    used = 1 - usage.free / usage.total
    text = f"{tempfile.gettempdir()} is {used:.0%} full, {usage.free / GB:.1f} GB are free"
    if used > FULL:
        yield warn(f"{text}; Ray spills nothing above {FULL:.0%}", "free space there")
    else:
        yield ok(text)


def tracking(asked: Asked) -> Iterator[Finding]:
    """Whether MLflow's server answers, or its database can be written and has the right schema."""
    try:
        yield ok(check_tracking(asked.tracking_uri))
    except (ConnectionError, OSError, ValueError) as error:
        yield fail(str(error), "until then a search keeps it all in its journal, for 'kdtune sync'")


def _folder(what: str, folder: Path) -> Iterator[Finding]:
    """A folder that is there, or that can be made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        took_s, skew_s = _write(existing)
    except OSError as error:
        yield fail(
            f"the {what} '{folder}' cannot be written: {error.strerror} ('{existing}')",
            "make it writable for this user, free space, or give another folder",
        )
        return
    free, entries = shutil.disk_usage(existing).free, os.statvfs(existing).f_favail
    text = f"'{folder}' is writable, {free / GB:.1f} GB free"
    if free < LEAST_DISK:
        yield fail(text, "free space, or give another folder")
    elif free < SCARCE_DISK:
        yield warn(text, "free space: checkpoints of large networks take GBs")
    elif 0 < entries < LEAST_ENTRIES:
        yield warn(f"{text}, and room for {entries} files", "delete small files there")
    elif took_s > SLOW_S:
        yield warn(f"{text}, and writing a file takes {took_s:.1f} s", "use a faster disk")
    elif abs(skew_s) > SKEW_S:
        yield warn(f"{text}, and its clock is {skew_s:+.0f} s off", "set both clocks by NTP")
    else:
        yield ok(text)


def _write(folder: Path) -> tuple[float, float]:
    """Write, sync, rename, read and delete a file: seconds that took, and the file's clock."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".kdtune-doctor-", dir=folder) as place:
        draft, final = Path(place, "draft"), Path(place, "final")
        with draft.open("wb") as file:
            file.write(os.urandom(65536))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, final)
        if final.stat().st_size != 65536:
            raise OSError(5, "what was written is not there", str(final))
        skew_s = final.stat().st_mtime - time.time()
    return time.monotonic() - begun, skew_s
