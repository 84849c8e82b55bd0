"""The command line, without a search."""

import os
import re
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import kdtune
from kdtune.cli import app
from kdtune.cli.search import program
from kdtune.objectives import OBJECTIVES
from kdtune.search.space import load, names

VERBS = {
    "search": ("--trials", "--set", "--teacher-weights", "--objective", "Examples", "Exit codes"),
    "spaces": ("Show this one in full",),
    "models": ("--size", "--channels", "--classes"),
    "methods": ("List the distillation methods",),
    "datasets": ("List the datasets",),
    "export": ("--format", "Examples"),
    "finetune": ("--dataset", "--seeds", "Examples"),
    "sequence": ("--method", "--ensembles", "Examples"),
    "ui": ("--storage", "--port"),
    "sync": ("--tracking-uri", "Examples"),
    "compare": ("--by", "--paper", "Examples"),
    "analyze": ("--set", "--only", "--on-ray", "Examples", "Exit codes"),
    "effects": ("--only", "Examples"),
    "report": ("--out", "Examples"),
    "reproduce": ("--cells", "--dry-run", "Examples"),
    "resume": ("--trials", "--hours", "--retry-failed", "Examples"),
    "submit": ("--detach", "Examples", "Exit codes"),
    "status": ("--follow", "--address", "Examples"),
    "stop": ("--address", "Examples"),
    "doctor": ("--no-ray", "--json", "Examples", "Exit codes"),
}


def run(*words: str) -> Result:
    wide = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(app, list(words), env=wide)


def output(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return re.sub(r"\x1b\[[0-9;]*m", "", result.output)


def test_help_lists_every_verb() -> None:
    text = output("--help")
    assert all(re.search(rf"^\W*{verb} ", text, re.MULTILINE) for verb in VERBS)
    assert {command.callback.__name__ for command in app.registered_commands} == set(VERBS)  # type: ignore[union-attr]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    text = output(verb, "--help")
    assert all(part in text for part in VERBS[verb])
    assert "[bold]" not in text


def test_without_a_verb_there_is_help() -> None:
    assert "Usage:" in run().output


def test_the_version_is_printed() -> None:
    assert output("--version") == f"kdtune {kdtune.__version__}\n"


@pytest.mark.parametrize(
    "words", [["serach"], ["search", "--trails", "3"], ["search", "--trials", "0"]]
)
def test_a_mistyped_command_is_bad_input(words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_spaces_are_listed() -> None:
    text = output("spaces")
    assert all(name in text for name in names())
    assert "Six axes on 8x8 digits" in text


@pytest.mark.parametrize("name", names())
def test_a_space_is_shown_in_full(name: str) -> None:
    text, space = output("spaces", name), load(name)
    recipes = [text for recipe in space.recipes for text in (recipe.name, recipe.source[:30])]
    shown = [*space.keys(), *space.arm_names, *recipes, *space.tables]
    assert [each for each in shown if each not in text] == []


def test_an_unknown_space_is_bad_input() -> None:
    result = run("spaces", "quickstrat")
    assert result.exit_code == 2
    assert "unknown space 'quickstrat'; did you mean 'quickstart'?" in " ".join(
        result.output.split()
    )


def test_models_are_listed_with_their_cost() -> None:
    text = output("models")
    (row,) = (line for line in text.splitlines() if line.split()[:1] == ["resnet20"])
    assert re.search(r"\b27\d,\d{3}\b", row), "a CIFAR ResNet-20 has about 0.27 million parameters"
    smaller = output("models", "--size", "8", "--channels", "1")
    assert smaller != text


def test_names_and_numbers_of_models_are_whole_on_a_narrow_terminal() -> None:
    result = CliRunner().invoke(app, ["models"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    for text in ("pyramidnet_200_240", "pyramidnet_200_300", "26,752,702", "4,519,606,016"):
        assert text in result.output


def test_methods_are_listed_with_what_they_tune() -> None:
    text = output("methods")
    assert all(name in text for name in OBJECTIVES.names())
    assert "temperature, alpha" in text


def test_datasets_are_listed_with_what_they_need() -> None:
    text = output("datasets")
    assert all(name in text for name in ("digits", "cifar10", "cifar100", "parquet:", "folder:"))


def test_a_ui_without_results_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = run("ui", "--storage", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert "run 'kdtune search' first" in " ".join(result.output.split())


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have taken the place of this process; what it would read is put back."""
    started: list[list[str]] = []
    for name in ("BACKEND_STORE_URI", "SERVER_ALLOWED_HOSTS", "SERVER_ENABLE_JOB_EXECUTION"):
        monkeypatch.setenv(f"MLFLOW_{name}", "")
    monkeypatch.setattr(os, "execv", lambda path, words: started.append(words))
    return started


def test_the_ui_opens_on_the_storage(
    tmp_path: Path, start: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").touch()
    result = run("ui", "--storage", str(tmp_path), "--port", "5050")
    assert result.exit_code == 0
    ((python, *words),) = start
    assert python == sys.executable
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert (words[words.index("--host") + 1], words[-1]) == ("127.0.0.1", "5050")
    assert "warning" not in result.output


def test_a_ui_for_others_is_warned_of(start: list[list[str]]) -> None:
    result = run("ui", "--tracking-uri", "sqlite:///mine.db", "--host", "0.0.0.0")
    assert "can read and change all runs" in result.output
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == "sqlite:///mine.db"
    assert "sqlite:///mine.db" not in start[0]


def test_a_tracking_server_has_its_own_ui(start: list[list[str]]) -> None:
    assert "on a server already: http://tracker" in output("ui", "--tracking-uri", "http://tracker")
    assert start == []


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``kdtune`` in a virtual environment below the working folder."""
    script = tmp_path / "work" / ".venv" / "bin" / "kdtune"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.setattr(sys, "argv", [str(script)])
    return script


def test_a_printed_command_is_short_where_the_path_finds_it(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(installed.parent))
    assert program() == "kdtune"


def test_a_printed_command_is_a_path_where_it_must_be(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    assert program() == ".venv/bin/kdtune"
    monkeypatch.chdir(tmp_path / "work" / ".venv")
    assert program() == "bin/kdtune"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert program() == str(installed)


def test_under_uv_run_the_path_of_this_shell_does_not_count(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(installed.parent))
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert program() == ".venv/bin/kdtune"
