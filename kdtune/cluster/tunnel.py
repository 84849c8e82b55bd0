"""The way to a cluster that the launcher started: its dashboard, through SSH."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REMOTE_PORT = 8265
OPEN_SECONDS = 60.0


@contextmanager
def tunnel(description: Path, *, seconds: float = OPEN_SECONDS) -> Iterator[str]:
    """The address of the cluster's dashboard on this machine, inside the block.

    Args:
        description: The file that ``ray up`` was given; ``ray dashboard`` reads it.
        seconds: To wait for SSH.

    Raises:
        ValueError: If there is no way; with what ``ray dashboard`` said.
    """
    port = _free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "dashboard", str(description)]
    command += ["--port", str(port), "--remote-port", str(REMOTE_PORT)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            if not _opens(port, process, seconds):
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-5:]
                raise ValueError(
                    f"no way to the cluster of '{description}'; is it up ('ray up {description}')? "
                    "'ray dashboard' said: " + " / ".join(line.strip() for line in last)
                )
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _opens(port: int, process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        time.sleep(0.1)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the tunnel and the SSH below it, which are a group of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()
