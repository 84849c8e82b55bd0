"""Questions that are put to a process of their own, as the answer may be a crash or none at all."""

import json
import signal
import subprocess
import sys
from typing import Any

import psutil  # type: ignore[import-untyped]


class NoAnswer(Exception):
    """A process that died, hung, or raised; the text says which."""


def answer(code: str, *, timeout_s: float, arguments: tuple[str, ...] = ()) -> Any:
    """What ``code`` prints in its last line, read as JSON.

    Args:
        code: Python, run by this interpreter.
        timeout_s: Seconds after which the process is killed with all that it started.
        arguments: Its ``sys.argv[1:]``.

    Raises:
        NoAnswer: If there is none.
    """
    command = [sys.executable, "-c", code, *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said, complaint = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"no answer within {timeout_s:g} s") from None
    finally:
        _kill(child)
    if child.returncode < 0:
        raise NoAnswer(f"the process was killed by {signal.Signals(-child.returncode).name}")
    if child.returncode:
        lines = [line for line in complaint.splitlines() if line.strip()]
        raise NoAnswer(lines[-1].strip() if lines else f"exit code {child.returncode}")
    return json.loads(said.strip().splitlines()[-1])


def _kill(child: "subprocess.Popen[str]") -> None:
    """End it, and what it started: Ray's processes outlive a driver that is killed."""
    if child.poll() is None:
        processes = psutil.Process(child.pid).children(recursive=True)
        for process in (*processes, child):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        child.wait()
