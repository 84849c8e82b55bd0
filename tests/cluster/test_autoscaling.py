"""What Ray's autoscaler makes of ``cluster.yaml``: the claims of its comments."""

from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import (
    CloudResourceMonitor,
)
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

from kdtune.cluster.description import read

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config() -> dict[str, Any]:
    return prepare_config(read(ROOT / "cluster.yaml"))


def test_trials_start_spot_nodes_and_never_more_than_the_limit(config: dict[str, Any]) -> None:
    assert _started(config, trials=3) == {"gpu_spot": 3}
    assert _started(config, trials=50) == {"gpu_spot": 8}
    assert _started(config, trials=0) == {}


def test_half_a_gpu_a_trial_packs_two_on_a_node(config: dict[str, Any]) -> None:
    assert _started(config, trials=6, cpus=4, gpus=0.5) == {"gpu_spot": 3}


def test_on_demand_nodes_come_first_where_they_are_allowed(config: dict[str, Any]) -> None:
    config["available_node_types"]["gpu_on_demand"]["max_workers"] = 2
    assert _started(config, trials=5) == {"gpu_on_demand": 2, "gpu_spot": 3}


def test_ray_does_not_turn_to_on_demand_by_itself_after_a_refusal(config: dict[str, Any]) -> None:
    """Why ``gpu_on_demand`` is switched on by hand: a refused launch is no lack of capacity to the
    monitor, which waits for timeouts only. Once this fails, Ray falls back by itself."""
    types = config["available_node_types"]
    types["gpu_on_demand"] |= {"max_workers": 8, "priority": 0}
    monitor = CloudResourceMonitor()
    refused = InstanceUpdateEvent(
        instance_id="1",
        instance_type="gpu_spot",
        new_instance_status=Instance.ALLOCATION_FAILED,
    )
    monitor.notify([refused])
    assert _started(config, trials=2, monitor=monitor) == {"gpu_spot": 2}


def _started(
    config: dict[str, Any],
    *,
    trials: int,
    cpus: float = 8,
    gpus: float = 1,
    monitor: CloudResourceMonitor | None = None,
) -> dict[str, int]:
    """The nodes that Ray's scheduler would start for so many waiting trials."""
    autoscaling = AutoscalingConfig(config, skip_content_hash=True)
    waiting = [ResourceRequestUtil.make({"CPU": cpus, "GPU": gpus}) for _ in range(trials)]
    monitor = monitor or CloudResourceMonitor()
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=autoscaling.get_node_type_configs(),
        max_num_nodes=autoscaling.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(waiting),
        cloud_resource_availabilities=monitor.get_resource_availabilities(),
        recoverable_resource_availabilities=monitor.get_recoverable_resource_availabilities(),
    )
    reply = ResourceDemandScheduler(event_logger=None).schedule(request)
    return {launch.instance_type: launch.count for launch in reply.to_launch}
