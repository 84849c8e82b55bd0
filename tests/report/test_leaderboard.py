"""The leaderboard: what comes first, what is shown, and that it fits."""

import io
import math
import random
from collections.abc import Mapping

import pytest
from rich.console import Console, RenderableType

from kdtune.contracts import Scalar
from kdtune.report.goals import ACCURACY, goal_of
from kdtune.report.leaderboard import Row, leaderboard, leaderboard_rows, ranked

CONFIG: dict[str, Scalar] = {
    "dataset": "digits",
    "method": "kd",
    "temperature": 4.0,
    "alpha": 0.91234,
    "label_smoothing": 0.1,
    "teacher_epochs": 30,
    "augment": "standard",
    "prune_ratio": 0.0,
}


def row(
    trial: int,
    outcome: str = "finished",
    epoch: int = 9,
    value: float | None = 0.5,
    **changed: Scalar,
) -> Row:
    return Row(trial=trial, outcome=outcome, epoch=epoch, value=value, config={**CONFIG, **changed})


def printed(thing: RenderableType, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(thing)
    return captured.get()


def test_a_cut_trial_never_beats_a_finished_one() -> None:
    rows = [
        row(0, "failed", 0, None),
        row(1, "diverged", 2, 0.0),
        row(2, "cut", 1, 0.99),
        row(3, "cut", 3, 0.6),
        row(4, "cut", 3, 0.7),
        row(5, value=0.5),
        row(6, value=0.8),
        row(7, value=0.8),
        row(8, value=math.nan),
        row(9, "stopped", 4, 0.9),
    ]
    best_first = [6, 7, 5, 8, 4, 3, 2, 9, 1, 0]
    assert [r.trial for r in ranked(rows)] == best_first
    random.Random(0).shuffle(rows)
    assert [r.trial for r in ranked(rows)] == best_first


def test_plain_rows_hold_every_trial_and_what_was_searched() -> None:
    rows = [row(0, value=0.5, **{"train.lr": 0.1}), row(1, value=0.7, **{"train.lr": 0.01})]
    first, second = leaderboard_rows(rows)
    assert (first["rank"], first["trial"], first["val/accuracy"]) == (1, 1, 0.7)
    assert first["train.lr"] == 0.01
    assert "dataset" not in first
    assert list(first) == list(second)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("more", [{}, {"train.schedule": "cosine", "method.beta": 1000.0}])
def test_a_table_fits_its_terminal(width: int, more: Mapping[str, Scalar]) -> None:
    rows = [row(i, "cut", i, i / 30, **({} if i % 2 else more)) for i in range(12)]
    text = printed(leaderboard(rows), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "10 of 12 trials" in text


def test_the_six_axes_have_a_column_each_in_80_characters() -> None:
    text = printed(leaderboard([row(0, value=0.97223), row(1, "cut", 3)]), 80)
    header = text.splitlines()[1].split()
    assert header[2:8] == ["T", "alpha", "smooth", "t.epochs", "augment", "prune"]
    assert "97.22" in text
    assert "cut@3" in text
    assert "0.9123" in text


def test_a_failed_trial_has_no_score() -> None:
    assert printed(leaderboard([row(0, "failed", 0, None)]), 80).splitlines()[-1].endswith("\u2013")


def test_no_trials_make_an_empty_table() -> None:
    assert "0 of 0 trials" in printed(leaderboard([]), 80)
    assert leaderboard_rows([]) == []


def test_less_may_be_better() -> None:
    loss = goal_of("val/loss")
    rows = [row(0, value=0.5), row(1, value=0.2), row(2, value=None)]
    assert [r.trial for r in ranked(rows, loss)] == [1, 0, 2]
    assert [r["val/loss"] for r in leaderboard_rows(rows, [loss])] == [0.2, 0.5, None]
    text = printed(leaderboard(rows, goals=[loss]), 100)
    assert "val loss nats" in text
    assert "0.2" in text.splitlines()[3]


GOALS = (ACCURACY, goal_of("params"))


def candidate(trial: int, value: float, params: float, front: bool, **changed: Scalar) -> Row:
    return Row(**{**vars(row(trial, value=value, **changed)), "further": (params,), "front": front})


FRONT = [
    candidate(0, 0.95, 9000.0, False),
    candidate(1, 0.90, 400.0, True, prune_ratio=0.5),
    candidate(2, 0.98, 9000.0, True),
    row(3, "stopped", 2, 0.99),
]


def test_the_front_comes_first_and_best_in_the_first_objective() -> None:
    rows = leaderboard_rows(FRONT, GOALS)
    assert [(r["pareto"], r["trial"]) for r in rows] == [
        *((True, 2), (True, 1)),
        *((False, 0), (False, 3)),
    ]
    assert [r["student/params"] for r in rows] == [9000.0, 400.0, 9000.0, None]
    assert "rank" not in rows[0]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_front_is_marked_and_fits_its_terminal(width: int) -> None:
    text = printed(leaderboard(FRONT, goals=GOALS), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].rstrip() == "Pareto front (*): 2 of 4 trials"
    assert sum(line.startswith("*") for line in lines) == 2
    assert "9,000" in text


def test_the_whole_front_is_shown_however_long() -> None:
    rows = [candidate(i, i / 30, 100.0 * i, True) for i in range(15)]
    text = printed(leaderboard([*rows, row(99, value=0.01)], top=4, goals=GOALS), 120)
    assert sum(line.startswith("*") for line in text.splitlines()) == 15
