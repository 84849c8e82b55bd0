"""``kdtune sync`` finds journals, says what it wrote, and what it could not."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import Result
from journal_in_mlflow import assert_the_same
from logged_search import log_search
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.tracking import MLflowSink
from kdtune.tracking.location import logged_to

NOWHERE = "http://me:secret@127.0.0.1:9"


@pytest.fixture(autouse=True)
def _a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@pytest.fixture
def lost_search(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Makes a search whose server was never there."""

    def make(name: str, uri: str = NOWHERE) -> Path:
        folder = tmp_path / name
        sink = MLflowSink(
            tracking_uri=uri,
            experiment=f"{request.node.name}, {name}",
            run_name=name,
            journal=folder / "journal",
        )
        log_search(sink, trials=2)
        sink.close(0.5)
        return folder

    return make


@pytest.fixture
def unwilling_server() -> Iterator[str]:
    """Answers that it does not know who asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 401)
            self.end_headers()
            self.wfile.write(b"You are not authenticated.")

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def sync(*words: object) -> Result:
    return CliRunner().invoke(app, ["sync", *map(str, words)])


def test_all_searches_of_a_storage_folder_are_written(
    lost_search: Callable[[str], Path], tmp_path: Path, tracking_uri: str
) -> None:
    folders = [lost_search("one"), lost_search("two")]
    (tmp_path / "teachers").mkdir()
    said = sync("--storage", tmp_path, "--tracking-uri", tracking_uri)
    assert said.exit_code == 0, said.output
    for folder in folders:
        assert f"{folder.name}: 3 runs in " in said.output
        assert_the_same(folder, tracking_uri)
    again = sync("--storage", tmp_path, "--tracking-uri", tracking_uri)
    assert again.output.count("0 records written, ") == 2


def test_a_search_is_named_or_given_as_a_path(
    lost_search: Callable[[str], Path], tmp_path: Path, tracking_uri: str
) -> None:
    lost_search("one")
    other = lost_search("two")
    to = ("--tracking-uri", tracking_uri)
    assert "one: 3 runs" in sync("one", "--storage", tmp_path, *to).output
    assert "two: 3 runs" in sync(other, *to).output
    assert "two: 3 runs" in sync(other / "journal", *to).output


def test_an_unknown_search_is_answered_with_near_names(
    lost_search: Callable[[str], Path], tmp_path: Path
) -> None:
    lost_search("quickstart")
    said = sync("quickstrat", "--storage", tmp_path)
    assert said.exit_code == 2
    assert "did you mean 'quickstart'?" in said.output


def test_a_storage_without_journals_is_an_error(tmp_path: Path) -> None:
    said = sync("--storage", tmp_path)
    assert said.exit_code == 2
    assert "no search with a journal" in said.output


def test_an_absent_server_is_told_and_others_are_served(
    lost_search: Callable[..., Path], tmp_path: Path
) -> None:
    lost_search("far")
    lost_search("near", f"sqlite:///{tmp_path}/mlflow.db")
    said = sync("--storage", tmp_path)
    assert said.exit_code == 1
    assert "records could not be written: ConnectionError: no MLflow server answers" in said.output
    assert "near: 3 runs" in said.output
    assert "secret" not in said.output


def test_a_server_that_asks_for_a_password_gets_the_reader_told(
    lost_search: Callable[..., Path], tmp_path: Path, unwilling_server: str
) -> None:
    lost_search("one")
    said = sync("--storage", tmp_path, "--tracking-uri", unwilling_server)
    assert said.exit_code == 1
    assert "passwords are not kept in a journal" in said.output


def test_the_environment_may_know_the_password(
    lost_search: Callable[..., Path],
    tmp_path: Path,
    unwilling_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = unwilling_server.replace("://", "://me:secret@")
    folder = lost_search("one", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert logged_to(uri.replace("me:secret", "***"), folder) == uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:other@elsewhere")
    assert logged_to(uri.replace("me:secret", "***"), folder) == unwilling_server


def test_a_database_of_another_machine_is_not_made_here(
    lost_search: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()  # So that the search itself cannot make it either.
    folder = lost_search("moved", f"sqlite:///{tmp_path}/file/below/mlflow.db")
    (tmp_path / "file").unlink()
    said = sync(folder)
    assert said.exit_code == 1
    assert f"give --tracking-uri, such as sqlite:///{tmp_path}/mlflow.db" in said.output
    assert not (tmp_path / "file").exists()


def test_damage_is_told_and_the_rest_is_written(
    lost_search: Callable[..., Path], tmp_path: Path, tracking_uri: str
) -> None:
    file = lost_search("hurt") / "journal" / "00000.arrows"
    data = bytearray(file.read_bytes())
    data[data.index(b"cut_epoch")] ^= 1
    file.write_bytes(data)
    said = sync("--storage", tmp_path, "--tracking-uri", tracking_uri)
    assert said.exit_code == 1
    assert "hurt: 3 runs" in said.output
    assert "00000.arrows' is damaged at byte" in said.output
