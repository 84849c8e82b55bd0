"""Printed figures in MLflow: beside measured runs, once, however often they are imported."""

import math
import sqlite3
from collections import Counter

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.papers import PAPERS, canonical_metric, canonical_settings, figures
from kdtune.papers.runs import reported_runs
from kdtune.tracking import canonical_params
from kdtune.tracking.canonical import MAX_NAME, MAX_PARAM, MAX_TAG, entity_name
from kdtune.tracking.events import PARENT, Ended, Measured, Started
from kdtune.tracking.location import sqlite_file
from kdtune.tracking.replay import replay
from kdtune.tracking.reported import import_paper, reported_events, search_id

PAPER, EXPERIMENT = "cho2019", "figures of a paper"


@pytest.fixture(scope="module")
def imported(tracking_uri: str) -> str:
    """MLflow's id of an experiment that holds the smallest of the papers."""
    report = import_paper(PAPER, tracking_uri=tracking_uri, experiment=EXPERIMENT)
    assert report.lost == 0, report.error
    return report.experiment_id


def _dump(tracking_uri: str) -> list[str]:
    """Everything that the database holds."""
    file = sqlite_file(tracking_uri)
    assert file is not None
    with sqlite3.connect(file) as connection:
        return list(connection.iterdump())


def _found(tracking_uri: str, experiment: str, query: str) -> list[Run]:
    return list(MlflowClient(tracking_uri=tracking_uri).search_runs([experiment], query))


def test_a_second_import_changes_nothing(imported: str, tracking_uri: str) -> None:
    before = _dump(tracking_uri)
    report = import_paper(PAPER, tracking_uri=tracking_uri, experiment=EXPERIMENT)
    assert (report.written, report.lost, report.experiment_id) == (0, 0, imported)
    assert _dump(tracking_uri) == before


def test_there_is_a_run_for_each_cell_beside_one_of_the_paper(
    imported: str, tracking_uri: str
) -> None:
    (paper,) = _found(tracking_uri, imported, "tags.kind = 'paper'")
    assert paper.info.run_name == "Cho and Hariharan, 2019"
    assert "arXiv:1910.01348" in paper.data.tags["mlflow.note.content"]
    cells = _found(tracking_uri, imported, "tags.kind = 'reported'")
    assert len(cells) == len(reported_runs(PAPER))
    assert not any("mlflow.parentRunId" in run.data.tags for run in (paper, *cells))
    assert {run.info.status for run in [paper, *cells]} == {"FINISHED"}


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("params.temperature = '4.0'", {"temperature": 4.0}),
        ("params.alpha = '0.9' and tags.table = 'T8'", {"alpha": 0.9}),
        ("params.teacher_epochs = '35'", {"teacher_epochs": 35}),
        ("tags.paper = 'cho2019' and params.method = 'eskd'", {"method": "eskd"}),
        ("params.student = 'wrn_16_1'", {"student": "wrn_16_1"}),
    ],
)
def test_filters_find_cells_by_the_settings_of_measured_runs(
    imported: str, tracking_uri: str, query: str, settings: dict[str, object]
) -> None:
    found = _found(tracking_uri, imported, query)
    wanted = [run for run in reported_runs(PAPER) if settings.items() <= run.settings.items()]
    if "table" in query:
        wanted = [run for run in wanted if run.tags["table"] == "T8"]
    assert wanted
    assert Counter(run.info.run_name for run in found) == Counter(run.name for run in wanted)


def test_filters_find_cells_by_accuracy(imported: str, tracking_uri: str) -> None:
    found = _found(tracking_uri, imported, 'metrics."test/accuracy" > 0.94')
    above = [
        figure
        for figure in figures(PAPER)
        if canonical_metric(figure)[0] == "test/accuracy" and canonical_metric(figure)[1] > 0.94
    ]
    assert len(found) == len(above) > 0


