"""MLflow's copy of a search held against its journal."""

import json
from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient

from kdtune.tracking import SearchRecord, SinkReport, read_journal, read_search, replay
from kdtune.tracking.events import STATUS
from kdtune.tracking.journal import read_contents


def sync(folder: Path, tracking_uri: str) -> SinkReport:
    """Bring MLflow to the journal of the search in ``folder``."""
    found = read_contents(folder)
    return replay(
        found.events,
        tracking_uri=tracking_uri,
        experiment=found.header.experiment,
        search_id=found.header.search_id,
        base=folder,
    )


def in_mlflow(tracking_uri: str, experiment: str) -> SearchRecord:
    """The only search of an experiment."""
    client = MlflowClient(tracking_uri=tracking_uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    searches = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(searches) == 1, [run.info.run_name for run in runs]
    return read_search(tracking_uri, searches[0].info.run_id)


def assert_the_same(folder: Path, tracking_uri: str) -> SearchRecord:
    """MLflow holds what the journal in ``folder`` tells, run by run, value by value."""
    journal = read_journal(folder)
    mlflow = in_mlflow(tracking_uri, journal.experiment)
    client = MlflowClient(tracking_uri=tracking_uri)
    assert len(mlflow.runs) == len(journal.runs)
    for told, found in zip((journal.search, *journal.runs), (mlflow.search, *mlflow.runs)):  # noqa: B905
        assert replace(found, run_id="") == told
        status = client.get_run(found.run_id).info.status
        assert status == (STATUS[told.outcome] if told.ended_ms else "RUNNING")
    return mlflow


def writes_nothing(report: SinkReport) -> bool:
    """Whether a replay found everything in place."""
    return report.written == report.lost == 0 < report.present


def inputs_of(tracking_uri: str, run_id: str) -> list[tuple[str, str, str, dict[str, str]]]:
    """Name, digest, context and source of the datasets of a run."""
    run = MlflowClient(tracking_uri=tracking_uri).get_run(run_id)
    return [
        (
            use.dataset.name,
            use.dataset.digest,
            {tag.key: tag.value for tag in use.tags}["mlflow.data.context"],
            json.loads(use.dataset.source),
        )
        for use in run.inputs.dataset_inputs
    ]
