"""How long ``kdtune search`` takes until its first trial reports, and what takes so long.

A tiny search (two trials of one epoch, teachers of one) in a process of its own, time after time.
``imports`` is the driver's; ``ray`` starts Ray on this machine; ``actor`` is the first worker,
which imports torch and Ray; ``report`` is its first epoch, the dataset included; ``end`` is all
that comes after the last trial. Given several source trees, they take turns.

    python benchmarks/startup.py [--repeats 5] [--tree PATH ...]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent.parent
ARGUMENTS = (
    *("search", "quickstart", "--name", "tiny", "--trials", "2", "--epochs", "1"),
    *("--finalists", "0", "--set", "teacher_epochs=1"),
)
PARTS = ("imports", "checks", "ray", "actor", "report", "trials", "end")


def child(began: float, storage: str) -> dict[str, float]:
    """When each part of a search was over, in seconds since ``began``; run in a fresh process."""
    from kdtune.cli import MLFLOW_ENVIRONMENT, RAY_ENVIRONMENT, app

    os.environ.update(RAY_ENVIRONMENT | MLFLOW_ENVIRONMENT)
    import ray

    import kdtune.search.session  # noqa: F401
    from kdtune.tracking import read_events
    from kdtune.tracking.events import Ended, Event, Measured, Started

    over = {"imports": time.time() - began}
    with _timed(ray, "init") as init:
        app([*ARGUMENTS, "--storage", storage], standalone_mode=False)
    over |= {
        "checks": init["begun"] - began,
        "ray": init["over"] - began,
        "end": time.time() - began,
    }

    def at(events: Iterator[Event]) -> float:
        return next(events).time_ms / 1000 - began

    runs = [event for event in read_events(Path(storage) / "tiny") if event.key]
    over["actor"] = at(event for event in runs if isinstance(event, Started))
    over["report"] = at(event for event in runs if isinstance(event, Measured))
    over["trials"] = at(event for event in reversed(runs) if isinstance(event, Ended))
    return over


@contextmanager
def _timed(module: Any, name: str) -> Iterator[dict[str, float]]:
    """When a function of ``module`` was called first, and when it was over."""
    found: dict[str, float] = {}
    own: Callable[..., Any] = getattr(module, name)

    def timed(*args: Any, **settings: Any) -> Any:
        found.setdefault("begun", time.time())
        result = own(*args, **settings)
        found.setdefault("over", time.time())
        return result

    with mock.patch.object(module, name, timed):
        yield found


def measure(tree: Path) -> dict[str, float]:
    """Seconds of each part, and CPU seconds of the driver and its workers, with that source."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, __file__, "--child", str(result), "--storage", folder]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        before = os.times()
        subprocess.run(
            [*command, "--began", repr(time.time())],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
        )
        after = os.times()
        over = json.loads(result.read_text())
    starts = [0.0, *(over[part] for part in PARTS)]
    split = {part: over[part] - start for part, start in zip(PARTS, starts, strict=False)}
    spent = after.children_user + after.children_system
    return {
        **split,
        "to first report": over["report"],
        "all": over["end"],
        "CPU": spent - before.children_user - before.children_system,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tree", type=Path, nargs="+", default=[HERE])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--began", type=float)
    parser.add_argument("--storage")
    options = parser.parse_args()
    if options.child:
        options.child.write_text(json.dumps(child(options.began, options.storage)))
        return
    found: dict[str, list[dict[str, float]]] = {str(tree): [] for tree in options.tree}
    for _ in range(options.repeats):
        for tree in options.tree:
            found[str(tree)].append(measure(tree.resolve()))
            print(tree, {k: round(v, 2) for k, v in found[str(tree)][-1].items()}, flush=True)
    table = Table("seconds, median", *found)
    for part in (*PARTS, "to first report", "all", "CPU"):
        cells = (statistics.median(run[part] for run in runs) for runs in found.values())
        table.add_row(part, *(f"{cell:.2f}" for cell in cells))
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
