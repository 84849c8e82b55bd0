"""The same over HTTP, against a real server that is killed in the middle."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_in_mlflow import assert_the_same, inputs_of, sync, writes_nothing
from logged_search import TRAIN, log_search, start_trial
from mlflow_server import MLflowServer

from kdtune.cli import MLFLOW_ENVIRONMENT
from kdtune.tracking import MLflowSink, read_runs

TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    server = MLflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def _as_the_console_script(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in MLFLOW_ENVIRONMENT.items():
        monkeypatch.setenv(key, value)


@pytest.fixture
def sink(server: MLflowServer, tmp_path: Path, request: pytest.FixtureRequest) -> MLflowSink:
    return MLflowSink(
        tracking_uri=server.uri,
        experiment=request.node.name,
        run_name="search",
        journal=tmp_path / "journal",
        tags={"kind": "search"},
    )


def test_a_search_is_written_whole(sink: MLflowSink, server: MLflowServer, tmp_path: Path) -> None:
    (tmp_path / "front.csv").write_text("a,b\n")
    sink.attach("", tmp_path / "front.csv", place="tables")
    log_search(sink)
    report = sink.close(TIMEOUT_S)
    assert (report.lost, report.error) == (0, "")
    record = assert_the_same(tmp_path, server.uri)
    assert inputs_of(server.uri, record.runs[0].run_id) == [
        (TRAIN.name, TRAIN.digest, "train", {"uri": "digits"})
    ]
    assert writes_nothing(sync(tmp_path, server.uri))


def test_limits_of_the_server_are_kept(
    sink: MLflowSink, server: MLflowServer, tmp_path: Path
) -> None:
    """Texts of two bytes a character: 300 parameters and 40 tags are more than a call takes."""
    params = {f"p{i}": "é" * 10_000 for i in range(300)}
    tags = {f"t{i}": "ü" * 9_000 for i in range(40)}
    sink.start_run("a", name="n" * 1000, params=params, tags=tags)
    sink.tag("a", {f"later/{i}": "ö" * 9_000 for i in range(40)})
    sink.start_run("ключ/a b'c\"d%e", name="odd", params={"ä = (%)": 1}, tags={"ü/../x": "1"})
    sink.log("a", epoch=1, metrics={f"m{i} (%) 'ä'": i / 7 for i in range(1200)})
    sink.log("a", epoch=2**40, metrics={"../up": 1e308, "/top": -1e-308})
    report = sink.close(TIMEOUT_S)
    assert (report.lost, report.error) == (0, "")
    record = assert_the_same(tmp_path, server.uri)
    run = next(run for run in record.runs if run.key == "a")
    assert (len(run.params), len(run.history)) == (300, 1202)
    assert {len(text) for text in run.params.values()} == {6000}
    assert writes_nothing(sync(tmp_path, server.uri))


def test_a_server_that_comes_back_gets_what_it_missed(
    sink: MLflowSink, server: MLflowServer, tmp_path: Path
) -> None:
    start_trial(sink, 0, epochs=3)
    assert sink.flush(TIMEOUT_S)
    server.kill()
    start_trial(sink, 1, epochs=3)
    assert not sink.flush(0.5)
    server.start()
    log_search(sink, trials=3, first=2)
    report = sink.close(TIMEOUT_S)
    assert report.lost == 0
    assert_the_same(tmp_path, server.uri)


@pytest.mark.drill
def test_a_server_killed_in_the_middle_of_writing_loses_nothing(
    sink: MLflowSink, server: MLflowServer, tmp_path: Path
) -> None:
    before = len(read_runs(server.uri))
    for number in range(12):
        start_trial(sink, number, epochs=10)
    writing = threading.Thread(target=sink.flush, args=(TIMEOUT_S,))
    writing.start()
    while len(read_runs(server.uri)) < before + 5:
        time.sleep(0.01)
    server.kill()
    log_search(sink, trials=14, first=12)
    began = time.monotonic()
    report = sink.close(5.0)
    assert time.monotonic() - began < 7.0
    assert report.lost > 0
    assert 5 <= report.runs < 15
    assert f"kdtune sync {tmp_path}" in str(report)
    writing.join()

    server.start()
    replayed = sync(tmp_path, server.uri)
    assert (replayed.lost, replayed.error) == (0, "")
    assert replayed.present > 0
    assert_the_same(tmp_path, server.uri)
    assert writes_nothing(sync(tmp_path, server.uri))
