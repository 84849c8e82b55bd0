"""``kdtune papers``: what people see, and what programs read."""

import csv
import importlib
import io
import json
import re

import pytest
from click.testing import Result
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.papers import PAPERS, figures, tables
from kdtune.papers.pack import COLUMNS, collected_row


def run(*words: str) -> Result:
    wide = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["papers", *words], env=wide)


def output(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return re.sub(r"\x1b\[[0-9;]*m", "", result.output)


def test_the_list_names_every_paper_with_its_tables_and_figures() -> None:
    text = output("list")
    for key, paper in PAPERS.items():
        counts = rf"{len(tables(key))} +{len(figures(key))}"
        assert re.search(rf"{key} +{paper.year} +{re.escape(paper.title[:30])}.*{counts}", text)


def test_the_list_of_a_paper_says_what_each_table_holds() -> None:
    text = output("list", "cho2019")
    assert "Cho and Hariharan, 2019: On the Efficacy of Knowledge Distillation" in text
    assert re.search(r"T8 +21 +All ways to teach ResNet-18 on ImageNet", text)


def test_a_paper_is_shown_table_by_table() -> None:
    text = output("show", "park2020")
    assert re.findall(r"^park2020 (T\d)", text, re.MULTILINE) == tables("park2020")
    assert "park2020 T1" not in output("show", "park2020", "T2")


def test_csv_is_what_was_collected() -> None:
    rows = list(csv.DictReader(io.StringIO(output("show", "wang2020", "T3", "--csv"))))
    assert rows == [collected_row(figure) for figure in figures("wang2020", "T3")]
    assert tuple(rows[0]) == COLUMNS


def test_json_is_typed() -> None:
    rows = json.loads(output("show", "sarfraz2020", "T5", "--json"))
    assert len(rows) == len(figures("sarfraz2020", "T5"))
    assert rows[1]["conditions"] == {"label_noise": 0.2}
    assert (rows[1]["value"], rows[1]["printed"], rows[1]["n_runs"]) == (79.44, "79.44", 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "cho2018"), "unknown paper 'cho2018'; did you mean 'cho2019'"),
        (("show", "cho2019", "T11"), "unknown table 'T11' of cho2019"),
        (("list", "cho2018"), "did you mean 'cho2019'"),
        (("import", "cho2018"), "did you mean 'cho2019'"),
        (("show", "cho2019", "--csv", "--json"), "exclude each other"),
    ],
)
def test_bad_input_ends_with_the_reason(words: tuple[str, ...], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize("verb", ["show", "import"])
def test_help_shows_examples(verb: str) -> None:
    text = output(verb, "--help")
    assert "Examples" in text
    assert "[bold]" not in text


def test_an_absent_server_is_told_and_ends_with_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.import_module("kdtune.tracking.replay"), "PAUSE_S", 0.0)
    result = run("import", "cho2019", "--tracking-uri", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "could not be written to http://127.0.0.1:9" in " ".join(result.output.split())
