"""What a sink writes, read back from a real SQLite store."""

import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from kdtune.tracking import MLflowSink
from kdtune.tracking.view import VIEW

MakeSink = Callable[..., MLflowSink]
RunsOf = Callable[[], dict[str, Run]]
History = Callable[[Run, str], list[tuple[int, float]]]
TIMEOUT_S = 60.0


def test_a_search_becomes_a_parent_run_with_a_child_per_trial(
    make_sink: MakeSink, runs_of: RunsOf, history: History
) -> None:
    sink = make_sink(params={"trials": 2}, tags={"space": "quickstart"}, note="*Why*")
    params = {"temperature": 4.0, "nesterov": True, "train_limit": None}
    sink.start_run("a", name="trial 0", params=params, tags={"kind": "trial"})
    for epoch in (1, 2, 3):
        sink.log("a", epoch=epoch, metrics={"val/accuracy": epoch / 10, "lr": 0.1})
    sink.end_run("a", outcome="finished", metrics={"best/val_accuracy": 0.3})
    sink.end("finished", {"best/val_accuracy": 0.3}, {"best_trial": "0"})
    report = sink.close(TIMEOUT_S)

    runs = runs_of()
    parent, trial = runs["search"], runs["trial 0"]
    assert (report.runs, report.lost, report.error) == (2, 0, "")
    assert (report.run_id, report.experiment_id) == (
        parent.info.run_id,
        parent.info.experiment_id,
    )
    assert parent.data.params == {"trials": "2"}
    assert parent.data.tags["mlflow.note.content"] == "*Why*"
    assert parent.data.tags["best_trial"] == "0"
    assert {"version.torch", "version.ray", "mlflow.user"} <= set(parent.data.tags)
    assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert trial.data.params == {"temperature": "4.0", "nesterov": "true"}
    assert history(trial, "val/accuracy") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert history(trial, "best/val_accuracy") == [(3, 0.3)]
    for run in (parent, trial):
        assert run.info.status == "FINISHED"
        assert run.info.end_time >= run.info.start_time


@pytest.mark.parametrize(
    ("outcome", "status", "own_tags"),
    [
        ("finished", "FINISHED", {}),
        ("cut", "FINISHED", {"cut_epoch": "3"}),
        ("diverged", "FINISHED", {}),
        ("failed", "FAILED", {"error": "out of memory"}),
        ("stopped", "KILLED", {}),
    ],
)
def test_an_outcome_is_a_status_and_a_tag(
    make_sink: MakeSink, runs_of: RunsOf, outcome: str, status: str, own_tags: dict[str, str]
) -> None:
    sink = make_sink()
    sink.start_run("a", name="trial", params={}, tags={})
    tags = {"error": "out of memory"} if outcome == "failed" else {}
    sink.end_run("a", outcome=outcome, epoch=3, tags=tags)
    sink.close(TIMEOUT_S)
    run = runs_of()["trial"]
    assert run.info.status == status
    assert run.data.tags.items() >= {"outcome": outcome, **own_tags}.items()
    assert ("cut_epoch" in run.data.tags) == (outcome == "cut")


def test_an_outcome_that_is_none_is_refused(make_sink: MakeSink) -> None:
    with pytest.raises(ValueError, match=r"outcome must be one of finished, cut.*got 'good'"):
        make_sink().end_run("a", outcome="good")


def test_a_run_that_is_started_twice_is_one_run(make_sink: MakeSink, runs_of: RunsOf) -> None:
    sink = make_sink()
    for _ in range(2):
        sink.start_run("a", name="trial", params={"p": 1}, tags={})
        sink.log("a", epoch=1, metrics={"m": 1.0})
        sink.flush(TIMEOUT_S)
    sink.close(TIMEOUT_S)
    assert set(runs_of()) == {"search", "trial"}


def test_nan_and_infinity_are_left_out_and_named(
    make_sink: MakeSink, runs_of: RunsOf, history: History
) -> None:
    sink = make_sink()
    sink.start_run("a", name="trial", params={}, tags={})
    sink.log("a", epoch=1, metrics={"train/loss": 1.0, "val/accuracy": 0.5})
    sink.log("a", epoch=2, metrics={"train/loss": math.nan, "val/accuracy": 0.1})
    report = sink.close(TIMEOUT_S)
    run = runs_of()["trial"]
    assert history(run, "train/loss") == [(1, 1.0)]
    assert history(run, "val/accuracy") == [(1, 0.5), (2, 0.1)]
    assert run.data.tags["nonfinite"] == "train/loss at epoch 2"
    assert report.lost == 0


