"""Where the tracking data lie: the SQLite file of a storage folder, or a server."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote

from filelock import FileLock

from kdtune.credentials import without_credentials as without_credentials

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
LOCK_TIMEOUT_S = 60.0

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""What MLflow keeps runs in; its folders of files are refused by MLflow itself."""

_SQLITE = "sqlite:///"


def default_tracking_uri(storage: Path) -> str:
    """The URI of the SQLite file in ``storage``, which need not exist yet.

    Spaces and accents stand as they are; only what a URI would misread (``%``, ``?``) is encoded.

    Raises:
        ValueError: If ``storage`` is a URI: a database file needs a folder of this machine.
    """
    if "://" in str(storage) or re.match(r"^[A-Za-z][\w+.-]+:/", str(storage)):
        raise ValueError(
            f"an SQLite file needs a local storage folder, got '{storage}'; "
            "give a tracking URI of its own (--tracking-uri or MLFLOW_TRACKING_URI)"
        )
    return _SQLITE + _encoded(Path(storage).expanduser().absolute() / DATABASE)


def _encoded(path: Path) -> str:
    return path.as_posix().replace("%", "%25").replace("?", "%3F")


def resolve_tracking_uri(explicit: str | None, environ_value: str | None, storage: Path) -> str:
    """What was asked for, else what the environment says, else the file in ``storage``.

    Raises:
        ValueError: If MLflow has no store for such a URI.
    """
    return checked_uri(explicit or environ_value or default_tracking_uri(storage))


def checked_uri(uri: str) -> str:
    """``uri``, if it is that of a server or a database.

    Raises:
        ValueError: If it is not; MLflow would say so only after the work has begun.
    """
    scheme = re.split(r":|\+", uri, maxsplit=1)[0]
    plugins = {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}
    if uri != "databricks" and (":" not in uri or scheme not in {*SCHEMES, *plugins}):
        raise ValueError(
            "a tracking URI is that of a server or a database, such as http://HOST:5000 or "
            f"sqlite:////FOLDER/mlflow.db, got '{without_credentials(uri)}'"
        )
    return uri


def logged_to(uri: str, folder: Path) -> str:
    """Where a search logs, with user and password if the environment knows them.

    Args:
        uri: As the header of its journal has it.
        folder: Of its results.

    Raises:
        ValueError: If that is a database of another machine.
    """
    environment = os.environ.get("MLFLOW_TRACKING_URI", "")
    if without_credentials(environment) == uri:
        return environment
    file = sqlite_file(uri)
    if file and not file.parent.is_dir():
        raise ValueError(
            f"its database was '{file}', and there is no such folder here; give --tracking-uri, "
            f"such as {_SQLITE}{folder.parent / file.name}"
        )
    return uri.replace("://***@", "://")


def sqlite_file(uri: str) -> Path | None:
    """The database file behind an SQLite URI; None for any other URI."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(unquote(uri.removeprefix(_SQLITE).split("?")[0]))


def anchored(uri: str) -> str:
    """``uri`` with a relative path of an SQLite file made absolute, so that it holds elsewhere."""
    file = sqlite_file(uri)
    if file is None or file.is_absolute():
        return uri
    return f"{_SQLITE}{_encoded(Path.cwd())}/{uri.removeprefix(_SQLITE)}"


def artifact_folder(uri: str) -> str | None:
    """Where an experiment of an SQLite file keeps its artifacts, as a URI: beside the file.

    MLflow's own choice would be ``mlruns`` in whatever folder the process was started from. None
    for a server, which decides for itself.
    """
    file = sqlite_file(uri)
    return None if file is None else (file.absolute().parent / ARTIFACTS).as_uri()


@contextmanager
def first_use(uri: str) -> Iterator[None]:
    """Holds back other processes while an SQLite file gets its tables and its experiment.

    Raises:
        filelock.Timeout: If another process holds the file for longer than ``LOCK_TIMEOUT_S``.
        OSError: If the folder cannot be made or written.
    """
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=LOCK_TIMEOUT_S):
        yield
