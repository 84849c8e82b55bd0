"""The joint space as a user searches it: every arm's published setting, and replicated runs."""

import json
import os
from pathlib import Path

import onnx
import pytest
from click.testing import Result
from mlflow import MlflowClient
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.search.space import load
from kdtune.students import load_student
from kdtune.tracking import default_tracking_uri

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TINY = (
    *("--dataset", "digits", "--teacher", "resnet14x0.25", "--student", "resnet8x0.25"),
    *("--epochs", "2", "--set", "data.train_limit=40", "--set", "train.batch_size=20"),
    *(
        "--set",
        "label_smoothing=0.0",
        "--set",
        "teacher_epochs=1",
        "--set",
        "teacher.full_epochs=1",
    ),
)


def kdtune(storage: Path, *words: str) -> Result:
    place = ["--storage", str(storage), "--gpus-per-trial", "0"]
    result = CliRunner().invoke(app, [*words, *place])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def searched(storage: Path) -> Result:
    words = ["search", "joint", *TINY, "--name", "all", "--scheduler", "none"]
    return kdtune(storage, *words, "--trials", "22", "--finalists", "1", "--finalist-seeds", "1")


def test_a_search_over_all_methods_finishes_every_one(searched: Result, storage: Path) -> None:
    assert searched.exit_code == 0, searched.output
    rows = json.loads((storage / "all" / "leaderboard.json").read_text())
    assert {row["outcome"] for row in rows} == {"finished"}, searched.output
    assert {row["method"] for row in rows} == set(load("joint").methods())
    assert {"cutmix_pick", "standard"} <= {row["augment"] for row in rows}
    assert {"slimming", "magnitude"} <= {row["prune.method"] for row in rows}


def test_trials_are_tagged_with_their_arm(searched: Result, storage: Path) -> None:
    assert searched.exit_code == 0
    client = MlflowClient(tracking_uri=default_tracking_uri(storage))
    found = client.get_experiment_by_name("joint on digits")
    assert found is not None
    trials = client.search_runs([found.experiment_id], "tags.kind = 'trial'")
    assert {run.data.tags["space.arm"] for run in trials} == set(load("joint").arm_names)


def test_the_finalists_are_kept_as_students(searched: Result, storage: Path) -> None:
    assert searched.exit_code == 0
    folders = sorted((storage / "all" / "students").iterdir())
    assert folders[0].name == "finalist-1-seed-1"
    for folder in folders:
        _, card = load_student(folder)
        assert card.metadata["dataset"] == "digits"
        assert 0 <= card.metadata["test/accuracy"] <= 1


def test_a_kept_student_is_exported_and_fine_tuned(searched: Result, storage: Path) -> None:
    assert searched.exit_code == 0
    student = storage / "all" / "students" / "finalist-1-seed-1"
    exported = CliRunner().invoke(app, ["export", str(student)])
    assert exported.exit_code == 0, exported.output
    onnx.checker.check_model(onnx.load(student / "student.onnx"))
    words = ("--dataset", "digits", "--seeds", "2", "--name", "tuned")
    small = ("--set", "train.epochs=1", "--set", "data.train_limit=40")
    tuned = kdtune(storage, "finetune", str(student), *words, *small)
    assert tuned.exit_code == 0, tuned.output
    assert "test/top1_error" in tuned.output
    assert sorted(os.listdir(storage / "tuned" / "students")) == ["seed-0", "seed-1"]
    client = MlflowClient(tracking_uri=default_tracking_uri(storage))
    found = client.get_experiment_by_name("finetune on digits")
    assert found is not None
    runs = client.search_runs([found.experiment_id], "tags.kind = 'finetune'")
    assert sorted(run.info.run_name for run in runs) == ["seed 0", "seed 1", "tuned"]
    whole = next(run for run in runs if run.info.run_name == "tuned")
    rows = json.loads((storage / "tuned" / "runs.json").read_text())
    errors = [row["test/top1_error"] for row in rows]
    assert whole.data.metrics["mean/test/top1_error"] == pytest.approx(sum(errors) / 2)


def test_a_chain_is_trained_and_its_ensembles_compared(storage: Path) -> None:
    small = ("--set", "train.epochs=1", "--set", "data.train_limit=40")
    result = kdtune(storage, "sequence", "resnet8x0.125*2", *small, "--name", "chain")
    assert result.exit_code == 0, result.output
    assert "ensemble/generations_test_accuracy" in result.output
    (row,) = json.loads((storage / "chain" / "runs.json").read_text())
    keys = row["generation_keys"].split(",")
    assert all(f"generation {n}: store:{key}" in result.output for n, key in enumerate(keys))
    again = kdtune(storage, "sequence", "resnet8x0.125*2", *small, "--name", "chain")
    assert again.exit_code == 2
    assert "already" in again.output
