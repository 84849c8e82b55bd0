"""What a trial costs beside its own work: kdtune's search against plain Ray Tune.

Twenty trials that do nothing (five reports of ten metrics each), two at once. ``kdtune`` is the
machinery of a search: class trainable, reused actors, ordered ASHA that cuts nobody, MLflow from a
thread, live display. ``plain`` is what a user would write: a function that imports torch, Ray's own
MLflow callback. Both write to SQLite. The two alternate, so that a busy machine hurts both alike.

    python benchmarks/overhead.py [--trials 20] [--repeats 3]
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdtune.cli import RAY_ENVIRONMENT

os.environ.update(RAY_ENVIRONMENT)

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from rich.console import Console
from rich.table import Table

from kdtune.report.progress import Display
from kdtune.search.callbacks import ProgressCallback, TrackingCallback
from kdtune.search.cluster import Share
from kdtune.search.samplers import RandomSampler, StudyCallback
from kdtune.search.schedulers import make_scheduler
from kdtune.search.tuning import Interruption, run_tune
from kdtune.tracking import MLflowSink, versions
from search_spaces import quickstart

REPORTS = 5
RESULTS = Path(__file__).parent / "results" / "overhead.json"


def metrics(epoch: int) -> dict[str, float]:
    """Ten metrics that no scheduler would cut."""
    return {"val/accuracy": 0.5 + epoch / 100, **{f"train/m{i}": float(i) for i in range(9)}}


class Trivial(tune.Trainable):
    """Imports what a trial imports, and does nothing."""

    def setup(self, config: dict[str, Any]) -> None:
        import torch  # noqa: F401

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        last = self.iteration + 1 == REPORTS
        return {**metrics(self.iteration), "finished": float(last), "done": last}


def trivial(config: dict[str, Any]) -> None:
    """The same as a function."""
    import torch  # noqa: F401

    for epoch in range(REPORTS):
        tune.report(metrics(epoch))


def with_kdtune(folder: Path, trials: int) -> None:
    sampler = RandomSampler(quickstart.SPACE, max_concurrent=2)
    sink = MLflowSink(
        tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment="overhead", run_name="kdtune"
    )
    with Display(Console(file=open(os.devnull, "w"))) as display:
        run_tune(
            Trivial,
            folder=folder,
            searcher=sampler,
            scheduler=make_scheduler("asha", max_t=REPORTS),
            trials=trials,
            share=Share(cpus=1, gpus=0, concurrency=2),
            callbacks=[
                TrackingCallback(sink),
                StudyCallback(sampler),
                ProgressCallback(display.stage("Search", trials)),
            ],
            interruption=Interruption(),
        )


def plain(folder: Path, trials: int) -> None:
    uri = f"sqlite:///{folder}/mlflow.db"
    tune.run(
        trivial,
        config=quickstart.SPACE.param_space(),
        num_samples=trials,
        max_concurrent_trials=2,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    arms = {"kdtune": with_kdtune, "plain": plain}
    timed: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(options.repeats):
        for name, run in arms.items():
            timed[name].append(seconds_per_trial(run, options.trials))
            print(f"{name}: {timed[name][-1]:.2f} s per trial", flush=True)
    ratios = [p / k for p, k in zip(timed["plain"], timed["kdtune"], strict=True)]
    report = {
        "trials": options.trials,
        "reports_per_trial": REPORTS,
        "seconds_per_trial": timed,
        "median_ratio": statistics.median(ratios),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_processor()}",
        "versions": versions(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    table = Table("", "median s per trial", "all")
    for name, values in timed.items():
        listed = ", ".join(f"{value:.2f}" for value in values)
        table.add_row(name, f"{statistics.median(values):.2f}", listed)
    Console().print(table)
    print(f"plain / kdtune: {report['median_ratio']:.1f} (median of {options.repeats})")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