def test_more_than_a_call_can_carry_is_written_in_several(
    make_sink: MakeSink, runs_of: RunsOf, history: History
) -> None:
    sink = make_sink()
    params = {f"p{i}": "x" * 7000 for i in range(150)}
    tags = {f"t{i}": "x" * 9000 for i in range(20)}
    sink.start_run("a", name="trial", params=params, tags=tags)
    for epoch in range(300):
        sink.log("a", epoch=epoch, metrics={f"m{i} (%)": float(epoch) for i in range(8)})
    report = sink.close(TIMEOUT_S)
    run = runs_of()["trial"]
    assert (report.lost, report.error) == (0, "")
    assert len(run.data.params) == 150
    assert len(run.data.metrics) == 8
    assert history(run, "m7 ___") == [(epoch, float(epoch)) for epoch in range(300)]


def test_a_pickled_sink_goes_on_with_the_same_runs(
    make_sink: MakeSink, runs_of: RunsOf, history: History
) -> None:
    sink = make_sink(params={"trials": 1})
    sink.start_run("a", name="trial", params={"p": 1}, tags={})
    sink.log("a", epoch=1, metrics={"m": 0.1})
    sink.log("a", epoch=2, metrics={"m": 0.2})
    sink.end_run("a", outcome="stopped")
    copy = pickle.loads(pickle.dumps(sink))
    sink.close(TIMEOUT_S)

    copy.start_run("a", name="trial", params={"p": 1}, tags={})
    copy.log("a", epoch=3, metrics={"m": 0.3})
    copy.end_run("a", outcome="finished")
    report = copy.close(TIMEOUT_S)
    run = runs_of()["trial"]
    assert history(run, "m") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "finished")
    assert (report.lost, report.error) == (0, "")


def test_a_closed_sink_may_be_used_again(
    make_sink: MakeSink, runs_of: RunsOf, history: History
) -> None:
    sink = make_sink(search_id="one search")
    sink.start_run("a", name="trial", params={}, tags={})
    sink.log("a", epoch=1, metrics={"m": 1.0})
    sink.close(TIMEOUT_S)
    sink.log("a", epoch=2, metrics={"m": 2.0})
    sink.end("finished")
    assert sink.close(TIMEOUT_S).lost == 0
    assert history(runs_of()["trial"], "m") == [(1, 1.0), (2, 2.0)]


def test_an_unused_sink_opens_nothing(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/absent/mlflow.db"
    sink = MLflowSink(tracking_uri=uri, experiment="e", run_name="r")
    assert sink.flush(1.0)
    assert sink.close(1.0).runs == 0
    assert not (tmp_path / "absent").exists()


def test_the_users_own_mlflow_settings_are_left_alone(
    make_sink: MakeSink, runs_of: RunsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri(), dict(os.environ)
    sink = make_sink()
    sink.start_run("a", name="trial", params={}, tags={})
    sink.close(TIMEOUT_S)
    assert (mlflow.get_tracking_uri(), dict(os.environ)) == before
    assert list(tmp_path.iterdir()) == []
    assert "mlartifacts" in runs_of()["trial"].info.artifact_uri


def test_a_new_experiment_has_a_view_of_the_results(make_sink: MakeSink) -> None:
    sink = make_sink()
    sink.start_run("a", name="trial", params={}, tags={})
    sink.close(TIMEOUT_S)
    client = mlflow.MlflowClient(tracking_uri=sink.tracking_uri)
    found = client.get_experiment_by_name(sink.experiment)
    assert found is not None
    view = json.loads(found.tags["mlflow.sharedViewState.kdtune"])
    assert "metrics.`test/accuracy`" in json.loads(view["state"])["selectedColumns"]


def test_first_use_is_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make_sink: MakeSink
) -> None:
    sink = make_sink(tracking_uri=f"sqlite:///{tmp_path}/new folder/mlflow.db")
    sink.start_run("a", name="trial", params={}, tags={})
    assert sink.close(TIMEOUT_S).runs == 2
    assert capfd.readouterr() == ("", "")


def test_an_experiment_that_was_there_gets_the_view_of_the_results(
    make_sink: MakeSink, tracking_uri: str
) -> None:
    client = MlflowClient(tracking_uri=tracking_uri)
    made = client.create_experiment("of old", tags={"mlflow.experimentKind": "genai_development"})
    sink = make_sink(experiment="of old")
    sink.start_run("a", name="trial", params={}, tags={})
    sink.close(30.0)
    tags = client.get_experiment(made).tags
    assert tags["mlflow.experimentKind"] == "genai_development"
    assert f"mlflow.sharedViewState.{VIEW}" in tags
