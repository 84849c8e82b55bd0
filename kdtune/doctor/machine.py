"""The machine: processors, memory, limits, clock and names."""

import importlib.util
import os
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from kdtune.doctor.finding import Asked, Finding, fail, ok, warn

GB = 1e9
LEAST_MEMORY, LEAST_SHARED = 4 * GB, 1 * GB
"""Bytes: Ray, a driver and one trial; and what Ray's object store should have."""
LEAST_FILES = 4096
LATEST_YEAR = 2100
SHARED = Path("/dev/shm")
MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def processors(_: Asked) -> Iterator[Finding]:
    """How many there are for this process."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if count == 1:
        yield warn("1 CPU: trials run one after the other", "use a machine with several")
    else:
        yield ok(f"{count} CPUs")


def memory(_: Asked) -> Iterator[Finding]:
    """The machine's, or the container's where that has less."""
    total = float(psutil.virtual_memory().total)
    for file in MEMORY_LIMITS:
        text = file.read_text().strip() if file.is_file() else ""
        total = min(total, float(text)) if text.isdigit() else total
    free = min(total, float(psutil.virtual_memory().available))
    text = f"{total / GB:.1f} GB of memory, {free / GB:.1f} GB free"
    if free < LEAST_MEMORY / 2 or total < LEAST_MEMORY:
        yield warn(text, f"a search takes some {LEAST_MEMORY / GB:.0f} GB; end what else runs here")
    else:
        yield ok(text)


def shared_memory(_: Asked) -> Iterator[Finding]:
    """Where Ray keeps its objects on Linux."""
    if not SHARED.is_dir():
        yield ok(f"no {SHARED}; Ray keeps its objects elsewhere on this system")
        return
    free = shutil.disk_usage(SHARED).free
    text = f"{SHARED} has {free / GB:.2f} GB free"
    if free < LEAST_SHARED:
        yield warn(
            f"{text}; Ray's object store is slow without",
            "free it, or give a container more: docker run --shm-size=4g",
        )
    else:
        yield ok(text)


def open_files(_: Asked) -> Iterator[Finding]:
    """Ray takes some dozen for each worker and connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        yield warn(f"{soft} open files are allowed", f"ulimit -n {min(hard, 65536)}")
    else:
        yield ok(f"{soft} open files are allowed")


def clock(_: Asked) -> Iterator[Finding]:
    """Whether the time can be right: runs are sorted by it, and certificates depend on it."""
    now = time.time()
    spec = importlib.util.find_spec("kdtune")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).stat().st_mtime
    shown = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"
    if now < installed or datetime.fromtimestamp(now, UTC).year > LATEST_YEAR:
        yield fail(f"the clock says {shown}, which cannot be", "set it, best by NTP")
    else:
        yield ok(shown)


def names(_: Asked) -> Iterator[Finding]:
    """Whether ``localhost`` is this machine: Ray's and MLflow's processes meet there."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo("localhost", None)}
    except socket.gaierror as error:
        found, reason = set(), f" ({error.strerror})"
    else:
        reason = ""
    if found & {"127.0.0.1", "::1"}:
        yield ok(f"localhost is {' and '.join(sorted(found))}")
    else:
        there = " and ".join(sorted(found)) or "nothing"
        yield fail(f"localhost is {there}{reason}", "have '127.0.0.1 localhost' in /etc/hosts")
