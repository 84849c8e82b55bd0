"""Measures of many runs at once, as tasks of a Ray cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray
from ray.exceptions import RayError, RayTaskError

from kdtune.analysis import Measured
from kdtune.search.analysing import Task, Workers
from kdtune.search.cluster import connected


@contextmanager
def on_ray(address: str) -> Iterator[Workers]:
    """Workers of the cluster at ``address``: ``auto``, ``host:port``, or empty for this machine.

    A task has one CPU, and of a GPU what a fraction of it gives several tasks room. The workers
    raise what :meth:`Task.work` raises, ValueError if there is no GPU for a task that needs one,
    and OSError if a task is lost.

    Raises:
        ConfigError: If there is no such cluster.
    """
    with connected(address):
        yield _work


GPU_SHARE = 0.25
"""Of a GPU for a task: evaluation of small networks leaves most of one idle."""


def _work(tasks: Sequence[Task]) -> Iterator[tuple[int, Measured]]:
    _require_gpu(tasks)
    started = {}
    for place, task in enumerate(tasks):
        share = GPU_SHARE if task.device == "cuda" else 0
        remote = ray.remote(num_cpus=1, num_gpus=share)(Task.work)
        started[remote.remote(task)] = place
    waiting = list(started)
    while waiting:
        (ready,), waiting = ray.wait(waiting, num_returns=1)
        place = started[ready]
        try:
            yield place, ray.get(ready)
        except RayError as error:
            for rest in waiting:
                ray.cancel(rest)
            raise _told(error, tasks[place]) from None


def _require_gpu(tasks: Sequence[Task]) -> None:
    """Ray itself would wait until a node with one joins."""
    wanted = any(task.device == "cuda" for task in tasks)
    if wanted and not ray.cluster_resources().get("GPU"):  # type: ignore[no-untyped-call]
        raise ValueError(
            "device must be 'cpu' on a Ray cluster without GPUs, got 'cuda'; give --device cpu"
        )


def _told(error: RayError, task: Task) -> Exception:
    """What the task raised, if it is for the user, or which run was lost; else ``error``."""
    if not isinstance(error, RayTaskError):
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        return OSError(
            f"{task.run.label}: Ray lost the task that measured it ({reason}); ask again, which "
            "measures only what is missing, or without --on-ray"
        )
    return error.cause if isinstance(error.cause, ValueError | OSError) else error
