"""Objectives: how they are named, read and compared."""

import math

import pytest

from kdtune.config import parse
from kdtune.report.goals import ACCURACY, ALIASES, MEASURES, Goal, check_goals, goal_of
from kdtune.training.trial import run_trial


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("val/accuracy:max", ACCURACY),
        ("val/accuracy", ACCURACY),
        ("params:min", Goal("student/params", "min")),
        ("macs", Goal("student/macs", "min")),
        ("latency", Goal("student/latency_ms", "min")),
        ("params:max", Goal("student/params", "max")),
    ],
)
def test_a_metric_has_short_names_and_a_natural_direction(text: str, goal: Goal) -> None:
    assert goal_of(text) == goal
    assert goal_of(str(goal)) == goal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val/acuracy", "unknown objective 'val/acuracy'; did you mean 'val/accuracy'"),
        ("parms:min", "unknown objective 'parms'; did you mean 'params'"),
        ("test/accuracy", "unknown objective 'test/accuracy'"),
        ("params:low", "METRIC:max or METRIC:min, got 'params:low'"),
    ],
)
def test_an_objective_that_no_trial_reports_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        goal_of(text)


def test_a_search_has_objectives_and_each_once() -> None:
    check_goals([ACCURACY, goal_of("params")])
    with pytest.raises(ValueError, match="at least one objective"):
        check_goals([])
    with pytest.raises(ValueError, match="'student/params' twice"):
        check_goals([goal_of("params"), goal_of("params:max")])
    with pytest.raises(ValueError, match="unknown objective 'los'"):
        check_goals([Goal("los", "min")])
    with pytest.raises(ValueError, match="mode must be 'max' or 'min', got 'up'"):
        Goal("val/loss", "up")  # type: ignore[arg-type]


def test_every_measure_is_reported_by_a_trial() -> None:
    tiny = {"dataset": "digits", "data.train_limit": 32, "train.epochs": 1, "train.device": "cpu"}
    reported = run_trial(parse({**tiny, "method": "scratch", "student": "resnet8x0.125"}))
    assert set(MEASURES) - set(reported) == {"val/agreement"}
    assert set(ALIASES.values()) <= set(MEASURES)


def test_what_is_better_comes_first_and_what_is_no_number_last() -> None:
    values = [0.2, None, 0.9, math.nan, 0.5]
    assert sorted(values, key=ACCURACY.cost)[:3] == [0.9, 0.5, 0.2]
    assert sorted(values, key=Goal("val/loss", "min").cost)[:3] == [0.2, 0.5, 0.9]
    assert (ACCURACY.best([0.1, 0.3]), goal_of("params").best([7.0, 3.0])) == (0.3, 3.0)


@pytest.mark.parametrize(
    ("name", "value", "heading", "text", "quantity"),
    [
        ("accuracy", 0.97223, "val acc. %", "97.22", "97.22 %"),
        ("params", 272474.0, "parameters", "272,474", "272,474"),
        ("latency", 1.2345, "latency ms", "1.23", "1.23 ms"),
        ("val/loss", 0.123456, "val loss nats", "0.1235", "0.1235 nats"),
        ("macs", None, "multiply-adds", "\u2013", "\u2013"),
    ],
)
def test_values_are_written_with_their_unit(
    name: str, value: float | None, heading: str, text: str, quantity: str
) -> None:
    measure = goal_of(name).measure
    assert (measure.heading, measure.text(value)) == (heading, text)
    assert measure.quantity(value) == quantity


def test_a_foreign_metric_goes_by_its_own_name() -> None:
    assert Goal("score", "min").measure.heading == "score"
    assert Goal("score", "min").measure.text(1234.5678) == "1235"
