"""Seconds until 20 trials that share a teacher are done: ``kdtune search`` against plain Ray Tune.

Both sides are processes of their own, timed from start to end: imports, Ray's start and a new
MLflow database on SQLite are included. Two trials run at once, on one thread each. They run the
same configurations (random temperatures and alphas) for the same epochs, nobody cut, on the same
images, with the same trained teacher, whose training is left out on both sides. What the teacher
says in the trials is not: kdtune pays for it in its first trials, the plain loop in every one.

- ``kdtune``: the command ``kdtune search``, its finalists left out.
- ``plain``: `plain_search.py`: a function trainable around `plain_loop.py`, Ray's MLflow callback.

The two take turns, round after round, each round with a seed of its own; the ratio is of each
round, then their median. The accuracies of both sides say whether they did the same: the difference
of their means over the trials of all rounds, with its standard error. As all trials of a search of
kdtune share first weights and views, a round counts as one run there; the noise of a run is taken
from the plain trials of a round, each of which has a seed of its own.

Told apart, each once in each of the first ``--apart`` rounds and against kdtune of that round:

- ``live``: the teacher asked in every step (``teacher.signals=live``): what sharing gains.
- ``fresh actors``: a new process for every trial: what reusing them gains.
- ``asha``: losers cut, kdtune's default: what is gained on top by not finishing all trials.
- ``bf16``: ``train.precision=bf16``, where the device has it.

    python benchmarks/search.py [--data FOLDER] [--images 512] [--epochs 2] [--rounds 2] [--apart 1]
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import arms
import numpy as np
import torch
from machine import Report, add_common_options, has_native_bf16, listed, median, ratios, show
from material import BATCH, arrays, dataset_name, plain_settings

from kdtune.config import parse
from kdtune.contracts import FlatConfig
from kdtune.search.requesting import build_request
from kdtune.search.samplers import RandomSampler
from kdtune.teachers.store import TeacherStore
from kdtune.training.data import load_trial_data
from kdtune.training.trial import Trial

HERE = Path(__file__).parent
KDTUNE, PLAIN = "kdtune", "plain"
SPACE, NAME = "quickstart", "benchmark"
VAL_FRACTION = 0.25
CONCURRENT = 2

Round = dict[str, dict[str, Any]]
"""By arm: seconds and the accuracies of the trials."""


class Task:
    """One search, for all arms: its options, its configurations and its trained teacher.

    Args:
        options: Of the command line.
        dataset: Name of the images.
        scratch: Where the teacher and all searches go.
        seed: Of the configurations and the trials; the teacher's is always the same.
    """

    def __init__(
        self, options: argparse.Namespace, dataset: str, scratch: Path, *, seed: int
    ) -> None:
        self.options = options
        self.seed = seed
        self.scratch = scratch
        self._dataset = dataset
        self._gpus = 1 / CONCURRENT if options.device == "cuda" else 0
        request = build_request(
            SPACE,
            shortcuts=self._shortcuts(),
            settings=self._settings(),
            name=NAME,
            storage=scratch / "trained",
            tracking_uri=None,
            experiment=None,
            gpus_per_trial=self._gpus,
            cpus_per_trial=1,
            seed=seed,
        )
        sampler = RandomSampler(request.space, seed=seed)
        self.configs: list[FlatConfig] = [sampler.proposal(n) for n in range(options.trials)]
        start = time.perf_counter()
        self._teacher = Trial(parse(self.configs[0])).teacher  # trained, or read from the store
        print(f"teacher ready: {time.perf_counter() - start:.0f} s", flush=True)

    @property
    def teacher_accuracy(self) -> float:
        """On the validation split."""
        assert self._teacher is not None
        return self._teacher.val_accuracy

    def words(self, storage: Path) -> list[str]:
        """What is typed after ``kdtune``."""
        options = self.options
        flags = {
            "storage": storage,
            "name": NAME,
            "trials": options.trials,
            "epochs": options.epochs,
            "dataset": self._dataset,
            "teacher": options.pair[0],
            "student": options.pair[1],
            "sampler": "random",
            "finalists": 0,
            "max-concurrent": CONCURRENT,
            "gpus-per-trial": self._gpus,
            "seed": self.seed,
        }
        typed = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
        return ["search", SPACE, *typed, *(f"--set={each}" for each in self._settings())]

    def storage(self, name: str) -> Path:
        """A new folder that holds the teacher and nothing else."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.scratch / "trained" / "teachers", folder / "teachers")
        return folder

    def write_plain(self, folder: Path) -> None:
        """The same search as `plain_search.py` reads it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        first = parse(self.configs[0])
        assert self._teacher is not None
        data, options = load_trial_data(first), self.options
        held = arrays(data)
        np.savez(
            folder / "images.npz",
            train=held.train,
            train_labels=held.train_labels,
            val=held.val,
            val_labels=held.val_labels,
        )
        torch.save(TeacherStore(first.store).read(self._teacher.key)[0], folder / "teacher.pt")
        settings = [asdict(plain_settings(parse(config))) for config in self.configs]
        task = {
            "teacher": options.pair[0],
            "student": options.pair[1],
            "classes": data.classes,
            "mean": data.mean,
            "std": data.std,
            "seed": self.seed,
            "concurrent": CONCURRENT,
            "gpus_per_trial": self._gpus,
            "trials": [{"place": n, "settings": own} for n, own in enumerate(settings)],
        }
        (folder / "task.json").write_text(json.dumps(task))

    def _shortcuts(self) -> FlatConfig:
        options = self.options
        return {
            "dataset": self._dataset,
            "teacher": options.pair[0],
            "student": options.pair[1],
            "train.epochs": options.epochs,
        }

    def _settings(self) -> list[str]:
        options = self.options
        return [
            f"data.train_limit={options.images}",
            f"data.val_fraction={VAL_FRACTION}",
            f"teacher.full_epochs={options.teacher_epochs}",
            f"teacher_epochs={options.teacher_epochs}",
            "teacher.augment=standard",
            "label_smoothing=0.0",
            "augment=standard",
            "prune_ratio=0.0",
            "train.lr=0.05",
        ]


def kdtune(
    task: Task,
    *,
    scheduler: str = "none",
    program: Sequence[str] = ("-m", "kdtune"),
    settings: FlatConfig | None = None,
) -> dict[str, Any]:
    """A search of kdtune, timed."""
    storage = task.storage("kdtune")
    words = [*task.words(storage), "--scheduler", scheduler]
    words += [f"--set={key}={value}" for key, value in (settings or {}).items()]
    seconds = timed([sys.executable, *program, *words])
    rows = json.loads((storage / NAME / "leaderboard.json").read_text())
    rows = sorted((row for row in rows if row["outcome"] == "finished"), key=lambda r: r["trial"])
    return {"seconds": seconds, "accuracies": [row["val/accuracy"] for row in rows]}


def plain(task: Task) -> dict[str, Any]:
    """A search of plain Ray Tune, timed."""
    folder = task.scratch / "plain"
    task.write_plain(folder)
    seconds = timed([sys.executable, str(HERE / "plain_search.py"), str(folder)])
    return {
        "seconds": seconds,
        "accuracies": json.loads((folder / "accuracies.json").read_text()),
    }


def timed(command: list[str]) -> float:
    """Seconds of a process from start to end.

    Raises:
        RuntimeError: If it fails; with the end of what it printed.
    """
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return seconds


def apart(device: str) -> dict[str, Callable[[Task], dict[str, Any]]]:
    """The arms that tell apart what kdtune's gain is made of, as far as they can be run here."""
    found: dict[str, Callable[[Task], dict[str, Any]]] = {
        "live": lambda task: kdtune(task, settings=arms.ARMS[arms.LIVE]),
        "fresh actors": lambda task: kdtune(task, program=[str(HERE / "fresh_actors.py")]),
        "asha": lambda task: kdtune(task, scheduler="asha"),
    }
    if has_native_bf16(device):
        found["bf16"] = lambda task: kdtune(task, settings=arms.ARMS[arms.BF16])
    else:
        print(f"skipped: bf16 (the {device} has no native bfloat16)")
    return found


