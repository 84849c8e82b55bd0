"""The Pareto front in MLflow: files at the search's own run, a tag on the runs of its trials."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdtune.tracking import SinkReport
from kdtune.tracking.server import quiet_thread

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FRONT_TAG = "pareto"
"""Is ``true`` on the runs of the front; filter by ``tags.pareto = 'true'``."""


def publish_front(
    *,
    tracking_uri: str,
    report: SinkReport,
    trial_ids: Collection[str],
    files: Sequence[Path],
) -> None:
    """Tag the runs of ``trial_ids``, and put ``files`` beside the search's own run.

    Args:
        tracking_uri: Of the server or database, with credentials if there are any.
        report: Of the sink that wrote the runs, after it was closed.
        trial_ids: The tag ``trial_id`` of the runs.
        files: Become artifacts.

    Raises:
        Exception: Whatever MLflow or the network raised.
    """
    from mlflow import MlflowClient

    with quiet_thread():
        client = MlflowClient(tracking_uri=tracking_uri)
        for run in _children(client, report):
            if run.data.tags.get("trial_id") in trial_ids:
                client.set_tag(run.info.run_id, FRONT_TAG, "true")
        for file in files:
            client.log_artifact(report.run_id, str(file))


def _children(client: "MlflowClient", report: SinkReport) -> "Iterator[Run]":
    """The runs of the search's trials, page by page."""
    token = None
    while True:
        page = client.search_runs(
            [report.experiment_id],
            filter_string=f"tags.`mlflow.parentRunId` = '{report.run_id}' and tags.kind = 'trial'",
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return
