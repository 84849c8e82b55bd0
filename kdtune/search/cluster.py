"""The Ray cluster that a search runs on: started here, or joined with the code shipped to it."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

PACKAGES = ("kdtune", "search_spaces", "trainables")


def runtime_env() -> dict[str, Any]:
    """A Ray runtime environment that ships kdtune's packages to every worker.

    For scripts that run on a cluster whose nodes have the dependencies but not this code:
    ``ray.init(address, runtime_env=runtime_env())``.
    """
    modules = [importlib.import_module(name) for name in PACKAGES]
    paths = [str(Path(str(module.__file__)).parent) for module in modules]
    return {"py_modules": paths, "excludes": ["**/__pycache__"]}


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to Ray inside the block.

    Args:
        address: Of a running cluster (``auto``, ``ray://host:10001``); empty to start Ray on this
            machine, and to end it with the block. A connection that exists already is used.
    """
    if ray.is_initialized():
        yield
        return
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address:
        ray.init(address, runtime_env=runtime_env(), **settings)
    else:
        ray.init(include_dashboard=False, **settings)
    try:
        yield
    finally:
        ray.shutdown()


def concurrency(cpus_per_trial: int, gpus_per_trial: float) -> int:
    """How many trials the connected cluster runs at once.

    Raises:
        ValueError: If not even one fits.
    """
    total = ray.cluster_resources()
    slots = [total.get("CPU", 0.0) / cpus_per_trial]
    if gpus_per_trial:
        slots.append(total.get("GPU", 0.0) / gpus_per_trial)
    if min(slots) < 1:
        raise ValueError(
            f"a trial asks for {cpus_per_trial} CPUs and {gpus_per_trial:g} GPUs, but Ray has "
            f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g} in all; lower "
            "--cpus-per-trial or --gpus-per-trial"
        )
    return int(min(slots))
