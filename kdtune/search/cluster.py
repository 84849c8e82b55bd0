"""The Ray cluster that a search runs on: started here, or joined with the code shipped to it."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one trial gets of a cluster, and how many trials run at once."""

    cpus: int
    gpus: float
    concurrency: int

    @classmethod
    def of_cluster(cls, cpus: int, gpus: float) -> Self:
        """The share of the connected cluster.

        Raises:
            ValueError: If not even one trial fits.
        """
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        slots = [total.get("CPU", 0.0) / cpus]
        if gpus:
            slots.append(total.get("GPU", 0.0) / gpus)
        if min(slots) < 1:
            raise ValueError(
                f"a trial asks for {cpus} CPUs and {gpus:g} GPUs, but Ray has "
                f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g} in all; lower "
                "--cpus-per-trial or --gpus-per-trial"
            )
        return cls(cpus=cpus, gpus=gpus, concurrency=int(min(slots)))
