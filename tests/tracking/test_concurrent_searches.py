"""Searches that run at the same time share one SQLite file, and each is complete."""

import subprocess
from pathlib import Path

from child import command
from journal_in_mlflow import assert_the_same, sync, writes_nothing

from kdtune.tracking import default_tracking_uri

SEARCHES = 3
TIMEOUT_S = 100.0


def test_searches_of_three_processes_are_complete(tmp_path: Path) -> None:
    """Also the first use of the file, which makes its tables, is at the same time."""
    processes = [subprocess.Popen(command("search", tmp_path, n)) for n in range(SEARCHES)]
    assert [process.wait(TIMEOUT_S) for process in processes] == [0] * SEARCHES
    uri = default_tracking_uri(tmp_path)
    for number in range(SEARCHES):
        folder = tmp_path / f"search {number}"
        record = assert_the_same(folder, uri)
        assert len(record.runs) == 10
        assert writes_nothing(sync(folder, uri))
