"""The Ray cluster that a search runs on: started here, or joined with the code shipped to it."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ray

from kdtune.config import ConfigError

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
        address: Of a running cluster (``auto``, ``host:6379``); empty to start Ray on this
            machine, and to end it with the block. A connection that exists already is used.

    Raises:
        ConfigError: If there is no cluster at ``address``, or it refuses us.
    """
    if ray.is_initialized():
        yield
        return
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address:
        _join(address, settings)
    else:
        # Not a cluster that happens to run here: its workers would not have the code.
        ray.init("local", include_dashboard=False, **settings)
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str, settings: dict[str, Any]) -> None:
    if address.startswith("ray://"):
        raise ConfigError(
            f"--address must not be of Ray Client, got '{address}'; run kdtune on a node of the "
            "cluster with --address auto"
        )
    try:
        ray.init(address, runtime_env=runtime_env(), **settings)
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster takes us at '{address}' ({error}); give --address as 'ray start' "
            "printed it, and set RAY_AUTH_MODE=token if the cluster asks for a token"
        ) from error


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
