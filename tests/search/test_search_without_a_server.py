"""A search whose tracking server is not there loses nothing but time it need not spend."""

from pathlib import Path

import pytest
from searching import SMALL, one_line, read, search

from kdtune.tracking.journal import read_journal

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_it_ends_well_and_says_how_mlflow_catches_up(storage: Path) -> None:
    short = ("--trials", "2", "--epochs", "1", "--finalists", "1", "--finalist-seeds", "1")
    nobody = ("--tracking-uri", "http://127.0.0.1:9")
    result = search(storage, "--name", "alone", *nobody, *short, *SMALL)
    assert result.exit_code == 0, result.output
    assert f"kdtune sync {storage / 'alone'}" in one_line(result.output)
    record = read_journal(storage / "alone")
    assert record.search.outcome == "finished"
    assert {run.name for run in record.of_kind("trial")} == {"trial 0", "trial 1"}
    accuracies = {run.value("val/accuracy") for run in record.of_kind("trial")}
    assert accuracies == {row["val/accuracy"] for row in read(storage, "alone")}
    assert {run.outcome for run in record.runs} == {"finished"}
