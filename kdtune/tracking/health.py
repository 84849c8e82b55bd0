"""Whether a tracking server or database will take what a search logs."""

from contextlib import closing
from pathlib import Path

from kdtune.tracking.location import checked_uri, sqlite_file, without_credentials
from kdtune.tracking.server import probe


def check_tracking(uri: str) -> str:
    """What is there, in a sentence. Nothing is made or changed.

    Raises:
        ValueError: If MLflow has no store for such a URI, or the database has another schema.
        ConnectionError: If no server or database answers.
        OSError: If the database file cannot be written.
    """
    checked_uri(uri)
    shown = without_credentials(uri)
    if uri.startswith(("http://", "https://")):
        probe(uri)
        return f"an MLflow server answers at {shown}"
    file = sqlite_file(uri)
    if file and not file.exists():
        return f"'{file}' will be made by the first search"
    if file:
        _check_writable(file)
    elif uri == "databricks" or "://" not in uri:
        return f"{shown} is not looked at"
    revision = _checked_schema(uri, shown)
    return f"the database at {shown} " + (f"has schema {revision}" if revision else "is empty")


def _check_writable(file: Path) -> None:
    import sqlite3

    try:
        with closing(sqlite3.connect(file, timeout=5.0)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("CREATE TABLE kdtune_doctor (n INTEGER)")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise OSError(f"the database '{file}' cannot be written: {error}") from error


def _checked_schema(uri: str, shown: str) -> str:
    """The revision of its tables; empty if it has none."""
    from mlflow.store.db.utils import (
        _get_latest_schema_revision,
        _get_schema_version,
        create_sqlalchemy_engine,
    )
    from sqlalchemy.exc import SQLAlchemyError

    engine = create_sqlalchemy_engine(uri)  # type: ignore[no-untyped-call]
    try:
        found = _get_schema_version(engine)  # type: ignore[no-untyped-call]
        wanted = _get_latest_schema_revision()  # type: ignore[no-untyped-call]
    except SQLAlchemyError as error:
        reason = without_credentials(str(error).splitlines()[0])
        raise ConnectionError(f"the database at {shown} does not answer: {reason}") from error
    finally:
        engine.dispose()
    if found not in (wanted, None):
        raise ValueError(
            f"the database at {shown} has schema {found}, and this MLflow uses {wanted}; back it "
            f"up, then: mlflow db upgrade {shown}"
        )
    return str(found or "")
