"""The front beside the runs that are on it."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from kdtune.report.front_in_mlflow import publish_front
from kdtune.tracking import MLflowSink, default_tracking_uri


def test_members_are_tagged_and_the_files_are_kept_at_the_search(tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path)
    sink = MLflowSink(tracking_uri=uri, experiment="e", run_name="a search", source=tmp_path)
    for trial_id, kind in (("t0", "trial"), ("t1", "trial"), ("t2", "teacher")):
        sink.start_run(
            trial_id, name=trial_id, params={}, tags={"kind": kind, "trial_id": trial_id}
        )
        sink.end_run(trial_id, outcome="finished")
    sink.end("finished")
    report = sink.close()
    picture = tmp_path / "pareto.png"
    picture.write_bytes(b"a picture")
    publish_front(tracking_uri=uri, report=report, trial_ids={"t1", "t2"}, files=[picture])
    client = MlflowClient(tracking_uri=uri)
    runs = {run.info.run_name: run for run in client.search_runs([report.experiment_id])}
    tagged = {name: run.data.tags.get("pareto") for name, run in runs.items()}
    assert tagged == {"a search": None, "t0": None, "t1": "true", "t2": None}
    assert [file.path for file in client.list_artifacts(report.run_id)] == ["pareto.png"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_a_server_that_is_gone_is_an_error_of_its_own(tmp_path: Path) -> None:
    sink = MLflowSink(tracking_uri="sqlite:///x.db", experiment="e", run_name="r")
    uri = default_tracking_uri(tmp_path / "file")
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=r".+"):
        publish_front(tracking_uri=uri, report=sink.close(), trial_ids=(), files=[])
