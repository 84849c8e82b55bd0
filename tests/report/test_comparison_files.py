"""A comparison written to files."""

import io
import json
import re

import pandas as pd
import pytest
from test_comparison_view import figure, result

from kdtune.compare import Comparison, compare
from kdtune.report.comparison_files import FORMATS

MEAN = 0.9300000000000123


@pytest.fixture
def comparison() -> Comparison:
    ours = [
        result("scratch", 0.9),
        result(
            "kd",
            MEAN,
            settings={"temperature": 4.0, "method.flag": True},
            values={1: MEAN - 0.01, 2: 0.95, 3: 0.91},
            run_ids=("x", "y"),
        ),
        result("kd", 0.5, settings={"temperature": 2.0}),
        result("at", 0.92, validation=0.9, settings={"method.beta": 1000}),
        result("at", 0.91, validation=0.8, settings={"method.beta": 10}),
    ]
    theirs = [
        figure("scratch", 0.91),
        figure("kd", 0.94, None, settings={"temperature": "unstated_between_1_and_2"}),
        figure("at", 0.925),
        figure("at", 0.915, settings={"generation": 5}),
    ]
    return compare([*ours, *theirs], by=["method", "temperature"])


def _written(name: str, comparison: Comparison) -> bytes:
    return FORMATS[name](comparison, "kdtune compare --by method")


def test_parquet_and_csv_hold_every_figure_in_full(comparison: Comparison) -> None:
    typed = pd.read_parquet(io.BytesIO(_written("parquet", comparison)))
    plain = pd.read_csv(io.BytesIO(_written("csv", comparison)))
    assert list(typed.columns) == list(plain.columns)
    assert len(typed) == len(plain) == 9
    for frame in (typed, plain):
        (row,) = frame[frame["mean"] == MEAN].to_dict("records")
        assert (row["source"], row["settings.temperature"], row["rank"]) == ("measured", "4.0", 1)
        assert (row["dataset"], row["student"], row["teacher"]) == (
            "cifar10",
            "wrn_16_2",
            "wrn_40_2",
        )
        assert json.loads(row["values"])["1"] == MEAN - 0.01
        assert row["reference"] == "scratch | None"
        assert row["shared_seeds"] == 3


def test_the_flags_of_every_figure_are_kept(comparison: Comparison) -> None:
    frame = pd.read_parquet(io.BytesIO(_written("parquet", comparison)))
    measured = frame[frame["source"] == "measured"].set_index("mean")
    assert measured.loc[0.92, "chosen_by"] == "validation"
    assert not measured.loc[0.91, "counts"]
    printed = frame[frame["source"] == "reported"].set_index("mean")
    assert printed.loc[0.91, "comparable"]
    assert printed.loc[0.91, "within_spread"]
    assert not printed.loc[0.915, "comparable"]
    assert printed.loc[0.915, "apart"] == "generation none here, 5 printed"
    assert pd.isna(printed.loc[0.915, "within_spread"])
    assert printed.loc[0.94, "n"] == 5
    assert pd.isna(printed.loc[0.94, "std"])


def test_json_comes_back_as_it_was(comparison: Comparison) -> None:
    document = json.loads(_written("json", comparison))
    assert document["by"] == ["method", "temperature"]
    assert document["command"] == "kdtune compare --by method"
    cells = document["measured"]["cells"]
    (kd,) = [cell for cell in cells if cell["result"] and cell["result"]["mean"] == MEAN]
    assert kd["row"] == ["kd", 4.0]
    assert kd["result"]["settings"]["temperature"] == 4.0
    assert kd["result"]["settings"]["method.flag"] is True
    assert kd["result"]["run_ids"] == ["x", "y"]
    (test,) = [test for test in document["tests"] if test["row"] == ["kd", 4.0]]
    own = next(test for test in comparison.tests if test.row == ("kd", 4.0))
    assert (test["p"], test["low"]) == (own.p, own.low) != (None, None)
    assert {pair["comparable"] for pair in document["beside"]} == {True, False}


def test_json_has_no_number_that_json_has_not() -> None:
    lost = result("kd", float("nan"), None, n=0, values={}, outcomes={"failed": 2})
    document = json.loads(_written("json", compare([lost, result("at", 0.9)])))
    means = [cell["result"]["mean"] for cell in document["measured"]["cells"]]
    assert sorted(means, key=str) == [0.9, None]


def test_latex_is_booktabs_and_escaped(comparison: Comparison) -> None:
    text = _written("latex", comparison).decode()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 2
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule")
    assert r"\bfseries{93.00 $\pm$ 1.00 (5)}" in text
    assert r"wrn\_40\_2 $\to$ wrn\_16\_2" in text
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%#_]", body)
    assert body.isascii()
    for table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", body, re.DOTALL):
        rows = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table[0]) - 1}


def test_the_page_stands_alone_and_escapes_names(comparison: Comparison) -> None:
    strange = result("kd", 0.9, settings={"dataset": "<b>odd</b> & co"})
    page = _written("html", compare([strange, result("at", 0.8)])).decode()
    assert "<b>odd</b>" not in page
    assert "&lt;b&gt;odd&lt;/b&gt; &amp; co" in page
    page = _written("html", comparison).decode()
    assert "kdtune compare --by method" in page
    assert "Plotly.newPlot" in page
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", outside)
    assert not re.search(r"url\(|@import", outside)
    assert not re.search(r"<script[^>]+src", page)


def test_the_page_has_a_dot_for_each_figure(comparison: Comparison) -> None:
    page = _written("html", comparison).decode()
    calls = re.findall(r"Plotly\.newPlot\(\s*\"column-0\",\s*(\[.*?\])\s*,\s*\{", page, re.DOTALL)
    traces = json.loads(calls[0])
    assert [trace["name"] for trace in traces] == ["measured", "wang2020"]
    assert "circle" in traces[0]["marker"]["symbol"][0]
    assert sorted({symbol.rpartition("-")[2] for symbol in traces[1]["marker"]["symbol"]}) == [
        "open",
        "square",
    ]
