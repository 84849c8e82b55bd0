"""Runs read back from MLflow, without making or changing anything there."""

import os
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from journal_in_mlflow import assert_the_same, in_mlflow
from logged_search import TRAIN, log_search
from mlflow import MlflowClient

from kdtune.tracking import MLflowSink, default_tracking_uri, read_runs, read_search

MakeSink = Callable[..., MLflowSink]
TIMEOUT_S = 60.0


@pytest.fixture
def experiment(make_sink: MakeSink, tmp_path: Path) -> str:
    """Of a search with five trials."""
    sink = make_sink(
        journal=tmp_path / "journal", tags={"kind": "search"}, params={"search.trials": 5}
    )
    log_search(sink)
    assert sink.close(TIMEOUT_S).complete
    return sink.experiment


def test_a_search_is_read_as_its_journal_tells_it(
    experiment: str, tracking_uri: str, tmp_path: Path
) -> None:
    record = assert_the_same(tmp_path, tracking_uri)
    assert (record.name, record.search.kind, record.experiment) == ("search", "search", experiment)
    assert [run.key for run in record.of_kind("trial")] == [f"trial_{n:05d}" for n in range(5)]
    assert [run.outcome for run in record.runs][:3] == ["finished", "cut", "diverged"]
    assert record.runs[1].tags["cut_epoch"] == "3"
    assert record.runs[1].inputs == (TRAIN,)
    losses = record.runs[0].history["train/m0"]
    found = [(point.epoch, point.value) for point in losses]
    assert sorted(found) == [(0, 0.5), (0, 1.0), (1, 1 / 3), (2, 0.25), (3, 0.2)]
    assert found[2:] == sorted(found)[2:]
    assert not any(tag.startswith("kdtune.") for run in record.runs for tag in run.tags)


def test_a_part_of_a_search_is_not_one(experiment: str, tracking_uri: str) -> None:
    record = in_mlflow(tracking_uri, experiment)
    with pytest.raises(ValueError, match=f"part of a search.*'{record.search.run_id}'"):
        read_search(tracking_uri, record.runs[0].run_id)


def test_a_run_that_is_not_there_is_an_error(experiment: str, tracking_uri: str) -> None:
    with pytest.raises(ValueError, match="no run 'abc' in MLflow"):
        read_search(tracking_uri, "abc")


def test_runs_have_the_latest_value_of_each_metric(experiment: str, tracking_uri: str) -> None:
    trials = read_runs(tracking_uri, [experiment], kinds=["trial"])
    assert [run.name for run in trials] == [f"trial {n}" for n in range(5)]
    whole = in_mlflow(tracking_uri, experiment)
    for latest, full in zip(trials, whole.runs, strict=True):
        assert latest.params == full.params
        assert {name: points[0] for name, points in latest.history.items()} == {
            name: points[-1] for name, points in full.history.items()
        }
        assert latest.value("train/m0") == full.value("train/m0")


def test_kinds_and_experiments_choose_the_runs(
    experiment: str, tracking_uri: str, make_sink: MakeSink
) -> None:
    other = make_sink(experiment=f"{experiment}, again", tags={"kind": "search"})
    log_search(other, trials=1)
    other.close(TIMEOUT_S)
    names = [experiment, f"{experiment}, again"]
    assert len(read_runs(tracking_uri, names)) == 6 + 2
    assert [run.kind for run in read_runs(tracking_uri, names, kinds=["search"])] == ["search"] * 2
    assert len(read_runs(tracking_uri, names, kinds=["search", "trial"])) == 6 + 2
    assert len(read_runs(tracking_uri)) >= 6 + 2


def test_deleted_experiments_and_runs_are_left_out(experiment: str, tracking_uri: str) -> None:
    client = MlflowClient(tracking_uri=tracking_uri)
    runs = read_runs(tracking_uri, [experiment])
    client.delete_run(runs[-1].run_id)
    assert len(read_runs(tracking_uri, [experiment])) == len(runs) - 1
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    client.delete_experiment(found.experiment_id)
    assert runs[0].run_id not in {run.run_id for run in read_runs(tracking_uri)}


def test_more_runs_than_a_page_are_all_read(
    experiment: str, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdtune.tracking.server.PAGE", 2)
    monkeypatch.setattr("kdtune.tracking.reading.PAGE", 2)
    assert len(read_runs(tracking_uri, [experiment])) == 6
    assert len(in_mlflow(tracking_uri, experiment).runs) == 5


def test_an_unknown_experiment_is_answered_with_near_names(
    experiment: str, tracking_uri: str
) -> None:
    with pytest.raises(ValueError, match=f"unknown experiment.*did you mean '{experiment}'"):
        read_runs(tracking_uri, [experiment.replace("near", "naer")])


@pytest.mark.parametrize("content", [None, b"", b"not a database, but long enough to be one" * 9])
def test_an_absent_database_is_an_error_and_stays_absent(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "mlflow.db"
    if content is not None:
        file.write_bytes(content)
    for read in (
        lambda uri: read_runs(uri),
        lambda uri: read_search(uri, "0" * 32),
    ):
        with pytest.raises(ValueError, match=r"no MLflow database at '.*mlflow\.db'"):
            read(default_tracking_uri(tmp_path))
    assert (file.read_bytes() if file.exists() else None) == content
    assert len(list(tmp_path.iterdir())) == file.exists()


def test_an_absent_server_is_an_error() -> None:
    with pytest.raises(ConnectionError, match="no MLflow server answers"):
        read_runs("http://127.0.0.1:9")


def test_reading_leaves_the_users_own_settings_alone(
    experiment: str, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    before = mlflow.get_tracking_uri(), dict(os.environ)
    read_search(tracking_uri, read_runs(tracking_uri, [experiment])[0].run_id)
    assert (mlflow.get_tracking_uri(), dict(os.environ)) == before
    assert list(Path().iterdir()) == []
