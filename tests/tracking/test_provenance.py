"""Where a search came from."""

import subprocess
from pathlib import Path

import pytest

from kdtune.tracking import git_state, versions
from kdtune.tracking.provenance import origin_tags

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *IDENTITY, *words], check=True)

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "first")
    return tmp_path


def test_versions_name_python_and_the_packages_a_result_depends_on() -> None:
    assert {"python", "torch", "ray", "optuna", "mlflow"} <= set(versions())


def test_git_state_tells_commit_and_dirt(checkout: Path) -> None:
    clean = git_state(checkout)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] == "false"
    (checkout / "file").write_text("two")
    assert git_state(checkout) == {**clean, "dirty": "true"}


def test_files_that_git_does_not_track_are_no_dirt(checkout: Path) -> None:
    (checkout / "results.csv").write_text("")
    assert git_state(checkout)["dirty"] == "false"


def test_a_folder_outside_any_checkout_has_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {}
    assert git_state(tmp_path / "absent") == {}
    assert "mlflow.source.git.commit" not in origin_tags(tmp_path)


def test_origin_tags_are_those_that_the_ui_shows(checkout: Path) -> None:
    tags = origin_tags(checkout)
    assert tags["mlflow.source.git.commit"] == git_state(checkout)["commit"]
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= set(tags)
