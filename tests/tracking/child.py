"""What other processes do in these tests: ``python child.py FUNCTION ARGUMENT ...``."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from logged_search import log_search, start_trial

from kdtune.tracking import MLflowSink, default_tracking_uri
from kdtune.tracking.events import Measured
from kdtune.tracking.journal import Header, Journal

TIMEOUT_S = 100.0


def command(function: str, *words: object) -> list[str]:
    """What runs ``function`` in a process of its own."""
    return [sys.executable, __file__, function, *map(str, words)]


def killed_after(lines: int, function: str, *words: object) -> int:
    """Kill ``function`` after it said so many lines; the number in the last one."""
    with subprocess.Popen(command(function, *words), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    return int([line for line in said if line.endswith(b"\n")][-1])


def log(uri: str, folder: str, experiment: str, flush_s: str = "0") -> None:
    """Log trials for ever, and say after each how many epochs there were.

    After ten of them at most ``flush_s`` seconds are spent on writing.
    """
    sink = MLflowSink(
        tracking_uri=uri, experiment=experiment, run_name="search", journal=Path(folder, "journal")
    )
    logged = 0
    for number in range(100_000):
        start_trial(sink, number, epochs=4)
        logged += 5
        if number == 9:
            sink.flush(float(flush_s))
        os.write(1, f"{logged}\n".encode())
        time.sleep(0.02)


def search(storage: str, number: str) -> None:
    """A search of 10 trials, written after every second of them."""
    sink = MLflowSink(
        tracking_uri=default_tracking_uri(Path(storage)),
        experiment=f"experiment {number}",
        run_name="search",
        journal=Path(storage, f"search {number}", "journal"),
    )
    for trials in range(2, 11, 2):
        log_search(sink, trials=trials, epochs=10, first=trials - 2)
        sink.flush(TIMEOUT_S)
    report = sink.close(TIMEOUT_S)
    assert report.complete, report


def fill(folder: str) -> None:
    """Append to a journal until a file may not grow any more, which is like a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    header = Header(search_id="s", experiment="e", tracking_uri="u", run_name="r")
    journal = Journal(Path(folder), header)
    for epoch in range(1000):
        try:
            journal.put(Measured(key="a", epoch=epoch, metrics={"m": 1.0}, time_ms=1))
        except OSError:
            os.write(1, f"{epoch}\n".encode())
            return


if __name__ == "__main__":
    {"log": log, "search": search, "fill": fill}[sys.argv[1]](*sys.argv[2:])