def one_round(task: Task, *, turn: int) -> Round:
    """The arms of a round, timed; which of the two sides begins, changes every time."""
    both: dict[str, Callable[[Task], dict[str, Any]]] = {KDTUNE: kdtune, PLAIN: plain}
    order = list(both.items())[:: -1 if turn % 2 else 1]
    more = apart(task.options.device).items() if turn < task.options.apart else ()
    found: Round = {}
    for name, run in (*order, *more):
        found[name] = run(task)
        print(f"round {turn + 1}, {name}: {found[name]['seconds']:.1f} s", flush=True)
    return found


def speedups(found: Sequence[Round]) -> dict[str, Any]:
    """How many times kdtune's seconds each other arm takes; below 1 it is faster."""
    names = [name for name in found[0] if name != KDTUNE]
    both = {name: [each for each in found if name in each] for name in names}
    each = {
        name: ratios([r[name]["seconds"] for r in own], [r[KDTUNE]["seconds"] for r in own])
        for name, own in both.items()
    }
    return {name: {"rounds": own, "median": median(own)} for name, own in each.items()}


def quality(found: Sequence[Round]) -> dict[str, Any]:
    """Accuracies of both sides, over all trials of all rounds, and whether they differ."""
    sides = {arm: [each[arm]["accuracies"] for each in found] for arm in (KDTUNE, PLAIN)}
    by_arm: dict[str, dict[str, Any]] = {
        arm: {
            "mean": statistics.fmean(value for own in rounds for value in own),
            "means": [statistics.fmean(own) for own in rounds],
            "best": [max(own) for own in rounds],
        }
        for arm, rounds in sides.items()
    }
    noise = math.sqrt(statistics.fmean(statistics.variance(own) for own in sides[PLAIN]))
    trials = len(sides[PLAIN][0])
    return {
        "by_arm": by_arm,
        "difference": by_arm[KDTUNE]["mean"] - by_arm[PLAIN]["mean"],
        "noise_of_a_run": noise,
        "standard_error": noise * math.sqrt((1 + 1 / trials) / len(found)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_options(parser, images=8 * BATCH)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--pair", nargs=2, default=["resnet56", "resnet20"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--apart", type=int, default=1, help="rounds with the arms told apart")
    options = parser.parse_args()
    report = Report("search", options)
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        with dataset_name(options.data, scratch, images=options.images) as dataset:
            tasks, found = [], []
            for turn in range(options.rounds):
                tasks.append(Task(options, dataset, scratch, seed=turn))
                found.append(one_round(tasks[-1], turn=turn))
    times, same = speedups(found), quality(found)
    show_times(found, times)
    show_quality(same)
    report.write(
        n=options.rounds,
        teacher_val_accuracy=tasks[0].teacher_accuracy,
        configurations=[task.configs for task in tasks],
        rounds=found,
        times_kdtune=times,
        quality=same,
    )


def show_times(found: Sequence[Round], times: Mapping[str, Any]) -> None:
    """One row an arm."""
    rows = []
    for name in found[0]:
        seconds = [each[name]["seconds"] for each in found if name in each]
        own = times.get(name, {"median": 1.0, "rounds": []})
        rows.append(
            [
                name,
                f"{median(seconds):.1f}",
                listed(seconds, 1),
                f"{own['median']:.2f}",
                listed(own["rounds"]),
            ]
        )
    show("a search", ["", "s", "rounds", "times kdtune's", "rounds"], rows)


def show_quality(same: Mapping[str, Any]) -> None:
    """Accuracies of both sides, and their difference."""
    rows = [
        [arm, f"{own['mean']:.4f}", listed(own["means"], 4), listed(own["best"], 4)]
        for arm, own in same["by_arm"].items()
    ]
    show("validation accuracy", ["", "mean", "rounds", "best, rounds"], rows)
    difference, error = same["difference"], same["standard_error"]
    print(f"difference of the means: {difference:+.4f}, standard error {error:.4f}")


if __name__ == "__main__":
    main()
