"""The few things a search asks of MLflow, with its traps closed; the only module that loads it."""

import json
import logging
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdtune.tracking.buffer import RUNNING, Entry, FoundRun, Parcel
from kdtune.tracking.events import PARENT, Attached, DatasetUse
from kdtune.tracking.location import artifact_folder, first_use, without_credentials
from kdtune.tracking.view import experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

PROBE_TIMEOUT_S = (3.0, 10.0)
"""Seconds to wait for a connection, and for an answer, before a server counts as absent."""

CHATTY = (
    "alembic.runtime.migration",
    "mlflow.pyfunc",
    "mlflow.store.db.utils",
    "mlflow.utils.environment",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
REFUSALS = {
    "BAD_REQUEST",
    "CUSTOMER_UNAUTHORIZED",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
    "PERMISSION_DENIED",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}
"""MLflow's codes for answers that asking again does not change."""
SEARCH_TAG, KEY_TAG = "kdtune.search", "kdtune.key"
"""Tags of every run: the search it belongs to, and its name there."""
PARENT_KEY = "search"
"""What the second one says of the search's own run."""
PARENT_TAG = "mlflow.parentRunId"
CONTEXT_TAG = "mlflow.data.context"
SOURCE_TYPE = "kdtune"
"""Of the datasets that kdtune names."""
PAGE = 1000


class Refused(Exception):
    """A write that no repetition can mend."""


def is_refusal(error: Exception) -> bool:
    """Whether asking again cannot help."""
    return isinstance(error, Refused) or getattr(error, "error_code", "") in REFUSALS


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
            probe(self.tracking_uri)
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
                made = client.create_experiment(self.experiment, folder, tags=experiment_tags())
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
        for key, text in experiment_tags().items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, text)
        return str(found.experiment_id)

    def create_run(self, *, name: str, tags: Mapping[str, str], time_ms: int) -> str:
        """Make a run that is RUNNING since ``time_ms``; its id."""
        run = self.client.create_run(
            self.experiment_id, start_time=time_ms, tags=dict(tags), run_name=name
        )
        return str(run.info.run_id)

    def runs_of(self, search_id: str) -> dict[str, FoundRun]:
        """The runs of a search by key; of two with one key, the one that was made first."""
        ours = f"tags.`{SEARCH_TAG}` = '{search_id}'"
        order = ["attributes.start_time DESC"]
        runs = search_runs(self.client, [self.experiment_id], ours, order)
        return {run_key(run): _found(run) for run in runs}

    def history(self, run_id: str, metric: str) -> set[Entry]:
        """All values of one metric of a run."""
        return set(map(_entry, self.client.get_metric_history(run_id, metric)))

    def log(self, run_id: str, parcel: Parcel) -> None:
        """Write one parcel to a run."""
        from mlflow.entities import Metric, Param, RunTag

        self.client.log_batch(
            run_id,
            metrics=[Metric(*entry) for entry in parcel.entries],
            params=[Param(key, value) for key, value in parcel.params.items()],
            tags=[RunTag(key, value) for key, value in parcel.tags.items()],
            synchronous=True,
        )

    def log_inputs(self, run_id: str, inputs: Iterable[DatasetUse]) -> None:
        """Name the datasets that a run reads."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        self.client.log_inputs(
            run_id,
            datasets=[
                DatasetInput(
                    Dataset(
                        name=use.name,
                        digest=use.digest,
                        source_type=SOURCE_TYPE,
                        source=json.dumps({"uri": use.source}),
                        profile=use.profile or None,
                    ),
                    [InputTag(CONTEXT_TAG, use.context)],
                )
                for use in inputs
            ],
        )

    def attach(self, run_id: str, event: Attached, path: Path) -> bool:
        """Write a file or folder to a run's artifacts, or a saved student as its model.

        Returns:
            Whether anything of it was missing; files are written in any case.

        Raises:
            FileNotFoundError: If there is nothing at ``path``.
        """
        if not path.exists():
            raise FileNotFoundError(f"'{path}', which was to be kept with its run, is gone")
        place = event.place or None
        if event.kind == "model":
            from kdtune.tracking.models import log_student

            return log_student(
                self.client,
                experiment_id=self.experiment_id,
                run_id=run_id,
                folder=path,
                name=event.place,
                register=event.register,
            )
        if path.is_dir():
            self.client.log_artifacts(run_id, str(path), place)
        else:
            self.client.log_artifact(run_id, str(path), place)
        return True

    def has(self, run_id: str, event: Attached, path: Path) -> bool:
        """Whether a run has a file, or all those of a folder, byte for byte.

        Of a model that is not known before :meth:`attach`.
        """
        if event.kind == "model" or not path.exists():
            return False
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        top = path if path.is_dir() else path.parent
        names = {file: Path(event.place, file.relative_to(top)) for file in files}
        return all(self._has_file(run_id, name, file) for file, name in names.items())

    def _has_file(self, run_id: str, name: Path, file: Path) -> bool:
        folder = name.parent.as_posix() if name.parent.parts else None
        sizes = {each.path: each.file_size for each in self.client.list_artifacts(run_id, folder)}
        if sizes.get(name.as_posix()) != file.stat().st_size:
            return False
        with tempfile.TemporaryDirectory() as copies:
            copy = self.client.download_artifacts(run_id, name.as_posix(), copies)
            return Path(copy).read_bytes() == file.read_bytes()

    def set_status(self, run_id: str, status: str, time_ms: int | None) -> None:
        """Set a run's status, and when it ended.

        ``MlflowClient.set_terminated`` would print two lines for each run of a remote server.
        """
        from mlflow.entities import RunStatus

        store = self.client._tracking_client.store
        store.update_run_info(run_id, RunStatus.from_string(status), time_ms, None)


def run_key(run: "Run") -> str:
    """The key of a run within its search; MLflow's id for one that was made by other means."""
    key = run.data.tags.get(KEY_TAG, run.info.run_id)
    nested = PARENT_TAG in run.data.tags
    return PARENT if key == PARENT_KEY and not nested else str(key)


def _found(run: "Run") -> FoundRun:
    data, info = run.data, run.info
    read = run.inputs.dataset_inputs if run.inputs else ()
    return FoundRun(
        run_id=str(info.run_id),
        status=info.status,
        ended_ms=None if info.status == RUNNING else info.end_time,
        params=dict(data.params),
        tags=dict(data.tags),
        latest={each.key: _entry(each) for each in data._metric_objs},
        inputs={(use.dataset.name, use.dataset.digest) for use in read},
    )


def _entry(metric: "Metric") -> Entry:
    return Entry(metric.key, metric.value, metric.timestamp, metric.step)


def search_runs(
    client: "MlflowClient", experiments: Sequence[str], wanted: str, order: Sequence[str] = ()
) -> "Iterator[Run]":
    """All runs that fit the filter ``wanted``, page by page."""
    if not experiments:
        return iter(())
    return pages(
        lambda token: client.search_runs(
            list(experiments),
            filter_string=wanted,
            max_results=PAGE,
            order_by=list(order),
            page_token=token,
        )
    )


def pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    """The entries of all pages of what ``ask`` returns for a token."""
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def probe(uri: str) -> None:
    """One short request: MLflow itself would try an absent server for minutes."""
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S)
    except requests.exceptions.SSLError:
        return  # Somebody answers; MLflow has its own settings for certificates.
    except requests.exceptions.RequestException as error:
        raise ConnectionError(
            f"no MLflow server answers at {without_credentials(uri)}; start it, or give another "
            f"tracking URI ({type(error).__name__})"
        ) from error


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
