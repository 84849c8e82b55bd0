"""What becomes of errors and of missing GPUs on a Ray cluster, without one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

from kdtune.analysis import Analysis
from kdtune.search import analysing_on_ray
from kdtune.search.analysing import Task
from kdtune.search.finished_runs import FinishedRun


class Cluster:
    """As much of Ray as is asked for: tasks are done in order, and end as told.

    Args:
        ends: What each task gives, or raises.
        gpus: Of the whole cluster.
    """

    def __init__(self, ends: Sequence[object], gpus: int = 0) -> None:
        self.ends, self.gpus = ends, gpus
        self.submitted: list[int] = []
        self.cancelled: list[int] = []

    def remote(self, **resources: float) -> Callable[[object], SimpleNamespace]:
        def submit(task: object) -> int:
            self.submitted.append(len(self.submitted))
            return self.submitted[-1]

        return lambda function: SimpleNamespace(remote=submit)

    def wait(self, tasks: list[int], num_returns: int) -> tuple[list[int], list[int]]:
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task: int) -> object:
        end = self.ends[task]
        if isinstance(end, Exception):
            raise end
        return end

    def cancel(self, task: int) -> None:
        self.cancelled.append(task)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0, **({"GPU": float(self.gpus)} if self.gpus else {})}


def _tasks(count: int, device: str = "cpu") -> list[Task]:
    return [
        Task(
            analysis=cast(Analysis, None),
            run=cast(FinishedRun, SimpleNamespace(label=f"finalist {n}", student=Path(str(n)))),
            peers=[],
            device=device,
        )
        for n in range(count)
    ]


def _work(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, tasks: Sequence[Task]) -> list[Any]:
    monkeypatch.setattr(analysing_on_ray, "ray", cluster)
    return list(analysing_on_ray._work(tasks))


def _of_task(cause: Exception) -> Any:
    """As ``ray.get`` raises it."""
    told = "Traceback (most recent call last):\nhere it went wrong"
    error: Any = RayTaskError("work", told, cause, "p", 1, "ip")  # type: ignore[no-untyped-call]
    return error.as_instanceof_cause()


@pytest.mark.parametrize(
    "cause",
    [
        ValueError("finalist 1: does not fit"),
        FileNotFoundError(2, "No such file or directory", "/data/cifar"),
    ],
)
def test_what_a_task_raises_for_the_user_is_raised_here(
    monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    cluster = Cluster(["fine", _of_task(cause), "fine"])
    with pytest.raises(type(cause)) as caught:
        _work(monkeypatch, cluster, _tasks(3))
    assert caught.value is cause
    assert cluster.cancelled == [2]


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = _of_task(KeyError("x"))
    with pytest.raises(RayTaskError, match="here it went wrong"):
        _work(monkeypatch, Cluster([fault]), _tasks(1))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (WorkerCrashedError(), "The worker died"),
        (OutOfMemoryError("Task was killed: memory ran low.\n7 of 8 GB"), "memory ran low"),  # type: ignore[no-untyped-call]
    ],
)
def test_a_lost_task_is_one_sentence_with_its_run(
    monkeypatch: pytest.MonkeyPatch, error: RayError, said: str
) -> None:
    with pytest.raises(OSError, match=f"finalist 1: Ray lost the task .*{said}") as caught:
        _work(monkeypatch, Cluster(["fine", error]), _tasks(2))
    assert "\n" not in str(caught.value)


def test_a_gpu_that_the_cluster_lacks_is_told_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(["fine"])
    with pytest.raises(ValueError, match="give --device cpu"):
        _work(monkeypatch, cluster, _tasks(1, "cuda"))
    assert cluster.submitted == []


@pytest.mark.parametrize(("gpus", "device"), [(1, "cuda"), (0, "cpu")])
def test_tasks_that_a_cluster_has_room_for_are_done(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: str
) -> None:
    done = _work(monkeypatch, Cluster(["one", "two"], gpus), _tasks(2, device))
    assert done == [(0, "one"), (1, "two")]
