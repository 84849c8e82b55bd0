"""The machine of a search, sampled."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

from kdtune.tracking import MLflowSink, system
from kdtune.tracking.system import SystemMetrics

SHOWN = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/disk_available_megabytes",
    "system/network_receive_megabytes",
}


class Samples:
    """A sink that keeps what it is told."""

    def __init__(self, wanted: int = 1, *, broken: bool = False) -> None:
        self.taken: list[tuple[str, int, dict[str, float]]] = []
        self.enough = threading.Event()
        self._wanted = wanted
        self._broken = broken

    def log(self, key: str, *, epoch: int, metrics: dict[str, float]) -> None:
        self.taken.append((key, epoch, metrics))
        if len(self.taken) >= self._wanted:
            self.enough.set()
        if self._broken:
            raise RuntimeError("on purpose")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "FIRST_S", 0.2)


def sampled(sink: Any, **settings: float) -> None:
    with SystemMetrics(sink, **settings):
        assert sink.enough.wait(30)


def test_samples_go_to_the_searchs_own_run_one_step_each() -> None:
    sink = Samples(3)
    sampled(sink, interval_s=0.05)
    assert [(key, epoch) for key, epoch, _ in sink.taken][:3] == [("", 0), ("", 1), ("", 2)]
    for _, _, metrics in sink.taken:
        assert metrics.keys() >= SHOWN
        assert all(name.startswith("system/") for name in metrics)
        assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100


def test_a_sample_is_of_its_own_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(CPUMonitor):  # MLflow averages what was collected since the last clearing.
        count = 0

        def collect_metrics(self) -> None:
            self._metrics["count"].append(self.count)
            self.count += 1

    monkeypatch.setattr(system, "_monitors", lambda: [Counting()])
    sink = Samples(3)
    sampled(sink, interval_s=0.05)
    assert [metrics for _, _, metrics in sink.taken][:3] == [
        {"system/count": count} for count in (1.0, 2.0, 3.0)
    ]


def test_nothing_is_logged_once_the_search_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Samples()
    metrics = SystemMetrics(sink)  # type: ignore[arg-type]

    class Late(CPUMonitor):
        def collect_metrics(self) -> None:
            metrics._stopped.set()

    monkeypatch.setattr(metrics._stopped, "wait", lambda pause: False)
    monkeypatch.setattr(system, "_monitors", lambda: [Late()])
    metrics._run()
    assert not sink.taken


def test_the_first_sample_does_not_wait_for_the_interval() -> None:
    begun = time.monotonic()
    sampled(Samples(1), interval_s=3600)
    assert time.monotonic() - begun < 30


def test_leaving_ends_the_thread_at_once() -> None:
    sink = Samples(1)
    with SystemMetrics(sink, interval_s=3600) as metrics:  # type: ignore[arg-type]
        assert sink.enough.wait(30)
        begun = time.monotonic()
    assert time.monotonic() - begun < 1
    assert not metrics._thread.is_alive()


def test_a_sink_that_breaks_ends_the_sampling_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = Samples(1, broken=True)
    sampled(sink, interval_s=0.01)
    assert len(sink.taken) == 1
    assert "the machine is no longer sampled" in caplog.text


def test_long_searches_are_sampled_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(range(0, 1000 * 3600, 3600))
    monkeypatch.setattr(system.time, "monotonic", lambda: float(next(hours)))
    sink = Samples(2)
    metrics = SystemMetrics(sink, interval_s=10.0)  # type: ignore[arg-type]
    pauses: list[float] = []

    def wait(pause: float) -> bool:
        pauses.append(pause)
        return len(pauses) > 24

    monkeypatch.setattr(metrics._stopped, "wait", wait)
    metrics._run()
    assert pauses[1:3] == [10.0, 10.0]
    assert pauses[-1] == pytest.approx(24 * 3.6)


def test_they_arrive_in_mlflow(
    make_sink: Callable[..., MLflowSink], runs_of: Callable[[], dict[str, Run]]
) -> None:
    sink = make_sink()
    with SystemMetrics(sink, interval_s=0.05):
        time.sleep(1)
    sink.end("finished")
    assert not sink.close().lost
    assert runs_of()["search"].data.metrics.keys() >= SHOWN
