"""Searches in processes of their own, which tests stop, kill and let go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from kdtune.search.log import FILE, Event, read_log

EAGER = Path(__file__).with_name("eager_search.py")
"""The command whose trials save after every report."""

WATCHED_S = 200.0


class Driver:
    """A ``kdtune`` command that runs.

    Args:
        words: What follows the command's name.
        output: File that takes all that it prints, and what earlier ones printed there.
        environment: In place of this process's own variables of these names.
    """

    def __init__(
        self, *words: str, output: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        outside = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        self.output = output
        self._offset = output.stat().st_size if output.exists() else 0
        with output.open("ab") as file:
            self.process = psutil.Popen(
                [sys.executable, "-u", str(EAGER), *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**outside, "COLUMNS": "100", **(environment or {})},
                start_new_session=True,
            )
        self._family: list[psutil.Process] = []

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self.output.read_bytes()[self._offset :].decode()

    def until(self, seen: Callable[[], object]) -> None:
        """Wait until ``seen`` is true, while the command runs."""
        deadline = time.monotonic() + WATCHED_S
        while not seen():
            assert self.process.poll() is None, f"it ended too early: {self.printed[-3000:]}"
            assert time.monotonic() < deadline, f"it takes too long: {self.printed[-3000:]}"
            time.sleep(0.02)

    def ends(self, within_s: float = WATCHED_S) -> int:
        """Its exit code, once it is over."""
        return int(self.process.wait(within_s))

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        self.process.send_signal(number)

    def kill(self, *, alone: bool = False) -> None:
        """End it without a warning; with all that it started, Ray included, unless ``alone``."""
        family = [self.process, *self.process.children(recursive=True)]
        for process in family[:1] if alone else family:
            kill(process)
        self.process.wait()
        self._family += family

    def leaves_nothing(self) -> None:
        """End what a command that was killed alone has left, if Ray itself has not yet."""
        for process in self._family:
            kill(process)
        psutil.wait_procs(self._family, timeout=20)


def kill(process: psutil.Process) -> None:
    """SIGKILL, whether it is still there or not."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def events(folder: Path) -> tuple[Event, ...]:
    """What the log of a search holds by now; a line that is being written is left out."""
    return read_log(folder).events if (folder / FILE).is_file() else ()
