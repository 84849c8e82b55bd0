"""A search as ``kdtune search quickstart`` runs it, whose trials compute nothing.

TPE in reproducible order, ordered ASHA, journal and MLflow on SQLite, log, live display, samples of
the machine: all that is told of five reports of ten metrics a trial, less where ASHA cuts.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

from ray import tune
from rich.console import Console

from kdtune.report.progress import Display
from kdtune.search import launch as launching
from kdtune.search.interruption import Interruption
from kdtune.search.log import History, SearchLog
from kdtune.search.own_run import sink_of
from kdtune.search.request import SearchRequest
from kdtune.search.requesting import build_request

EPOCHS = 5
AT_ONCE = 2
CLOSE_TIMEOUT_S = 600.0
TRIALS = "Search"
"""How a search calls the stage of its trials; the four teachers come before it."""


def metrics(epoch: int, accuracy: float) -> dict[str, float]:
    """Ten metrics."""
    return {"val/accuracy": accuracy, **{f"train/m{place}": float(epoch) for place in range(9)}}


class Trivial(tune.Trainable):
    """Imports what a trial imports. Its accuracy follows from its settings: some are cut."""

    spread = 0.3

    def setup(self, config: dict[str, Any]) -> None:
        import trainables  # noqa: F401

        self._accuracy = 0.5 + self.spread * float(config.get("alpha", 0.5))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        epoch = self.iteration + 1
        last = epoch == EPOCHS
        ends = {"epoch": epoch, "finished": float(last), "done": last}
        return {**metrics(epoch, self._accuracy + epoch / 100), **ends}


class Even(Trivial):
    """Trials that are all alike, so that none is cut."""

    spread = 0.0


class Curve(Display):
    """A display that nobody sees, and that looks at the process every few trials."""

    def __init__(self, every: int) -> None:
        super().__init__(Console(quiet=True))
        self.samples: list[dict[str, float]] = []
        self._every = every
        self._over = 0

    def stage(self, title: str, total: int | None) -> "Curve":
        super().stage(title, total)
        if title == TRIALS:
            self.samples, self._over = [sample(0)], 0
        return self

    def trial_ended(self, trial_id: str, outcome: str, value: float | None) -> None:
        super().trial_ended(trial_id, outcome, value)
        self._over += 1
        if self._over % self._every == 0:
            self.samples.append(sample(self._over))


def sample(trials: int) -> dict[str, float]:
    """How the process stands after so many trials; called by its main thread.

    ``wall_s`` counts seconds. ``cpu_s`` is the CPU time of the whole process, Ray's native threads
    included, ``loop_s`` that of the main thread, which runs Tune's loop, and ``mlflow_s`` that of
    the thread that writes to MLflow. ``rss_mb`` is the memory that the process holds, in MiB.
    """
    threads = {each.name: each.ident for each in threading.enumerate()}
    writer = threads.get("kdtune-tracking")
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "trials": trials,
        "wall_s": time.perf_counter(),
        "cpu_s": time.process_time(),
        "loop_s": time.thread_time(),
        "mlflow_s": time.clock_gettime(time.pthread_getcpuclockid(writer)) if writer else 0.0,
        "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
    }


def trivial_search(
    folder: Path, trials: int, display: Display, trainable: type[Trivial] = Trivial
) -> None:
    """The trials of a search, and all that is told of them, until MLflow has it."""
    wanted = _request(folder, trials)
    wanted.folder.mkdir(parents=True)
    sink, log = sink_of(wanted, History()), SearchLog(wanted.folder)
    with mock.patch.object(launching, "Distill", trainable), display:
        launching.launch(
            wanted,
            sink=sink,
            display=display,
            interruption=Interruption(),
            log=log,
            history=History(),
        )
    log.close()
    sink.end("finished")
    report = sink.close(CLOSE_TIMEOUT_S)
    assert report.complete, report


def _request(folder: Path, trials: int) -> SearchRequest:
    """What ``kdtune search --trials N --epochs 5 --finalists 0`` asks for."""
    return build_request(
        "quickstart",
        shortcuts={"train.epochs": EPOCHS},
        settings=[],
        name="overhead",
        storage=folder,
        tracking_uri=None,
        experiment="overhead",
        gpus_per_trial=0,
        cpus_per_trial=1,
        seed=0,
        trials=trials,
        finalists=0,
        max_concurrent=AT_ONCE,
    )
