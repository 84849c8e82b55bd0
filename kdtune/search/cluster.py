"""The Ray cluster that a search runs on: started here, or joined with the code shipped to it."""

import importlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ray
from ray._private import ray_constants
from ray._private import utils as ray_utils
from ray._private.node import Node

from kdtune.config import ConfigError
from kdtune.search.substitution import substituted

KIND = "accelerator_type:"
"""What the resource that Ray gives a node for the kind of its GPUs begins with."""

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

    Who handles SIGTERM before goes on doing so.

    Raises:
        ConfigError: If there is no cluster at ``address``, or it refuses us.
    """
    if ray.is_initialized():
        yield
        return
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    with _handler_kept():
        if address:
            _join(address, settings)
        else:
            # Not a cluster that happens to run here: its workers would not have the code.
            with _on_this_machine_alone(), _without_idle_helpers():
                ray.init("local", include_dashboard=False, **settings)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _handler_kept() -> Iterator[None]:
    """Keep Ray from its own handlers of SIGTERM if there is one already.

    Ray sets two as it starts, which takes seconds: one that leaves Python on the spot, and a native
    one that calls ours, but aborts the process three seconds later.
    """
    ours, rays = signal.getsignal(signal.SIGTERM), ray_utils.set_sigterm_handler
    if ours in (signal.SIG_DFL, None):
        yield
        return
    ray_utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = rays
        signal.signal(signal.SIGTERM, ours)


@contextmanager
def _on_this_machine_alone() -> Iterator[None]:
    """Let Ray start on the loopback address: whoever reaches one of its ports can run code.

    The switch is the one by which Ray itself starts on macOS and Windows; it has no argument.
    """
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _without_idle_helpers() -> Iterator[None]:
    """Let Ray start without two of its processes, of most of a second's CPU and 80 MB each.

    One forwards what workers print, to nobody here; the other starts nodes, and there is one.
    """
    with (
        substituted(Node, "start_log_monitor", lambda node: None),
        substituted(Node, "start_monitor", lambda node: None),
    ):
        yield


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
    """What one trial gets of a cluster, and how many trials run at once.

    Attributes:
        cpus: Of a trial.
        gpus: Of a trial; fractions share a GPU, as nothing spreads over two.
        concurrency: How many run at once.
        accelerator: Kind of GPU that they run on, by Ray's names; empty for any.
    """

    cpus: int
    gpus: float
    concurrency: int
    accelerator: str = ""

    @property
    def resources(self) -> dict[str, float]:
        """What Ray Tune is asked for."""
        # A node has 1 of the kind of its GPUs: a trace of it says where, and takes no room.
        kind = {f"{KIND}{self.accelerator}": 0.001} if self.accelerator else {}
        return {"cpu": self.cpus, "gpu": self.gpus, **kind}

    @classmethod
    def of_cluster(
        cls, cpus: int, gpus: float, *, accelerator: str = "", concurrency: int | None = None
    ) -> Self:
        """The share of the connected cluster.

        Args:
            cpus, gpus, accelerator: See the attributes.
            concurrency: As many trials at once, whatever the cluster has now: for one that starts
                nodes as they are needed. None for what fits on the nodes that there are.

        Raises:
            ValueError: If not even one trial fits on any node, and ``concurrency`` is not given.
        """
        nodes = [node["Resources"] for node in _nodes() if node["Alive"]]
        fitting = [node for node in nodes if not accelerator or f"{KIND}{accelerator}" in node]
        places = sum(places_on(node, cpus=cpus, gpus=gpus) for node in fitting)
        if concurrency is None and not places:
            wanted = f"{cpus} CPUs and {gpus:g} {accelerator or 'GPU'}s"
            raise ValueError(
                f"a trial asks for {wanted}, but Ray's nodes have {_sizes(nodes)}; lower "
                "--cpus-per-trial or --gpus-per-trial, or give --max-concurrent if the cluster "
                "will start nodes"
            )
        return cls(cpus=cpus, gpus=gpus, concurrency=concurrency or places, accelerator=accelerator)


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _sizes(nodes: Sequence[Mapping[str, float]]) -> str:
    """``8 CPUs and 1 A10G``, each size once."""
    sizes = []
    for node in nodes:
        kind = next((key.removeprefix(KIND) for key in node if key.startswith(KIND)), "GPUs")
        sizes.append(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} {kind}")
    return "; ".join(sorted(set(sizes)))


def places_on(node: Mapping[str, float], *, cpus: int, gpus: float) -> int:
    """How many trials fit on a node.

    Args:
        node: Its resources by Ray's names.
        cpus: Of a trial.
        gpus: Of a trial; a fraction is of one GPU, whole ones are of several.
    """
    by_cpu = int(node.get("CPU", 0.0) // cpus)
    if not gpus:
        return by_cpu
    available = int(node.get("GPU", 0.0))
    # Ray gives 0.3 of a GPU to three trials, and the 0.1 that is left to none of them.
    by_gpu = int(available // gpus) if gpus >= 1 else available * int(1 / gpus + 1e-9)
    return min(by_cpu, by_gpu)
