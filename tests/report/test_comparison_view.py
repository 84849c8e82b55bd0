"""A comparison on a terminal."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from kdtune.compare import Comparison, Result, compare, reported_results
from kdtune.report.comparison import ComparisonView
from kdtune.report.settings import MISSING

NETWORKS = {"dataset": "cifar10", "student": "wrn_16_2"}


def result(method: str, mean: float, std: float | None = 0.01, **more: Any) -> Result:
    """Measured with five seeds, unless the source says otherwise."""
    taught = {} if method == "scratch" else {"teacher": "wrn_40_2"}
    settings = {**NETWORKS, **taught, "method": method, **more.pop("settings", {})}
    return Result(
        **{
            "source": "measured",
            "metric": "test/accuracy",
            "mean": mean,
            "std": std,
            "n": 5,
            "values": {seed: mean + offset for seed, offset in enumerate((-0.01, 0, 0.01), 1)},
            "settings": settings,
            "label": f"arm of {method}",
            **more,
        }
    )


def figure(method: str, mean: float, std: float | None = 0.01, **more: Any) -> Result:
    """Printed by wang2020."""
    own = {"source": "reported", "values": {}, "paper": "wang2020", "table": "T1"}
    return result(method, mean, std, **{**own, **more})


def shown(comparison: Comparison, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(ComparisonView(comparison))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def whole() -> Comparison:
    ours = [
        result("scratch", 0.9),
        result("kd", 0.95, settings={"train.epochs": 12, "temperature": 4.0}),
        result("kd", 0.93, settings={"temperature": 4.0}, values={1: 0.93, 2: 0.95, 3: 0.91}),
        result("at", 0.92, values={7: 0.92}),
        result("sp", float("nan"), None, n=0, values={}, outcomes={"failed": 3}),
    ]
    theirs = [
        figure("scratch", 0.91),
        figure("kd", 0.94, None, settings={"temperature": 2.0}),
        figure("at", 0.925, note="printed twice"),
    ]
    return compare([*ours, *theirs])


def test_a_cell_has_mean_deviation_n_and_rank(whole: Comparison) -> None:
    assert re.search(r"kd .*93\.00 ± 1\.00 \(5\)\s+1\b", shown(whole))
    assert "sp" in shown(whole)
    assert "3 failed" in shown(whole)


def test_columns_of_one_task_say_what_keeps_them_apart(whole: Comparison) -> None:
    text = shown(whole)
    assert re.search(r"A\s+#\s+B 12 epochs", text)
    assert "cifar10, wrn_40_2 → wrn_16_2" in text


def test_a_verdict_is_given_only_where_it_may_be(whole: Comparison) -> None:
    text = shown(whole)
    beside = text[text.index("Beside what was printed") :]
    assert re.search(r"scratch .*90\.00 .*91\.00 .*wang2020 T1 +-1\.00 +yes", beside)
    assert re.search(rf"kd .*94\.00 ± {MISSING} \(5\) .* -1\.00 +not comparable a", beside)
    assert "a  not comparable: T 4 here, 2 printed" in beside
    assert "b  printed twice" in beside


def test_tests_are_shown_with_n_interval_and_correction(whole: Comparison) -> None:
    text = shown(whole)
    tests = text[text.index("Against scratch") :]
    assert "Benjamini-Hochberg over this one test." in tests
    assert "no test: no seeds in common" in tests
    assert re.search(r"kd +scratch +3 +\+3\.00 +\S+ to \S+ +0\.\d+ +0\.\d+", tests)


def test_the_order_of_a_paper_is_compared_and_marked(whole: Comparison) -> None:
    text = shown(whole)
    order = text[text.index("Kendall's tau") :]
    assert re.search(r"wang2020, cifar10, wrn_40_2 → wrn_16_2 a +\+1\.00 +0\.33 +3", order)
    assert "not comparable among these: kd" in order


def test_the_last_lines_say_which_recipe_and_how_sure(whole: Comparison) -> None:
    answers = " ".join(shown(whole).split("\n\n")[-1].split())
    assert "kd is first of 3, +3.00 points from scratch (corrected p" in answers
    assert "within its spread: at." in answers
    assert "Of 3 printed figures 2 may be compared; 2 of 2 agree within the spread." in answers


@pytest.mark.parametrize("width", [80, 100, 160])
def test_wide_tables_are_cut_into_blocks_that_fit(width: int) -> None:
    results = [
        result(method, 0.9, settings={"dataset": f"dataset {place}"})
        for place in range(9)
        for method in ("kd", "scratch")
    ]
    text = shown(compare(results), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("90.00 ± 1.00 (5)") == 18
    assert all(f"dataset {place}" in " ".join(text.split()) for place in range(9))


@pytest.mark.parametrize("width", [80, 90, 120])
def test_no_figure_is_cut_off(width: int) -> None:
    comparison = compare(reported_results("wang2020", "T2"))
    text = shown(comparison, width)
    assert text.count("±") == len(comparison.printed.cells) + 1  # and once in the title
    assert "…" not in text


def test_several_configurations_in_a_cell_are_told() -> None:
    tried = [result("kd", 0.9 + t / 100, settings={"temperature": t}) for t in (1.0, 2.0)]
    assert "2 configurations: 91.00, 92.00, and nothing says which" in shown(compare(tried))
    known = [result("kd", r.mean, settings=dict(r.settings), validation=r.mean) for r in tried]
    assert "the best of 2 configurations by validation accuracy" in shown(compare(known))


def test_printed_figures_alone_are_laid_out() -> None:
    text = shown(compare([figure("kd", 0.94, None), figure("scratch", 0.91, n=None)]))
    assert "Printed: test accuracy %" in text
    assert "91.00 ± 1.00 (?)" in text
    assert "Against" not in text


def test_costs_are_written_in_their_own_unit() -> None:
    cost = {"metric": "student/params", "higher_is_better": False}
    results = [result(m, v, None, values={}, **cost) for m, v in (("kd", 77850.0), ("at", 80000.0))]
    assert f"77,850 ± {MISSING} (5)" in shown(compare(results))
