"""The picture of a Pareto front."""

from pathlib import Path

import pytest

from kdtune.palette import COLOURS, QUIET
from kdtune.report.front_plot import front_figure, save_front
from kdtune.report.goals import goal_of
from kdtune.report.leaderboard import Row

GOALS = [goal_of("accuracy"), goal_of("params"), goal_of("latency")]


def row(
    trial: int, accuracy: float | None, *further: float | None, front: bool = False, **changes: str
) -> Row:
    settings = {"outcome": "finished", **changes}
    return Row(
        trial=trial,
        config={},
        epoch=3,
        value=accuracy,
        further=further,
        front=front,
        outcome=settings["outcome"],
    )


ROWS = [
    row(7, 0.9, 2000.0, 2.0, front=True),
    row(3, 0.7, 100.0, 1.0, front=True),
    row(5, 0.6, 1500.0, 3.0),
    row(1, None, 1.0, 1.0),
    row(2, 0.99, None, 1.0),
    row(4, 0.99, 1.0, 1.0, outcome="stopped"),
]


def test_a_panel_shows_the_front_apart_with_numbers_and_units() -> None:
    figure = front_figure([Row(**{**vars(r), "further": r.further[:1]}) for r in ROWS], GOALS[:2])
    (axes,) = figure.axes
    assert axes.get_xlabel() == "parameters, less is better"
    assert axes.get_ylabel() == "val acc. (%), more is better"
    assert axes.get_xscale() == "log"
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[100.0, 70.0], [2000.0, 90.0]]
    assert (line.get_color(), line.get_marker(), line.get_linestyle()) == (COLOURS[0], "D", ":")
    assert [note.get_text() for note in axes.texts] == ["3", "7"]
    (dots,) = axes.collections
    assert dots.get_offsets().tolist() == [[1500.0, 60.0]]
    assert COLOURS[0] != QUIET
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "other trials",
        "Pareto front",
    ]


def test_each_further_objective_has_its_panel() -> None:
    figure = front_figure(ROWS, GOALS, "a search")
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["parameters, less is better", "latency (ms), less is better"]
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear"]
    assert {line.get_linestyle() for axes in figure.axes for line in axes.lines} == {"None"}
    assert figure.get_suptitle() == "a search"


@pytest.mark.parametrize("rows", [[], ROWS])
def test_the_same_figure_gives_the_same_files(rows: list[Row], tmp_path: Path) -> None:
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        files = save_front(front_figure(rows, GOALS), folder)
        assert [file.name for file in files] == ["pareto.png", "pareto.svg"]
        found.append([file.read_bytes() for file in files])
    assert found[0] == found[1]
    assert found[0][0].startswith(b"\x89PNG")
    assert b"less is better" in found[0][1]


def test_trials_at_one_place_share_their_label() -> None:
    twins = [row(trial, 0.9, 100.0, front=True) for trial in (2, 30)]
    (axes,) = front_figure(twins, GOALS[:2]).axes
    assert [note.get_text() for note in axes.texts] == ["2, 30"]
