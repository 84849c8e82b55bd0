"""Nonsense on the command line is told in a sentence by every verb, and nothing is left behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import typer
from inputs import LONG
from typer.testing import CliRunner

from kdtune.cli import app

UNSOUND = ("\udcff", "../../ünï çø✓ de", "", LONG)
"""Texts as a shell can pass them; the first is a byte that is no Unicode."""
NO_NUMBER = ("x", "1e400", "9" * 5000, "")
DIAGNOSES = ("doctor",)
"""Verbs whose outcome is what they found, whatever they are told to look at."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All verbs, ``("papers", "show")`` among them, with what typer made of them."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    else:
        for name, each in inner.items():
            yield from leaves(each, (*path, name))


VERBS = dict(leaves(typer.main.get_command(app)))


def calls(verb: tuple[str, ...]) -> Iterator[list[str]]:
    """Calls that a verb must refuse: each has at least one thing wrong with it."""
    parameters = VERBS[verb].params
    options = [each for each in parameters if each.opts[0].startswith("-") and not each.is_flag]
    arguments = [each for each in parameters if not each.opts[0].startswith("-")]
    wrong = ["no-such-thing"] * len(arguments)
    yield [*wrong, "--no-such-option"]
    for option in options:
        numeric = option.type_descriptor.annotation in (int, float)
        for value in NO_NUMBER if numeric else UNSOUND if wrong else ():
            yield [*wrong, f"{max(option.opts, key=len)}={value}"]
    for value in UNSOUND if wrong else ():
        yield [value] * len(wrong)
    if all(each.nargs == 1 for each in arguments):
        yield [*wrong, "one", "too", "many"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and no Ray that could be asked for anything."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("Ray was asked for")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(ray, "init", refuse)


def check_refused(result: Any, words: list[str]) -> None:
    told = f"kdtune {words} [{len(result.output)}]: {result.output[:500]} {result.exception!r}"
    assert isinstance(result.exception, SystemExit), told
    assert result.exit_code == 2, told
    assert "Traceback" not in result.output, told
    assert "validation error" not in result.output, told
    assert result.output.strip(), told
    assert not list(Path().iterdir()), told


@pytest.mark.parametrize("verb", [v for v in VERBS if v[0] not in DIAGNOSES], ids=" ".join)
def test_nonsense_is_refused_without_a_trace(verb: tuple[str, ...]) -> None:
    runner = CliRunner()
    for words in calls(verb):
        check_refused(runner.invoke(app, [*verb, *words]), [*verb, *words])


SEARCHES = {"search": "quickstart", "sequence": "resnet8x0.125*2"}


@pytest.mark.parametrize("verb", SEARCHES)
@pytest.mark.parametrize(
    "wrong",
    [
        ("--set", LONG),
        ("--set", f"train.milestones={LONG}"),
        ("--set", f"{LONG}=1"),
        ("--set", "dataset=parquet:\udcff"),
        ("--dataset", f"parquet:{LONG}"),
        ("--dataset", "folder:ünï çø✓ de"),
        ("--name", LONG),
        ("--name", ".."),
        ("--name", "a/../../b"),
        ("--storage", f"new/{LONG}"),
        ("--tracking-uri", "ünï çø✓ de"),
    ],
    ids=lambda words: f"{words[0]} {words[1][:20]!r}",
)
def test_a_refused_search_leaves_nothing_behind(verb: str, wrong: tuple[str, str]) -> None:
    words = [verb, SEARCHES[verb], "--storage", "new/results", *wrong]
    check_refused(CliRunner().invoke(app, words), words)
