"""A paper's table on a console: whole where there is room, in parts where there is not."""

import pytest
from rich.console import Console

from kdtune.papers import PAPERS, figures, tables
from kdtune.report.paper_table import PaperTable

TABLES = [(paper, table) for paper in PAPERS for table in tables(paper)]


def shown(paper: str, table: str, width: int = 80) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(PaperTable(paper, table))
    return capture.get()


def line(text: str, *words: str) -> str:
    """The one line that holds all words."""
    (found,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return " ".join(found.split())


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_every_number_is_there_whole_and_no_line_is_too_long(
    paper: str, table: str, width: int
) -> None:
    text = shown(paper, table, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    for figure in figures(paper, table):
        spread = f" ± {figure.printed_std}" if figure.printed_std else ""
        assert figure.printed + spread in text


def test_a_cell_holds_mean_and_deviation_or_two_metrics() -> None:
    assert line(shown("sarfraz2020", "T5"), "DML", "94.38") == (
        "DML 94.38 ± 0.15 85.63 ± 0.33 76.33 ± 0.32 59.89 ± 1.66"
    )
    assert "71.547 / 90.297" in shown("chandrasegaran2022", "T2")
    assert "7.67 ± 0.19" in line(shown("cho2019", "T5"), "5 generations", "7.79")


def test_a_damaged_cell_bears_a_mark_that_is_explained_below() -> None:
    text = shown("wang2020", "T2", 200)
    marked = line(text, "CutMix+pick (T ent.)")
    assert marked.endswith("74.16 ± 0.18ᶜᵈ")
    assert "merged and duplicated" in line(text, "ᶜ cell")
    assert "so the true figure is probably lost" in line(text, "ᵈ the figure repeats")


def test_a_figure_that_is_quoted_has_a_star() -> None:
    text = shown("park2020", "T5")
    assert "80.27 / 80.15*" in text
    assert "* quoted by the paper from another one" in text
    assert "* quoted" not in shown("park2020", "T1")


def test_a_wide_table_is_printed_in_parts_with_its_rows_named_in_each() -> None:
    narrow, wide = shown("sarfraz2020", "T3", 80), shown("sarfraz2020", "T3", 200)
    assert (narrow.count("RKD-DA"), wide.count("RKD-DA")) == (2, 1)
    heads = [line.split() for line in narrow.splitlines() if "ResNet-8" in line or "WRN-40" in line]
    assert heads == [
        ["ResNet-8", "ResNet-14", "ResNet-20", "ResNet-26", "WRN-10-2"],
        ["WRN-16-2", "WRN-28-2", "WRN-40-2"],
    ]


def test_headings_of_columns_are_not_torn_apart_where_a_group_fits() -> None:
    text = shown("chandrasegaran2022", "T3")
    heads = [
        line.split()
        for line in text.splitlines()
        if line.split()[:1] in (["ResNet-18"], ["ResNet-50"])
    ]
    assert heads == [["ResNet-18"] * 4, ["ResNet-50"] * 4]


def test_a_cell_that_is_not_printed_is_a_dash() -> None:
    assert line(shown("cho2019", "T6"), "M>S", "5.34").split()[:3] == ["M>S", "-", "5.34"]


def test_a_figure_that_is_printed_but_lost_is_said_to_be() -> None:
    text = shown("wang2020", "T3", 200)
    assert "71.66ᵇᶜ lost 75.00" in line(text, "KD+CutMix-pick_960", "lost")
    assert "lost: printed, but not in the text that was read" in text
    assert "lost: printed" not in shown("wang2020", "T4", 200)
