"""Finalists beside their baselines."""

import dataclasses
import io
import statistics

import pytest
from rich.console import Console

from kdtune.report.finalists import ArmResult, Summary, finalist_rows, finalists, summarise
from kdtune.report.goals import goal_of

CONFIG = {"method": "kd", "temperature": 4.0, "alpha": 0.9, "augment": "cutmix"}
ARMS = [
    ArmResult(arm="teacher", values=[0.995]),
    ArmResult(arm="finalist 1", config=CONFIG, values=[0.94, 0.95, 0.96]),
    ArmResult(arm="no teacher", config={"augment": "cutmix"}, values=[0.91, 0.93]),
    ArmResult(arm="published recipe", config=CONFIG, values=[]),
]


def table(width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(finalists(ARMS))
    return captured.get()


def test_the_deviation_is_that_of_a_sample() -> None:
    values = [0.94, 0.95, 0.99]
    assert summarise(values) == Summary(
        statistics.fmean(values), pytest.approx(statistics.stdev(values)), 3
    )


def test_one_value_has_no_deviation() -> None:
    assert str(summarise([0.5])) == "50.00 ± \u2013 (1)"


@pytest.mark.parametrize("values", [[], [0.5, float("nan")]])
def test_there_must_be_something_to_summarise(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one value, all finite"):
        summarise(values)


def test_a_row_says_what_distillation_changed() -> None:
    lines = {line.split("  ")[0]: line for line in table(100).splitlines()}
    assert "95.00 ± 1.00 (3)" in lines["finalist 1"]
    assert lines["finalist 1"].endswith("+3.00")
    assert lines["no teacher"].endswith("\u2013")
    assert "99.50 ± \u2013 (1)" in lines["teacher"]
    assert "failed" in lines["published recipe"]


def test_plain_rows_keep_full_precision() -> None:
    rows = {row["arm"]: row for row in finalist_rows(ARMS)}
    assert rows["finalist 1"]["difference"] == pytest.approx(0.03)
    assert rows["finalist 1"]["test/accuracy_mean"] == pytest.approx(0.95)
    assert rows["finalist 1"]["temperature"] == 4.0
    assert rows["teacher"]["difference"] is None
    assert rows["published recipe"]["test/accuracy_n"] == 0


def test_an_arm_whose_runs_are_those_of_another_says_so() -> None:
    same = ArmResult(
        arm="published recipe", config=CONFIG, values=[0.94, 0.95, 0.96], same_as="finalist 1"
    )
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(finalists([*ARMS[:3], same]))
    line = next(each for each in captured.get().splitlines() if each.startswith("published"))
    assert "= finalist 1" in line
    assert "95.00 ± 1.00 (3)" in line
    rows = {row["arm"]: row for row in finalist_rows([*ARMS[:3], same])}
    assert rows["published recipe"]["temperature"] == 4.0


def test_what_else_was_sought_has_a_column_of_its_own() -> None:
    params = goal_of("params")
    costs = [{params: 1234.5}, {params: 99.0}, {}, {params: None}]
    arms = [dataclasses.replace(arm, costs=own) for arm, own in zip(ARMS, costs, strict=True)]
    console = Console(width=110, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(finalists(arms))
    lines = captured.get().splitlines()
    assert lines[1].rstrip().endswith("parameters")
    assert lines[3].rstrip().endswith("1,234")
    rows = {row["arm"]: row for row in finalist_rows(arms)}
    assert rows["finalist 1"]["student/params"] == 99.0
    assert "student/params" not in rows["no teacher"]


@pytest.mark.parametrize("width", [70, 80, 100, 140])
def test_a_table_fits_its_terminal(width: int) -> None:
    assert max(len(line) for line in table(width).splitlines()) <= width
