"""Which trials no other one dominates, and which of them are trained again."""

import itertools
import random
from typing import Any

import pytest

from kdtune.report.goals import ACCURACY, Goal, goal_of
from kdtune.search.front import front, nondominated, spread, values_of
from kdtune.search.outcomes import Outcome
from kdtune.search.stages import finalist_configs

PARAMS = goal_of("params")
GOALS = (ACCURACY, PARAMS)


def outcome(
    accuracy: float | None, params: object = 100, kind: str = "finished", **config: Any
) -> Outcome:
    result = {"val/accuracy": accuracy, "student/params": params}
    return Outcome(trial_id="t", config=config, kind=kind, epoch=3, value=accuracy, result=result)


def test_a_point_is_on_the_front_unless_another_is_better_and_nowhere_worse() -> None:
    points = [(0.9, 500), (0.8, 100), (0.8, 200), (0.7, 100), (0.95, 900), (0.9, 600)]
    assert nondominated(points, GOALS) == [0, 1, 4]
    assert nondominated(points, (Goal("a", "min"), Goal("b", "max"))) == [2, 3, 4, 5]
    assert nondominated([], GOALS) == []
    assert nondominated([(0.5, 1), (0.5, 1), (0.4, 1)], GOALS) == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_that_of_comparing_all_pairs(seed: int) -> None:
    chance = random.Random(seed)
    goals = [ACCURACY, PARAMS, goal_of("latency")]
    points = [tuple(float(chance.randint(0, 4)) for _ in goals) for _ in range(25)]
    costs = [tuple(g.cost(v) for g, v in zip(goals, point, strict=True)) for point in points]
    beaten = {
        place
        for place, other in itertools.product(range(25), costs)
        if other != costs[place] and all(a <= b for a, b in zip(other, costs[place], strict=True))
    }
    assert set(nondominated(points, goals)) == set(range(25)) - beaten


def test_only_whole_and_finished_trials_are_on_the_front() -> None:
    trials = [
        outcome(0.5),
        outcome(0.9, 900),
        outcome(0.99, 1, kind="stopped"),
        outcome(0.99, 1, kind="diverged"),
        outcome(0.99, None),
        outcome(0.99, float("nan")),
        outcome(None, 1),
        outcome(0.9, 800),
        outcome(0.9, 800),
    ]
    assert front(trials, GOALS) == [7, 8, 0], "the best in the first objective comes first"
    assert values_of(trials[5], GOALS) == (0.99, None)


def test_members_are_taken_evenly_along_the_front() -> None:
    members = list("abcdefg")
    assert [spread(members, n) for n in (1, 2, 3, 4)] == [
        *(["a"], ["a", "g"], ["a", "d", "g"], ["a", "c", "e", "g"])
    ]
    assert spread(members, 7) == spread(members, 99) == members
    assert spread(members, 0) == []
    assert all(len(set(spread(members, n))) == n for n in range(8))


def test_finalists_are_spread_along_the_front_and_each_is_another_one() -> None:
    trials = [outcome(i / 10, 100 * i, x=i) for i in range(1, 8)]
    trials += [outcome(0.7, 700, x=7), outcome(0.1, 900, x=99)]
    assert [c["x"] for c in finalist_configs(trials, 3, GOALS)] == [7, 4, 1]
    assert [c["x"] for c in finalist_configs(trials, 1, GOALS)] == [7]
    loss = goal_of("val/loss")
    assert [c["x"] for c in finalist_configs(trials, 2, [loss])] == [1, 99]
