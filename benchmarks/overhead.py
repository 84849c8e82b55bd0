"""What a trial costs beside its own work, and what trials cost a search as it grows.

First, twenty trials that do nothing (five reports of ten metrics each), two at once. ``kdtune`` is
the machinery of a search; ``plain`` is what a user would write: a function that imports torch,
Ray's own MLflow callback. Both write to SQLite. The two alternate, so that a busy machine hurts
both alike.

Then searches of growing size, each in a process of its own, which is looked at along the way: CPU
and memory of the driver. The CPU of workers and of Ray's own processes is not in these figures.

    python benchmarks/overhead.py [--trials 20] [--repeats 3] [--sizes 20 200 1000]
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kdtune.cli import MLFLOW_ENVIRONMENT, RAY_ENVIRONMENT

os.environ.update(RAY_ENVIRONMENT | MLFLOW_ENVIRONMENT)

import ray
from machine import Report, listed, median, ratios, show
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from trivial_search import AT_ONCE, EPOCHS, Curve, Even, metrics, sample, trivial_search

from search_spaces import quickstart

Sample = dict[str, float]


def trivial(config: dict[str, Any]) -> None:
    """The same as a function."""
    import torch  # noqa: F401

    for epoch in range(1, EPOCHS + 1):
        tune.report(metrics(epoch, 0.5 + epoch / 100))


def with_kdtune(folder: Path, trials: int) -> None:
    """A search, less its checks and its page."""
    trivial_search(folder, trials, Curve(trials), Even)


def plain(folder: Path, trials: int) -> None:
    """Ray Tune as its documentation has it."""
    uri = f"sqlite:///{folder}/mlflow.db"
    tune.run(
        trivial,
        config=quickstart.SPACE.param_space(),
        num_samples=trials,
        max_concurrent_trials=AT_ONCE,
        metric="val/accuracy",
        mode="max",
        storage_path=str(folder),
        callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name="overhead")],
        verbose=0,
    )


def seconds_per_trial(run: Callable[[Path, int], None], trials: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(Path(folder), trials)
        return (time.perf_counter() - start) / trials


def compare(trials: int, repeats: int) -> dict[str, list[float]]:
    """Seconds per trial of both ways, in turns."""
    ray.init(num_cpus=AT_ONCE, include_dashboard=False, log_to_driver=False, logging_level="error")
    arms = {"kdtune": with_kdtune, "plain": plain}
    timed: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, run in arms.items():
            timed[name].append(seconds_per_trial(run, trials))
            print(f"{name}: {timed[name][-1]:.2f} s per trial", flush=True)
    ray.shutdown()
    return timed


def measure(trials: int, points: int) -> list[Sample]:
    """Samples along one search, and one when MLflow has all of it."""
    display = Curve(max(1, trials // points))
    with tempfile.TemporaryDirectory() as folder:
        trivial_search(Path(folder), trials, display)
    return [*display.samples, sample(trials)]


def measured_apart(trials: int, points: int) -> list[Sample]:
    """The same, by a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, __file__, "--one", file.name, "--sizes", str(trials)]
        subprocess.run([*command, "--points", str(points)], check=True)
        samples: list[Sample] = json.loads(Path(file.name).read_text())
        return samples


def show_curve(samples: Sequence[Sample]) -> None:
    """Costs per trial from one sample to the next."""
    rows = []
    for before, after in itertools.pairwise(samples[:-1]):
        gone = {key: after[key] - before[key] for key in after}
        each = {key: value / gone["trials"] for key, value in gone.items()}
        ms = (f"{1000 * each[key]:.0f}" for key in ("wall_s", "cpu_s", "loop_s", "mlflow_s"))
        rows.append([f"{before['trials']:.0f} to {after['trials']:.0f}", *ms])
        rows[-1].append(f"{after['rss_mb']:.0f}")
    start, last, end = samples[0], samples[-2], samples[-1]
    columns = ["trials", "ms a trial", "CPU ms", "of the loop", "of the writer", "MiB"]
    show(f"{last['trials']:.0f} trials that do nothing", columns, rows)
    print(
        f"all: {(last['cpu_s'] - start['cpu_s']) / last['trials'] * 1000:.0f} ms of CPU and "
        f"{(last['wall_s'] - start['wall_s']) / last['trials'] * 1000:.0f} ms a trial; "
        f"{last['rss_mb'] - start['rss_mb']:.0f} MiB more; "
        f"MLflow had all {end['wall_s'] - last['wall_s']:.1f} s after the last trial"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20, help="of the comparison")
    parser.add_argument("--repeats", type=int, default=3, help="of the comparison; 0 for none")
    parser.add_argument("--sizes", type=int, nargs="*", default=[20, 200, 1000])
    parser.add_argument("--points", type=int, default=10, help="samples along a search")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there instead")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        options.one.write_text(json.dumps(measure(options.sizes[0], options.points)))
        return
    report = Report("overhead", options)
    timed = compare(options.trials, options.repeats) if options.repeats else {}
    if timed:
        ratio = median(ratios(timed["plain"], timed["kdtune"]))
        rows = [[name, f"{median(each):.2f}", listed(each)] for name, each in timed.items()]
        show("Seconds per trial", ["", "median", "all"], rows)
        print(f"plain / kdtune: {ratio:.1f} (median of {options.repeats})")
    curves = {}
    for trials in options.sizes:
        curves[trials] = measured_apart(trials, options.points)
        show_curve(curves[trials])
    report.write(reports_per_trial=EPOCHS, seconds_per_trial=timed, curves=curves)


if __name__ == "__main__":
    main()