def test_a_cell_keeps_what_is_printed_beside_what_compares(
    imported: str, tracking_uri: str
) -> None:
    query = "tags.table = 'T5' and tags.`condition.teacher_training` = 'scratch'"
    (run,) = _found(tracking_uri, imported, query)
    assert run.data.metrics == {
        "test/accuracy": 0.9232,
        "test/accuracy_std": 0.00259,
        "test/accuracy_median": 0.9239,
        "reported/test_error": 7.68,
        "reported/test_error_std": 0.259,
        "reported/test_error_median": 7.61,
    }
    told = {"source": "reported", "paper": PAPER, "row": "Scratch", "n_runs": "5", "method": "kd"}
    assert told.items() <= run.data.tags.items()
    assert "read as the median" in run.data.tags["note"]


def test_an_import_that_was_cut_short_is_completed(tracking_uri: str) -> None:
    experiment = "half a paper"
    events = list(reported_events(PAPER))
    half = [event for event in events if not isinstance(event, Ended)][: len(events) // 3]
    options = {"tracking_uri": tracking_uri, "experiment": experiment}
    replay(half, search_id=search_id(PAPER), base=sqlite_file(tracking_uri).parent, **options)  # type: ignore[arg-type, union-attr]
    report = import_paper(PAPER, **options)
    keys = [run.data.tags["kdtune.key"] for run in _found(tracking_uri, report.experiment_id, "")]
    assert len(keys) == len(set(keys)) == len(reported_runs(PAPER)) + 1


@pytest.mark.parametrize("paper", PAPERS)
def test_the_events_of_a_paper_are_always_the_same_and_dated_when_it_appeared(paper: str) -> None:
    events = list(reported_events(paper))
    assert events == list(reported_events(paper))
    start = PAPERS[paper].published_ms
    assert {start <= event.time_ms <= start + len(events) for event in events} == {True}
    keys = [event.key for event in events if isinstance(event, Started)]
    assert keys[0] == PARENT
    assert len(keys) == len(set(keys)) == len(reported_runs(paper)) + 1


@pytest.mark.parametrize("paper", PAPERS)
def test_mlflow_takes_every_text_and_number_as_it_is(paper: str) -> None:
    for event in reported_events(paper):
        if isinstance(event, Started):
            texts = {**event.params, **event.tags}
            assert all(entity_name(name) == name and len(name) <= MAX_NAME for name in texts)
            assert all(len(text) < MAX_PARAM for text in event.params.values())
            assert all(0 < len(text) < MAX_TAG for text in event.tags.values())
        elif isinstance(event, Measured):
            assert all(map(math.isfinite, event.metrics.values()))
            assert all(entity_name(name) == name for name in event.metrics)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_figure_is_in_one_run_with_its_settings(paper: str) -> None:
    started = {e.key: e for e in reported_events(paper) if isinstance(e, Started) and e.key}
    values = Counter(
        (name, value)
        for event in reported_events(paper)
        if isinstance(event, Measured)
        for name, value in event.metrics.items()
    )
    assert values >= Counter(canonical_metric(figure)[:2] for figure in figures(paper))
    stated = {tuple(canonical_params(canonical_settings(f)).items()) for f in figures(paper)}
    assert {tuple(event.params.items()) for event in started.values()} == stated
    assert {event.tags["source"] for event in started.values()} == {"reported"}


def test_an_unknown_paper_is_refused_before_anything_is_written(tracking_uri: str) -> None:
    with pytest.raises(ValueError, match="unknown paper 'cho2018'; did you mean 'cho2019'"):
        import_paper("cho2018", tracking_uri=tracking_uri)


def test_the_command_says_what_it_wrote(imported: str, tracking_uri: str) -> None:
    words = ["papers", "import", PAPER, "--experiment", EXPERIMENT, "--tracking-uri", tracking_uri]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    runs = len(reported_runs(PAPER)) + 1
    assert result.output.startswith(f"{PAPER}: {runs} runs in '{EXPERIMENT}'; 0 records written, ")
