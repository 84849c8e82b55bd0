"""Fixtures that several parts share."""

import os
from collections.abc import Iterator

import pytest
import torch

os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # read when Ray is imported
# Otherwise trials wait for the tests of the other processes: Ray runs its workers at nice 15.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray spells it so
torch.set_num_threads(1)  # as in a trial: more threads than cores make small networks slower


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray with two CPUs for all tests that are marked ``ray``."""
    import ray

    # "local": never the cluster that another test, or somebody on this machine, has started.
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
