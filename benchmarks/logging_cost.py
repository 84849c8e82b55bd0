"""What logging costs: kdtune's sink against Ray's own MLflow callback, and within a whole search.

First both callbacks are told of the same reports of twelve metrics, in turns, at a steady pace: on
SQLite, and on an ``mlflow server`` that is started for it. ``blocked`` is how long a call holds up
the driver, and with it all trials; ``CPU`` is all that this process computed for a report, in
whatever thread, until everything was written.

Then a real search of 200 trials with 50 reports each, two at once, writes to SQLite through a
journal; its epochs do nothing but last. Afterwards MLflow is asked for every value.

    python benchmarks/logging_cost.py [--reports 100] [--repeats 5] [--trials 200] [--epoch-ms 100]
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdtune.cli import RAY_ENVIRONMENT

os.environ.update(RAY_ENVIRONMENT, MLFLOW_DISABLE_TELEMETRY="true")
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes for nothing here

import ray
import requests
from mlflow import MlflowClient
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune import Callback
from rich.console import Console
from rich.table import Table

from kdtune.search.callbacks import TrackingCallback
from kdtune.search.cluster import Share
from kdtune.search.samplers import RandomSampler
from kdtune.search.schedulers import make_scheduler
from kdtune.search.tuning import Interruption, run_tune
from kdtune.tracking import MLflowSink, default_tracking_uri, versions
from search_spaces import quickstart

METRICS = ("val/accuracy", "val/top5", "val/loss", "val/agreement", "train/loss", "train/ce")
METRICS += ("train/kd", "weighted/ce", "weighted/kd", "lr", "time/epoch_s", "images_per_s")
EPOCHS = 50
CLOSE_S = 300.0
RESULTS = Path(__file__).parent / "results" / "logging_cost.json"

Row = dict[str, float]


def metrics(epoch: int) -> dict[str, float]:
    """Twelve metrics, none twice the same."""
    return {name: (epoch + place / len(METRICS)) / EPOCHS for place, name in enumerate(METRICS)}


class OneTrial:
    """What a callback reads of Tune's trial."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.config = {"method": "kd", "temperature": 4.0, "alpha": 0.9, "train.lr": 0.05}

    def __str__(self) -> str:
        return f"trial_{self.trial_id}"

    def report(self, epoch: int) -> dict[str, Any]:
        """A result as Tune hands it on: the metrics among its own entries."""
        own = {"training_iteration": epoch, "iterations_since_restore": epoch, "done": False}
        times = {"time_this_iter_s": 0.05, "time_total_s": 0.05 * epoch, "timestamp": 1_700_000_000}
        place = {"pid": os.getpid(), "hostname": "here", "node_ip": "127.0.0.1", "date": "today"}
        about = {"trial_id": self.trial_id, "config": self.config, "time_since_restore": 0.05}
        return {**metrics(epoch), **own, **times, **place, **about}


def told(callback: Callback, *, reports: int, pace_s: float, flush: Callable[[], object]) -> Row:
    """Milliseconds for each of ``reports``, told every ``pace_s`` seconds; the first is not one."""
    trial = OneTrial("a")
    callback.setup()
    callback.on_trial_start(0, [trial], trial)
    callback.on_trial_result(1, [trial], trial, trial.report(1))
    flush()
    blocked = []
    cpu = time.process_time()
    for epoch in range(2, reports + 2):
        result = trial.report(epoch)
        start = time.perf_counter()
        callback.on_trial_result(epoch, [trial], trial, result)
        blocked.append(time.perf_counter() - start)
        time.sleep(max(0.0, pace_s - blocked[-1]))
    flush()
    cpu = time.process_time() - cpu
    callback.on_trial_complete(reports, [trial], trial)
    return {
        "blocked_ms": 1e3 * statistics.mean(blocked),
        "blocked_median_ms": 1e3 * statistics.median(blocked),
        "cpu_ms": 1e3 * cpu / reports,
    }


def with_kdtune(uri: str, folder: Path, **how: Any) -> Row:
    sink = MLflowSink(
        tracking_uri=uri, experiment="logging", run_name="kdtune", journal=folder / "journal"
    )
    callback = TrackingCallback(sink, ends_search=False)
    try:
        return told(callback, flush=lambda: sink.flush(CLOSE_S), **how)
    finally:
        sink.end("finished")
        assert sink.close(CLOSE_S).lost == 0


def with_ray(uri: str, folder: Path, **how: Any) -> Row:
    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name="logging")
    return told(callback, flush=lambda: None, **how)


ARMS: dict[str, Callable[..., Row]] = {"kdtune": with_kdtune, "ray": with_ray}


def in_turns(uri: str, folder: Path, *, repeats: int, **how: Any) -> dict[str, list[Row]]:
    """Each arm ``repeats`` times, alternating, so that a busy machine hurts both alike."""
    rows: dict[str, list[Row]] = {name: [] for name in ARMS}
    for repeat in range(repeats):
        for name, run in ARMS.items():
            rows[name].append(run(uri, folder / f"{name}-{repeat}", **how))
            print(name, {key: round(value, 3) for key, value in rows[name][-1].items()}, flush=True)
    return rows


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A server of its own on a free port, with SQLite behind it; its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", default_tracking_uri(folder)]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.ConnectionError:
        return False


