"""Which Ray a search runs on, and what it ships there."""

from pathlib import Path
from typing import Any

import pytest
import ray

from kdtune.config import ConfigError
from kdtune.search.cluster import Share, connected, runtime_env


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What Ray was asked for, in a process that is not connected."""
    calls: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **info: calls.append((address, info)))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append(("shutdown", {})))
    return calls


def test_all_packages_are_shipped() -> None:
    modules = runtime_env()["py_modules"]
    assert [Path(module).name for module in modules] == ["kdtune", "search_spaces", "trainables"]
    assert all((Path(module) / "__init__.py").is_file() for module in modules)


def test_without_an_address_no_running_cluster_is_joined(
    asked: list[tuple[str, dict[str, Any]]],
) -> None:
    with connected(""):
        assert [address for address, _ in asked] == ["local"]
    assert asked[-1][0] == "shutdown"


def test_a_cluster_that_is_joined_gets_the_code(asked: list[tuple[str, dict[str, Any]]]) -> None:
    with connected("auto"):
        ((address, info),) = asked
    assert address == "auto"
    assert info["runtime_env"] == runtime_env()


def test_a_connection_that_exists_is_used_and_kept(
    asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with connected("auto"):
        pass
    assert asked == []


def test_a_cluster_that_does_not_answer_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(ConfigError, match=r"no Ray cluster takes us at '10\.0\.0\.1:6379'"),
        connected("10.0.0.1:6379"),
    ):
        pass


def test_ray_client_is_bad_input(asked: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(ConfigError, match="must not be of Ray Client"), connected("ray://a:10001"):
        pass
    assert asked == []


def cluster(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [dead, *alive])


BIG, SMALL, HEAD = {"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0, "GPU": 1.0}, {"CPU": 4.0}


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "at_once"),
    [
        ([BIG], 1, 0.0, 8),
        ([BIG], 3, 0.0, 2),
        ([BIG], 1, 1.0, 2),
        ([BIG], 1, 0.5, 4),
        ([BIG], 1, 0.4, 4),  # two on each GPU, none over both
        ([BIG], 1, 0.1, 8),
        ([BIG], 8, 0.1, 1),
        ([BIG], 1, 2.0, 1),
        ([BIG, SMALL, HEAD], 2, 0.5, 5),
        ([SMALL, SMALL], 2, 0.0, 2),  # three fit in all the CPUs, but on no node
        ([{}, SMALL], 1, 1.0, 1),
    ],
)
def test_as_many_trials_run_at_once_as_fit_on_the_nodes(
    nodes: list[dict[str, float]],
    cpus: int,
    gpus: float,
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster(monkeypatch, *nodes)
    assert Share.of_cluster(cpus, gpus).concurrency == at_once


@pytest.mark.parametrize(("cpus", "gpus"), [(9, 0.0), (1, 3.0)])
def test_a_trial_that_fits_on_no_node_is_bad_input_unless_nodes_will_be_started(
    cpus: int, gpus: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(monkeypatch, BIG, BIG)
    with pytest.raises(ValueError, match="lower --cpus-per-trial or --gpus-per-trial"):
        Share.of_cluster(cpus, gpus)
    assert Share.of_cluster(cpus, gpus, concurrency=6).concurrency == 6


def test_trials_may_keep_to_one_kind_of_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(
        monkeypatch, {**BIG, "accelerator_type:A10G": 1.0}, {**SMALL, "accelerator_type:T4": 1.0}
    )
    share = Share.of_cluster(1, 0.5, accelerator="A10G")
    assert share.concurrency == 4
    assert share.resources == {"cpu": 1, "gpu": 0.5, "accelerator_type:A10G": 0.001}
    with pytest.raises(ValueError, match="3 CPUs and 1 T4; 8 CPUs and 2 A10G"):
        Share.of_cluster(1, 1.0, accelerator="H100")
