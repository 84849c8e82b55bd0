"""Effects as they are shown: tables, charts, files, and the command that makes them."""

import csv
import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.compare import importance as importance_module
from kdtune.compare.effects import Effects, effects
from kdtune.report.effect_charts import importance_chart, interaction_chart, rung_chart
from kdtune.report.effect_files import effects_json, effects_page, write_tables
from kdtune.report.effects import print_effects
from kdtune.tracking.events import PARENT, Ended, Event, Measured, Started
from kdtune.tracking.journal import Header, Journal
from kdtune.tracking.record import SearchRecord, search_record

EPOCHS = 4
SETTINGS = {"dataset": "digits", "teacher": "resnet8", "student": "resnet8x0.125", "method": "kd"}


def _events(trials: int = 40) -> list[Event]:
    rng = np.random.default_rng(0)
    parent = {"search.objectives": "val/accuracy:max", "search.scheduler": "none"}
    events: list[Event] = [
        Started(key=PARENT, name="made", params=parent, tags={"kind": "search"}, time_ms=0)
    ]
    for number in range(trials):
        smoothing, temperature = [0.0, 0.1][number % 2], float(rng.uniform(1, 16))
        own = {"label_smoothing": str(smoothing), "temperature": repr(temperature)}
        own |= {"alpha": repr(float(rng.uniform())), "train.epochs": str(EPOCHS)}
        key, end = str(number), 0.95 - 0.02 * temperature * (smoothing > 0)
        tags = {"kind": "trial", "trial": key}
        events.append(
            Started(key=key, name=f"trial {key}", params={**SETTINGS, **own}, tags=tags, time_ms=1)
        )
        for epoch in range(1, EPOCHS + 1):
            value = {"val/accuracy": end * epoch / EPOCHS}
            events.append(Measured(key=key, epoch=epoch, metrics=value, time_ms=epoch))
        done = {"outcome": "finished"}
        events.append(Ended(key=key, outcome="finished", tags=done, time_ms=9))
    return events


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance_module, "RESAMPLES", 5)


@pytest.fixture(scope="module")
def record() -> SearchRecord:
    return search_record(_events(), experiment="made", tracking_uri="")


@pytest.fixture
def found(record: SearchRecord) -> Effects:
    return effects([record])


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """With the journal of the search."""
    header = Header(search_id="1", experiment="made", tracking_uri="", run_name="made")
    journal = Journal(tmp_path / "results" / "made" / "journal", header)
    for event in _events():
        journal.put(event)
    journal.close()
    return tmp_path / "results"


def _printed(found: Effects, width: int = 100) -> str:
    text = StringIO()
    print_effects(found, Console(file=text, width=width))
    return text.getvalue()


def test_the_terminal_shows_every_part_and_what_is_missing(found: Effects) -> None:
    text = _printed(found)
    for part in ("What mattered in made: 40 trials at their end", "a higher temperature costs more",
                 "as claimed", "observed", "Early values and the end in made: 40 of 40",
                 "Had ASHA judged these trials", "Not told by these runs"):  # fmt: skip
        assert part in text


def test_a_command_to_paste_is_one_line_on_any_terminal(found: Effects) -> None:
    lines = _printed(found, width=60).splitlines()
    assert "  kdtune reproduce park2020:T1 --dataset digits --teacher resnet8 --student " in (
        "\n".join(line for line in lines if len(line) > 60)
    )


def test_charts_show_the_numbers_of_the_tables(found: Effects) -> None:
    (importance,), (honesty,) = found.importance, found.honesty
    bars = importance_chart(importance).data
    assert [bar.name for bar in bars] == ["fANOVA", "PED-ANOVA"]
    assert sum(bars[0].x) == pytest.approx(100)
    assert max(bars[0].x) == pytest.approx(100 * importance.axes[0].share)
    told = next(each for each in found.interactions if each.estimates)
    lines = interaction_chart(told).data
    assert [line.name for line in lines] == ["label smoothing 0", "label smoothing 0.1"]
    assert list(lines[1].y) == pytest.approx(
        [100 * cell.mean for cell in told.cells if cell.levels[1] == "0.1"]
    )
    panels = rung_chart(honesty).data
    assert [len(panel.x) for panel in panels] == [40] * len(honesty.rungs)
    assert max(panels[0].y) == pytest.approx(100 * (honesty.best or 0))


def test_files_hold_the_same_numbers(found: Effects, tmp_path: Path) -> None:
    document = json.loads(effects_json(found, command="kdtune effects made"))
    assert document["searches"] == ["made"]
    assert document["importance"][0]["n"] == 40
    written = write_tables(found, tmp_path)
    assert [file.name for file in written] == [
        *("importance.csv", "cells.csv", "contrasts.csv", "rungs.csv", "pairs.csv")
    ]
    with (tmp_path / "contrasts.csv").open() as file:
        (row,) = csv.DictReader(file)
    told = next(each for each in found.interactions if each.estimates)
    assert float(row["value"]) == told.estimates[0].value
    assert row["verdict"] == "as claimed"


def test_parts_that_are_not_asked_for_are_not_computed(record: SearchRecord) -> None:
    only = effects([record], only=["rungs"])
    assert (only.importance, only.interactions, len(only.honesty)) == ((), (), 1)


def test_searches_for_different_things_do_not_mix(record: SearchRecord) -> None:
    events = _events(2)
    start = events[0]
    assert isinstance(start, Started)
    params = {"search.objectives": "val/loss:min"}
    other = search_record(
        [Started(key=PARENT, name="b", params=params, tags=start.tags, time_ms=0), *events[1:]],
        experiment="",
        tracking_uri="",
    )
    with pytest.raises(ValueError, match=r"do not mix, got val/accuracy, val/loss"):
        effects([record, other])


def test_the_command_reads_a_journal_and_writes_its_files(storage: Path, tmp_path: Path) -> None:
    page, numbers, folder = tmp_path / "e.html", tmp_path / "e.json", tmp_path / "tables"
    options = ["--html", page, "--json", numbers, "--csv", folder, "--storage", storage]
    result = CliRunner().invoke(app, ["effects", "made", *map(str, options)])
    assert result.exit_code == 0, result.output
    assert "What mattered in made" in result.output
    assert "<h1>Effects in made</h1>" in page.read_text()
    assert json.loads(numbers.read_text())["rungs"][0]["finished"] == 40
    assert (folder / "rungs.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no search 'nowhere'"),
        (["made", "--only", "rung"], "unknown part 'rung'; did you mean 'rungs'?"),
        (["made", "--only", ""], "unknown part ''"),
        (["made", "--html", "no/such/page.html"], "there is no folder"),
        (["made", "--json", "/tmp"], "'/tmp' is a folder"),
        (["made", "--csv", __file__], "is a file; give another name"),
    ],
)
def test_bad_input_is_named(arguments: list[str], said: str, storage: Path) -> None:
    result = CliRunner().invoke(app, ["effects", *arguments, "--storage", str(storage)])
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


@pytest.mark.browser
def test_the_page_draws_all_charts_without_a_network(found: Effects, tmp_path: Path) -> None:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium here")
    from playwright.sync_api import sync_playwright

    file = tmp_path / "effects.html"
    file.write_text(effects_page(found), encoding="utf-8")
    asked: list[str] = []
    errors: list[Any] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(file.as_uri())
        page.wait_for_function("document.querySelectorAll('.main-svg').length >= 6")
        browser.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
