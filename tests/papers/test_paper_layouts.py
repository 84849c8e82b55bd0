"""Every table stands on the page as in its paper, each figure in one place."""

from dataclasses import replace

import pytest

from kdtune.papers import PAPERS, figures, tables
from kdtune.papers.facets import LABEL
from kdtune.papers.layout import Layout, arrange
from kdtune.papers.layouts import LAYOUTS
from kdtune.papers.remarks import remarks

TABLES = [(paper, table) for paper in PAPERS for table in tables(paper)]


def test_every_table_has_a_layout() -> None:
    assert [(p, t) for p, layouts in LAYOUTS.items() for t in sorted(layouts)] == [
        (paper, table) for paper in PAPERS for table in sorted(tables(paper))
    ]


@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_every_figure_stands_in_one_place(paper: str, table: str) -> None:
    found = figures(paper, table)
    arranged = arrange(found, LAYOUTS[paper][table])
    placed = [id(figure) for held in arranged.cells.values() for figure in held]
    assert sorted(placed) == sorted(map(id, found))
    assert {row for row, _ in arranged.cells} == set(arranged.rows)
    assert {column for _, column in arranged.cells} == set(arranged.columns)
    for row, column in arranged.layout.lost:
        assert row in arranged.rows
        assert column in arranged.columns
        assert (row, column) not in arranged.cells


@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_every_remark_is_made_of_the_figures_that_have_it(paper: str, table: str) -> None:
    arranged = arrange(figures(paper, table), LAYOUTS[paper][table])
    made = remarks(arranged)
    for position, figure in enumerate(arranged.figures):
        said = [part for r in made if position in r.figures for part in r.text.split("; ")]
        assert sorted(said) == sorted(filter(None, figure.note.split("; ")))
    marks = [remark.mark for remark in made if remark.mark]
    assert len(marks) == len(set(marks))
    assert all(bool(remark.of) != bool(remark.mark) for remark in made)


@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_a_caption_is_a_line(paper: str, table: str) -> None:
    assert 20 < len(LAYOUTS[paper][table].caption) < 80


@pytest.mark.parametrize(
    ("paper", "table", "rows", "columns"),
    [
        ("park2020", "T1", 12, 6),
        ("wang2020", "T3", 10, 7),
        ("cho2019", "T8", 21, 1),
        ("sarfraz2020", "T3", 12, 8),
        ("sarfraz2020", "F1", 11, 12),
        ("chandrasegaran2022", "T2", 9, 4),
        ("chandrasegaran2022", "TI.1", 4, 6),
    ],
)
def test_a_table_has_the_shape_that_is_printed(
    paper: str, table: str, rows: int, columns: int
) -> None:
    arranged = arrange(figures(paper, table), LAYOUTS[paper][table])
    assert (len(arranged.rows), len(arranged.columns)) == (rows, columns)


def test_two_figures_in_one_place_are_refused() -> None:
    layout = Layout(caption="", rows=(LABEL,), columns=())
    with pytest.raises(ValueError, match="several figures share the cell"):
        arrange(figures("sarfraz2020", "T3"), layout)
    with pytest.raises(ValueError, match="several figures share the cell"):
        arrange(figures("chandrasegaran2022", "T4"), replace(layout, cell={"top1_accuracy": "{}"}))


def test_rows_stand_together_only_where_the_layout_says_so() -> None:
    found = figures("park2020", "T5")
    layout = LAYOUTS["park2020"]["T5"]
    networks = [row[0] for row in arrange(found, layout).rows]
    assert networks == sorted(networks)
    apart = arrange(found, replace(layout, together=False))
    assert [row[0] for row in apart.rows] != networks


def test_a_remark_on_a_whole_row_or_column_names_it() -> None:
    def scopes(paper: str, table: str) -> set[str]:
        arranged = arrange(figures(paper, table), LAYOUTS[paper][table])
        return {remark.of for remark in remarks(arranged)}

    assert {"ONE", "DML", "share 0"} <= scopes("sarfraz2020", "T5")
    assert {"Teacher Acc.", "Student Acc."} <= scopes("wang2020", "T3")
    assert "all with soft labels" in scopes("cho2019", "T1")
