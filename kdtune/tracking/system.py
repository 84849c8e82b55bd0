"""How busy the machine is while a search runs, for the UI's page *System metrics*."""

import logging
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kdtune.tracking.events import PARENT

if TYPE_CHECKING:
    from kdtune.tracking.sink import MLflowSink

PREFIX = "system/"
INTERVAL_S = 10.0
FIRST_S = 1.0
"""When the first sample is taken: the load of a processor is one between two looks at it."""

SPARSE = 1000
"""A pause lasts at least this part of the time so far: a search of days must not fill the store."""

logger = logging.getLogger(__name__)


class SystemMetrics:
    """Samples this machine into the search's own run, at step = sample number, while it is entered.

    Load, memory, disk, network and, where ``pynvml`` (or ``pyrsmi``) is installed, GPUs, under
    MLflow's own names and by MLflow's own monitors. It is the machine of the driver alone: on a
    cluster, Ray's dashboard shows the others. Nothing here raises or holds anything up.

    Args:
        sink: Takes the samples.
        interval_s: Seconds between two of them; after hours of search they grow rarer.
    """

    def __init__(self, sink: "MLflowSink", *, interval_s: float = INTERVAL_S) -> None:
        self._sink = sink
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kdtune-system", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(FIRST_S)

    def _run(self) -> None:
        try:
            self._sample()
        except Exception:  # A search never fails for what is told beside it.
            logger.warning("the machine is no longer sampled", exc_info=True)

    def _sample(self) -> None:
        monitors = _monitors()
        for monitor in monitors:
            monitor.collect_metrics()
        begun, step, pause = time.monotonic(), 0, FIRST_S
        while not self._stopped.wait(pause):
            metrics: dict[str, float] = {}
            for monitor in monitors:
                monitor.clear_metrics()
                monitor.collect_metrics()
                metrics |= monitor.aggregate_metrics()
            named = {f"{PREFIX}{name}": value for name, value in metrics.items()}
            if self._stopped.is_set():
                return  # The sink may be closed by now, and would open again.
            self._sink.log(PARENT, epoch=step, metrics=named)
            step += 1
            pause = max(self._interval_s, (time.monotonic() - begun) / SPARSE)


def _monitors() -> list[Any]:
    """MLflow's monitors, those of the GPUs where they work."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    always: list[Any] = [CPUMonitor, DiskMonitor, NetworkMonitor]
    monitors = [kind() for kind in always]
    for gpus in (GPUMonitor, ROCMMonitor):
        with suppress(Exception):  # Each has its own for a library, driver or device that lacks.
            return [*monitors, gpus()]
    return monitors
