"""Where the tracking data lie."""

import subprocess
import sys
from pathlib import Path

import pytest

from kdtune.tracking import default_tracking_uri, resolve_tracking_uri
from kdtune.tracking.location import artifact_folder, sqlite_file, without_credentials


@pytest.mark.parametrize("folder", ["plain", "with space", "ünï✓", "100%?", "a#b"])
def test_the_default_is_a_file_in_the_storage_folder(tmp_path: Path, folder: str) -> None:
    uri = default_tracking_uri(tmp_path / folder)
    assert uri.startswith("sqlite:////")
    assert sqlite_file(uri) == tmp_path / folder / "mlflow.db"
    assert not (tmp_path / folder).exists()


def test_a_relative_folder_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_file(default_tracking_uri(Path("results"))) == tmp_path / "results/mlflow.db"


@pytest.mark.parametrize("storage", ["s3://bucket/results", "gs://b"])
def test_a_remote_folder_cannot_hold_a_database(storage: str) -> None:
    with pytest.raises(ValueError, match=r"local storage folder, got .*--tracking-uri"):
        default_tracking_uri(Path(storage))


def test_what_was_asked_for_comes_before_the_environment(tmp_path: Path) -> None:
    assert resolve_tracking_uri("http://a", "http://b", tmp_path) == "http://a"
    assert resolve_tracking_uri(None, "http://b", tmp_path) == "http://b"
    assert resolve_tracking_uri(None, None, tmp_path) == default_tracking_uri(tmp_path)


def test_artifacts_lie_beside_the_database_and_a_server_keeps_its_own(tmp_path: Path) -> None:
    assert artifact_folder(default_tracking_uri(tmp_path)) == (tmp_path / "mlartifacts").as_uri()
    assert artifact_folder("http://server:5000") is None


def test_passwords_are_blanked_out() -> None:
    text = "cannot reach http://me:secret@server:5000/x"
    assert without_credentials(text) == "cannot reach http://***@server:5000/x"


def test_the_package_is_cheap_to_import() -> None:
    code = "import sys, kdtune.tracking; print({'mlflow', 'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("uri", ["foo://x", "bogus", "http", "file:///runs", "./mlruns"])
def test_a_uri_that_mlflow_has_no_store_for_is_refused_before_any_work(
    uri: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"server or a database.*got"):
        resolve_tracking_uri(uri, None, tmp_path)


@pytest.mark.parametrize(
    "uri", ["https://me:pw@host/mlflow", "postgresql+psycopg2://db/x", "databricks", "sqlite:///x"]
)
def test_servers_and_databases_are_taken(uri: str, tmp_path: Path) -> None:
    assert resolve_tracking_uri(uri, None, tmp_path) == uri
