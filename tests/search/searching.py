"""Small searches through the command line, and what they leave behind."""

import json
from pathlib import Path
from typing import Any

from click.testing import Result
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.tracking import default_tracking_uri

ONE_TEACHER = (
    *("--set", "label_smoothing=0.0"),
    *("--set", "teacher_epochs=2", "--set", "teacher.full_epochs=2"),
)
SMALL = ("--gpus-per-trial", "0", "--set", "data.train_limit=400", *ONE_TEACHER)
WHOLE = ("--trials", "4", "--epochs", "2", "--finalists", "1", "--finalist-seeds", "2", *SMALL)


def search(storage: Path, *words: str) -> Result:
    result = CliRunner().invoke(app, ["search", "--storage", str(storage), *words])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result


def read(storage: Path, name: str, what: str = "leaderboard") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((storage / name / f"{what}.json").read_text())
    return rows


def runs_in(storage: Path, experiment: str = "quickstart on digits") -> list[Run]:
    client = MlflowClient(tracking_uri=default_tracking_uri(storage))
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def of_kind(runs: list[Run], *kinds: str) -> dict[str, Run]:
    return {run.info.run_name: run for run in runs if run.data.tags["kind"] in kinds}


def named(name: str) -> tuple[str, ...]:
    """A search of its own in the storage of the first one, whose teacher and database serve it."""
    return ("--name", name, "--experiment", name)


def one_line(text: str) -> str:
    """What was printed, without the line breaks of the terminal."""
    return " ".join(text.split())
