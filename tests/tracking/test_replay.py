"""A replay brings MLflow to exactly what the journal tells, whatever was there before."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from child import killed_after
from journal_in_mlflow import assert_the_same, in_mlflow, inputs_of, sync, writes_nothing
from logged_search import TRAIN, log_search, start_trial
from mlflow import MlflowClient

from kdtune.tracking import MLflowSink, read_journal
from kdtune.tracking.buffer import METRICS_PER_CALL

MakeSink = Callable[..., MLflowSink]
TIMEOUT_S = 60.0


@pytest.fixture
def nowhere() -> str:
    return "http://127.0.0.1:9"


def test_a_search_that_reached_nobody_is_written_whole(
    make_sink: MakeSink, tracking_uri: str, nowhere: str, tmp_path: Path
) -> None:
    sink = make_sink(tracking_uri=nowhere, journal=tmp_path / "journal", inputs=[TRAIN])
    log_search(sink)
    lost = sink.close(1.0)
    assert f"kdtune sync {tmp_path}" in str(lost)
    first = sync(tmp_path, tracking_uri)
    assert (first.lost, first.present, first.runs) == (0, 0, 6)
    assert first.written == lost.lost
    record = assert_the_same(tmp_path, tracking_uri)
    assert inputs_of(tracking_uri, record.search.run_id) == [
        ("digits", "d" * 32, "train", {"uri": "digits"})
    ]
    second = sync(tmp_path, tracking_uri)
    assert writes_nothing(second)
    assert second.present == first.written


def test_a_search_that_was_written_lacks_nothing(
    make_sink: MakeSink, tracking_uri: str, tmp_path: Path
) -> None:
    sink = make_sink(journal=tmp_path / "journal")
    log_search(sink)
    assert sink.close(TIMEOUT_S).complete
    assert_the_same(tmp_path, tracking_uri)
    assert writes_nothing(sync(tmp_path, tracking_uri))


def test_several_values_at_one_epoch_are_all_kept(
    make_sink: MakeSink, tracking_uri: str, nowhere: str, tmp_path: Path
) -> None:
    """Epochs of a warm-up are all at step 0; a replay after half of them brings the others."""
    sink = make_sink(journal=tmp_path / "journal", search_id="warm-up")
    sink.start_run("a", name="trial", params={}, tags={})
    for loss in (0.5, 0.4):
        sink.log("a", epoch=0, metrics={"loss": loss})
        time.sleep(0.002)
    sink.close(TIMEOUT_S)
    unheard = make_sink(tracking_uri=nowhere, journal=tmp_path / "journal", search_id="warm-up")
    for loss in (0.3, 0.2):
        unheard.log("a", epoch=0, metrics={"loss": loss})
        time.sleep(0.002)
    unheard.close(1.0)
    report = sync(tmp_path, tracking_uri)
    assert report.lost == 0
    points = assert_the_same(tmp_path, tracking_uri).runs[0].history["loss"]
    assert [point.value for point in points] == [0.5, 0.4, 0.3, 0.2]


def test_a_file_is_written_once_and_again_when_it_changed(
    make_sink: MakeSink, tracking_uri: str, tmp_path: Path
) -> None:
    sink = make_sink(journal=tmp_path / "journal")
    (tmp_path / "front.csv").write_text("a,b\n")
    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "deep" / "one.txt").write_text("1")
    sink.attach("", tmp_path / "front.csv")
    sink.attach("", tmp_path / "plots", place="figures")
    sink.attach("", tmp_path / "gone.txt")
    report = sink.close(TIMEOUT_S)
    assert report.lost == 1
    assert "gone.txt', which was to be kept with its run, is gone" in report.error
    (tmp_path / "gone.txt").write_text("back")
    assert sync(tmp_path, tracking_uri).written == 1
    assert writes_nothing(sync(tmp_path, tracking_uri))

    client = MlflowClient(tracking_uri=tracking_uri)
    assert {file.path for file in client.list_artifacts(report.run_id)} == {
        "front.csv",
        "figures",
        "gone.txt",
    }
    (tmp_path / "front.csv").write_text("c,d\n")
    assert sync(tmp_path, tracking_uri).written == 1
    copy = client.download_artifacts(report.run_id, "front.csv", str(tmp_path / "plots"))
    assert Path(copy).read_text() == "c,d\n"


def test_what_people_added_in_mlflow_stays(
    make_sink: MakeSink, tracking_uri: str, tmp_path: Path
) -> None:
    sink = make_sink(journal=tmp_path / "journal")
    log_search(sink, trials=1)
    run_id = sink.close(TIMEOUT_S).run_id
    client = MlflowClient(tracking_uri=tracking_uri)
    client.set_tag(run_id, "verdict", "good")
    client.log_metric(run_id, "own", 1.0)
    client.delete_tag(run_id, "outcome")
    assert sync(tmp_path, tracking_uri).written == 1
    search = in_mlflow(tracking_uri, read_journal(tmp_path).experiment).search
    assert (search.tags["verdict"], search.tags["outcome"]) == ("good", "finished")
    assert search.value("own") == 1.0


def test_a_run_that_went_on_is_one_run_with_both_parts(
    make_sink: MakeSink, tracking_uri: str, nowhere: str, tmp_path: Path
) -> None:
    """Stopped, and taken up by another process: the journal has a segment of each."""
    first = make_sink(tracking_uri=nowhere, journal=tmp_path / "journal", search_id="two parts")
    key = start_trial(first, 0, epochs=2)
    first.end_run(key, outcome="stopped")
    first.end("stopped")
    first.close(1.0)
    second = make_sink(journal=tmp_path / "journal", search_id="two parts")
    log_search(second, trials=1)
    assert second.close(TIMEOUT_S).lost == 0
    report = sync(tmp_path, tracking_uri)
    assert (report.runs, report.lost) == (2, 0)
    assert_the_same(tmp_path, tracking_uri)
    assert writes_nothing(sync(tmp_path, tracking_uri))


def test_a_sync_while_the_search_goes_on_makes_no_run_twice(
    make_sink: MakeSink, tracking_uri: str, tmp_path: Path
) -> None:
    sink = make_sink(journal=tmp_path / "journal")
    for number in range(6):
        start_trial(sink, number, epochs=2)
        assert sync(tmp_path, tracking_uri).lost == 0
        if number % 2:
            sink.flush(TIMEOUT_S)
        assert len(in_mlflow(tracking_uri, sink.experiment).runs) == number + 1
    log_search(sink, trials=0)
    assert sink.close(TIMEOUT_S).lost == 0
    assert_the_same(tmp_path, tracking_uri)
    assert writes_nothing(sync(tmp_path, tracking_uri))


@pytest.mark.parametrize("server", ["there", "absent"])
def test_a_search_that_was_killed_is_completed_without_repetition(
    tracking_uri: str, nowhere: str, tmp_path: Path, server: str
) -> None:
    uri, flush_s = (tracking_uri, TIMEOUT_S) if server == "there" else (nowhere, 0)
    last = killed_after(40, "log", uri, tmp_path, f"killed, {server}", flush_s)
    journal = read_journal(tmp_path)
    logged = sum(len(run.history.get("train/m0", ())) for run in journal.runs)
    assert logged >= last
    report = sync(tmp_path, tracking_uri)
    assert (report.lost, report.runs) == (0, 1 + len(journal.runs))
    assert (report.present > 0) == (server == "there")
    assert report.written > 0
    assert_the_same(tmp_path, tracking_uri)
    assert writes_nothing(sync(tmp_path, tracking_uri))


def test_a_long_run_is_completed_from_the_middle(
    make_sink: MakeSink, tracking_uri: str, nowhere: str, tmp_path: Path
) -> None:
    sink = make_sink(journal=tmp_path / "journal", search_id="long")
    many = METRICS_PER_CALL // 10 + 20
    sink.start_run("a", name="trial", params={}, tags={})
    for epoch in range(many):
        sink.log("a", epoch=epoch, metrics={f"m{i}": epoch / 7 for i in range(10)})
    sink.close(TIMEOUT_S)
    later = make_sink(tracking_uri=nowhere, journal=tmp_path / "journal", search_id="long")
    for epoch in range(many, 2 * many):
        later.log("a", epoch=epoch, metrics={f"m{i}": epoch / 7 for i in range(10)})
    later.close(0.5)
    report = sync(tmp_path, tracking_uri)
    assert report.written == 10 * many
    assert_the_same(tmp_path, tracking_uri)
