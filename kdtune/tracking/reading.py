"""Runs read back from MLflow: a whole search, or the latest values of many runs."""

import json
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from kdtune.registry import nearest
from kdtune.tracking.buffer import RUNNING
from kdtune.tracking.events import DatasetUse
from kdtune.tracking.location import sqlite_file, without_credentials
from kdtune.tracking.record import (
    Point,
    RunRecord,
    SearchRecord,
    by_context,
    by_epoch,
    in_order,
)
from kdtune.tracking.server import (
    CONTEXT_TAG,
    KEY_TAG,
    PAGE,
    PARENT_TAG,
    SEARCH_TAG,
    SOURCE_TYPE,
    pages,
    probe,
    quiet_thread,
    run_key,
    search_runs,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

READERS = 8
OWN_TAGS = (PARENT_TAG, KEY_TAG, SEARCH_TAG, "mlflow.runName")
"""Tags that only say which run a run is, and are left out of records."""


def read_search(tracking_uri: str, run_id: str) -> SearchRecord:
    """A search and its runs, with every value of every metric.

    Args:
        tracking_uri: Of a server or database; MLflow's global one is left alone.
        run_id: MLflow's id of the search's own run.

    Raises:
        ValueError: If there is no database, no such run, or it is a child of another.
        ConnectionError: If no server answers.
    """
    with quiet_thread():
        client = _client(tracking_uri)
        search = _run(client, run_id)
        if PARENT_TAG in search.data.tags:
            raise ValueError(
                f"run '{run_id}' ({search.info.run_name}) is a part of a search; give the run of "
                f"the search, '{search.data.tags[PARENT_TAG]}'"
            )
        experiment = client.get_experiment(search.info.experiment_id)
        ours = f"tags.`{PARENT_TAG}` = '{run_id}'"
        children = search_runs(client, [search.info.experiment_id], ours)
        own, *runs = _whole(client, [search, *children])
        return SearchRecord(
            experiment=experiment.name,
            tracking_uri=without_credentials(tracking_uri),
            search=own,
            runs=in_order(runs),
        )


def read_runs(
    tracking_uri: str, experiments: Sequence[str] = (), *, kinds: Sequence[str] = ()
) -> list[RunRecord]:
    """Runs with the latest value of each metric, in the order in which they were started.

    Args:
        tracking_uri: Of a server or database; MLflow's global one is left alone.
        experiments: Names; all that are active by default.
        kinds: Values of the tag ``kind``; all runs by default.

    Raises:
        ValueError: If there is no database, or no experiment of a name.
        ConnectionError: If no server answers.
    """
    with quiet_thread():
        client = _client(tracking_uri)
        ids = _experiment_ids(client, experiments)
        filters = [f"tags.kind = '{kind}'" for kind in dict.fromkeys(kinds)] or [""]
        found = (run for wanted in filters for run in search_runs(client, ids, wanted))
        return in_order(_record(run, _latest(run)) for run in found)


def _client(tracking_uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    if tracking_uri.startswith(("http://", "https://")):
        probe(tracking_uri)
    file = sqlite_file(tracking_uri)
    # MLflow itself would make the file, or fill it with its tables.
    if file and not _is_mlflows(file):
        raise ValueError(f"no MLflow database at '{file}'; run 'kdtune search' or 'kdtune sync'")
    return MlflowClient(tracking_uri=tracking_uri)


def _is_mlflows(file: Path) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiments'"
    if not file.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchone() is not None
    except sqlite3.OperationalError:
        return True  # Locked or out of reach: MLflow waits, or says what is wrong.
    except sqlite3.DatabaseError:
        return False


def _run(client: "MlflowClient", run_id: str) -> "Run":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise ValueError(f"no run '{run_id}' in MLflow: {error.message}") from None
        raise


def _experiment_ids(client: "MlflowClient", names: Sequence[str]) -> list[str]:
    found = pages(lambda token: client.search_experiments(max_results=PAGE, page_token=token))
    known = {experiment.name: str(experiment.experiment_id) for experiment in found}
    for name in names:
        if name not in known:
            raise ValueError(f"unknown experiment '{name}'{nearest(name, known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def _whole(client: "MlflowClient", runs: Sequence["Run"]) -> list[RunRecord]:
    """Records of ``runs`` with all values, several metrics at a time: a server is far away."""

    def points(place: tuple[str, str]) -> list[Point]:
        found = client.get_metric_history(*place)
        return by_epoch(Point(each.step, each.value, each.timestamp) for each in found)

    places = [(run.info.run_id, name) for run in runs for name in run.data.metrics]
    with ThreadPoolExecutor(READERS) as readers:
        values = dict(zip(places, readers.map(points, places), strict=True))
    return [
        _record(run, {name: values[run.info.run_id, name] for name in run.data.metrics})
        for run in runs
    ]


def _latest(run: "Run") -> dict[str, list[Point]]:
    metrics = run.data._metric_objs
    return {metric.key: [Point(metric.step, metric.value, metric.timestamp)] for metric in metrics}


def _record(run: "Run", history: dict[str, list[Point]]) -> RunRecord:
    tags, info = dict(run.data.tags), run.info
    return RunRecord(
        key=run_key(run),
        name=info.run_name or "",
        params=dict(run.data.params),
        tags={name: value for name, value in tags.items() if name not in OWN_TAGS},
        history=history,
        started_ms=info.start_time or 0,
        ended_ms=None if info.status == RUNNING else info.end_time,
        run_id=info.run_id,
        inputs=by_context(map(_use, run.inputs.dataset_inputs if run.inputs else ())),
    )


def _use(read: "DatasetInput") -> DatasetUse:
    dataset, tags = read.dataset, {tag.key: tag.value for tag in read.tags}
    ours = dataset.source_type == SOURCE_TYPE
    return DatasetUse(
        name=dataset.name,
        digest=dataset.digest,
        context=tags.get(CONTEXT_TAG, ""),
        source=json.loads(dataset.source)["uri"] if ours else dataset.source,
        profile=dataset.profile or "",
    )
