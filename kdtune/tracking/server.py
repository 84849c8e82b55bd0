"""The few things a search asks of MLflow, with its traps closed; the only module that loads it."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdtune.tracking.buffer import Parcel
from kdtune.tracking.location import artifact_folder, first_use

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROBE_TIMEOUT_S = (3.0, 10.0)
"""Seconds to wait for a connection, and for an answer, before a server counts as absent."""

CHATTY = (
    "alembic.runtime.migration",
    "mlflow.store.db.utils",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
    "PERMISSION_DENIED",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}
"""MLflow's codes for answers that asking again does not change."""


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Tells the UI that these are training runs, not traces of language models."""


class Refused(Exception):
    """A write that no repetition can mend."""


def is_refusal(error: Exception) -> bool:
    """Whether asking again cannot help."""
    return isinstance(error, Refused) or getattr(error, "error_code", "") in REFUSALS


@dataclass(frozen=True)
class FoundRun:
    """A run that exists already: its id, its parameters, and the last epoch of each metric."""

    run_id: str
    params: Mapping[str, str]
    last_epochs: Mapping[str, int]


class Server:
    """One experiment of an MLflow server or database; opened by the first call.

    Nothing here reads or changes MLflow's global tracking URI.

    Args:
        tracking_uri: Of the server or database.
        experiment: Name of the experiment; made if there is none.
    """

    def __init__(self, tracking_uri: str, experiment: str) -> None:
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.experiment_id = ""
        self._client: MlflowClient | None = None

    def connect(self) -> None:
        """Make sure that the server answers, and that the experiment is there.

        Raises:
            Refused: If the experiment was deleted.
            Exception: Whatever the network or the database raised.
        """
        if self.tracking_uri.startswith(("http://", "https://")):
            _probe(self.tracking_uri)
        if self._client is None:
            from mlflow import MlflowClient

            with first_use(self.tracking_uri):
                client = MlflowClient(tracking_uri=self.tracking_uri)
                self.experiment_id = self._experiment(client)
            self._client = client

    @property
    def client(self) -> "MlflowClient":
        """The client, once connected."""
        if self._client is None:
            raise Refused("the tracking server was used before connect()")
        return self._client

    def _experiment(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            folder = artifact_folder(self.tracking_uri)
            try:
                made = client.create_experiment(self.experiment, folder, tags=EXPERIMENT_TAGS)
                return str(made)
            except MlflowException as error:
                found = client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise error
        if found.lifecycle_stage != "active":
            raise Refused(
                f"the MLflow experiment '{self.experiment}' was deleted; choose another name, or "
                f"bring it back: mlflow experiments restore -x {found.experiment_id}"
            )
        return str(found.experiment_id)

    def create_run(self, *, name: str, tags: Mapping[str, str], time_ms: int) -> str:
        """Make a run that is RUNNING since ``time_ms``; its id."""
        run = self.client.create_run(
            self.experiment_id, start_time=time_ms, tags=dict(tags), run_name=name
        )
        return str(run.info.run_id)

    def find_run(self, tags: Mapping[str, str]) -> FoundRun | None:
        """The newest run of the experiment that carries all of ``tags``."""
        terms = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        found = self.client.search_runs(
            [self.experiment_id],
            filter_string=" and ".join(terms),
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        if not found:
            return None
        run = found[0]
        epochs = {key: self._last_epoch(run.info.run_id, key) for key in run.data.metrics}
        return FoundRun(str(run.info.run_id), dict(run.data.params), epochs)

    def _last_epoch(self, run_id: str, metric: str) -> int:
        return max((m.step for m in self.client.get_metric_history(run_id, metric)), default=-1)

    def log(self, run_id: str, parcel: Parcel) -> None:
        """Write one parcel to a run."""
        from mlflow.entities import Metric, Param, RunTag

        self.client.log_batch(
            run_id,
            metrics=[Metric(*point) for point in parcel.points],
            params=[Param(key, value) for key, value in parcel.params.items()],
            tags=[RunTag(key, value) for key, value in parcel.tags.items()],
            synchronous=True,
        )

    def set_status(self, run_id: str, status: str, time_ms: int | None) -> None:
        """Set a run's status, and when it ended.

        ``MlflowClient.set_terminated`` would print two lines for each run of a remote server.
        """
        from mlflow.entities import RunStatus

        store = self.client._tracking_client.store
        store.update_run_info(run_id, RunStatus.from_string(status), time_ms, None)


def _probe(uri: str) -> None:
    """One short request: MLflow itself would try an absent server for minutes."""
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S)
    except requests.exceptions.SSLError:
        return  # Somebody answers; MLflow has its own settings for certificates.
    except requests.exceptions.RequestException as error:
        raise ConnectionError(f"no MLflow server answers: {error}") from error


@contextmanager
def quiet_thread() -> Iterator[None]:
    """Keeps MLflow's notes on migrations and retries, if made by this thread, off the screen."""
    here = threading.get_ident()

    def not_from_here(record: logging.LogRecord) -> bool:
        return record.thread != here

    loggers = [logging.getLogger(name) for name in CHATTY]
    for logger in loggers:
        logger.addFilter(not_from_here)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(not_from_here)