class Waiting(tune.Trainable):
    """An epoch that only lasts: the search's wall clock has next to nothing but logging in it."""

    epoch_s = 0.0

    def setup(self, config: dict[str, Any]) -> None:
        pass

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self.epoch_s)
        last = self.iteration + 1 == EPOCHS
        epoch = self.iteration + 1
        return {**metrics(epoch), "epoch": epoch, "finished": float(last), "done": last}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        pass


class Timed(TrackingCallback):
    """Counts the seconds that its hooks hold up the driver."""

    blocked_s = 0.0

    def _timed(self, hook: Callable[..., None], *args: Any, **info: Any) -> None:
        start = time.perf_counter()
        hook(*args, **info)
        self.blocked_s += time.perf_counter() - start

    def on_trial_start(self, *args: Any, **info: Any) -> None:
        self._timed(super().on_trial_start, *args, **info)

    def on_trial_result(self, *args: Any, **info: Any) -> None:
        self._timed(super().on_trial_result, *args, **info)

    def on_trial_complete(self, *args: Any, **info: Any) -> None:
        self._timed(super().on_trial_complete, *args, **info)

    def on_experiment_end(self, *args: Any, **info: Any) -> None:
        self._timed(super().on_experiment_end, *args, **info)


def whole_search(folder: Path, *, trials: int, epoch_s: float) -> Row:
    """Seconds of a search, and of these how many went into logging."""
    Waiting.epoch_s = epoch_s
    uri = default_tracking_uri(folder)
    sink = MLflowSink(
        tracking_uri=uri, experiment="search", run_name="search", journal=folder / "journal"
    )
    tracking = Timed(sink, ends_search=False)
    start = time.perf_counter()
    run_tune(
        Waiting,
        storage=str(folder),
        searcher=RandomSampler(quickstart.SPACE, max_concurrent=2),
        scheduler=make_scheduler("none"),
        trials=trials,
        share=Share(cpus=1, gpus=0, concurrency=2),
        callbacks=[tracking],
        interruption=Interruption(),
        retries=0,
    )
    closing = time.perf_counter()
    sink.end("finished")
    assert sink.flush(CLOSE_S)  # the thread ends with the sink, and its clock with it
    thread = next(each for each in threading.enumerate() if each.name == "kdtune-tracking")
    thread_s = time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))
    report = sink.close(CLOSE_S)
    end = time.perf_counter()
    assert report.lost == 0, report
    check(uri, trials)
    return {
        "wall_s": end - start,
        "blocked_s": tracking.blocked_s,
        "close_s": end - closing,
        "thread_cpu_s": thread_s,
        "share_waited": (tracking.blocked_s + end - closing) / (end - start),
        "share_thread_cpu": thread_s / (end - start),
    }


def check(uri: str, trials: int) -> None:
    """Every value of every trial is in MLflow, once."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("search")
    found = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'", max_results=5000)
    assert len(found) == trials, len(found)
    expected = {name: [(e, metrics(e)[name]) for e in range(1, EPOCHS + 1)] for name in METRICS}
    for run in found:
        for name, points in expected.items():
            history = client.get_metric_history(run.info.run_id, name)
            assert [(point.step, point.value) for point in history] == points, run.info.run_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pace-ms", type=float, default=50.0, help="between two reports")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epoch-ms", type=float, default=100.0)
    options = parser.parse_args()
    load = os.getloadavg()[1]
    how = {"reports": options.reports, "pace_s": options.pace_ms / 1e3, "repeats": options.repeats}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "server").mkdir()
        reports = {"sqlite": in_turns(default_tracking_uri(folder), folder / "sqlite", **how)}
        with mlflow_server(folder / "server") as uri:
            reports["http"] = in_turns(uri, folder / "http", **how)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        (folder / "search").mkdir()
        search = whole_search(
            folder / "search", trials=options.trials, epoch_s=options.epoch_ms / 1e3
        )
    RESULTS.parent.mkdir(exist_ok=True)
    found = {
        "options": vars(options),
        "metrics_per_report": len(METRICS),
        "epochs": EPOCHS,
        "ms_per_report": reports,
        "search": search,
        "load_average": {"before": load, "after": os.getloadavg()[1]},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_processor()}",
        "versions": versions(),
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    show(reports, search)


def show(reports: dict[str, dict[str, list[Row]]], search: Row) -> None:
    """What was measured, as tables."""
    table = Table("ms per report, median", "blocked", "CPU")
    for store, arms in reports.items():
        for name, rows in arms.items():
            cells = (f"{median(rows, key):.2f}" for key in ("blocked_ms", "cpu_ms"))
            table.add_row(f"{name}, {store}", *cells)
    Console().print(table)
    table = Table("a search", "s", "share")
    for key in ("wall_s", "blocked_s", "close_s", "thread_cpu_s"):
        table.add_row(key, f"{search[key]:.2f}", f"{search[key] / search['wall_s']:.2%}")
    Console().print(table)
    print(f"waited for logging: {search['share_waited']:.2%} of the wall clock")


def median(rows: list[Row], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
