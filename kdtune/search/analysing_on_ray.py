"""Measures of many runs at once, as tasks of a Ray cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray
from ray.exceptions import RayTaskError

from kdtune.analysis import Measured
from kdtune.search.analysing import Task, Workers
from kdtune.search.cluster import connected


@contextmanager
def on_ray(address: str) -> Iterator[Workers]:
    """Workers of the cluster at ``address``: ``auto``, ``host:port``, or empty for this machine.

    A task has one CPU, and of a GPU what a fraction of it gives several tasks room.

    Raises:
        ConfigError: If there is no such cluster.
    """
    with connected(address):
        yield _work


GPU_SHARE = 0.25
"""Of a GPU for a task: evaluation of small networks leaves most of one idle."""


def _work(tasks: Sequence[Task]) -> Iterator[tuple[int, Measured]]:
    started = {}
    for place, task in enumerate(tasks):
        share = GPU_SHARE if task.device == "cuda" else 0
        remote = ray.remote(num_cpus=1, num_gpus=share)(Task.work)
        started[remote.remote(task)] = place
    waiting = list(started)
    while waiting:
        (ready,), waiting = ray.wait(waiting, num_returns=1)
        try:
            yield started[ready], ray.get(ready)
        except RayTaskError as error:
            for rest in waiting:
                ray.cancel(rest)
            raise error.cause if isinstance(error.cause, ValueError) else error from None
