"""What analyses found, as the tables of the page show and sort it."""

from pathlib import Path

from kdtune.report.finding import Finding, FoundTable
from kdtune.report.page.analysis_section import analyses
from kdtune.report.page.tables import Cell, Listing
from kdtune.report.settings import MISSING

TABLE = FoundTable(
    title="t",
    columns=("run", "accuracy (%), mean", "accuracy (%), std", "loss", "loss, std", "seed"),
    rows=(
        ("a", 100.0, 1.0, 0.25, 0.125, 0),
        ("b", 9.5, None, 2.0, None, None),
        ("c", None, None, None, None, 2),
        ("d", 81.0625, 1.97, 0.5, 0.0, 1),
    ),
)


def _cells(table: FoundTable, folder: Path) -> list[list[Cell]]:
    """Of the one table of a page's section, by column."""
    made = Finding(
        analysis="made_up",
        summary="s",
        source="nobody",
        options={},
        runs=("a",),
        tables=(table,),
        figures=(),
        numbers={},
    )
    place = folder / "analysis" / "made_up" / "0"
    place.mkdir(parents=True)
    made.write(place)
    (listing,) = [block for block in analyses(folder) if isinstance(block, Listing)]
    return [list(column) for column in zip(*(line.cells for line in listing.lines), strict=True)]


def test_a_mean_with_its_deviation_is_sorted_by_the_mean(tmp_path: Path) -> None:
    _, accuracy, loss, seed = _cells(TABLE, tmp_path)
    assert [cell.text for cell in accuracy] == ["100 ± 1", "9.5", MISSING, "81.06 ± 1.97"]
    assert [cell.sort for cell in accuracy] == [100.0, 9.5, None, 81.0625]
    assert [cell.sort for cell in loss] == [0.25, 2.0, None, 0.5]
    assert {cell.kind for cell in (*accuracy, *loss, *seed)} == {"number"}


def test_a_text_and_a_plain_number_are_sorted_by_themselves(tmp_path: Path) -> None:
    run, _, _, seed = _cells(TABLE, tmp_path)
    assert [(cell.sort, cell.kind) for cell in run] == [(name, "text") for name in "abcd"]
    assert [cell.sort for cell in seed] == [0, None, 2, 1]


def test_columns_of_one_head_are_each_sorted_by_their_own_values(tmp_path: Path) -> None:
    table = FoundTable(title="t", columns=("x", "x"), rows=((1, 4), (2, 3)))
    first, second = _cells(table, tmp_path)
    assert [cell.sort for cell in first] == [1, 2]
    assert [cell.sort for cell in second] == [4, 3]


def test_a_shown_column_is_that_of_the_mean() -> None:
    assert TABLE.sources() == [0, 1, 3, 5]
    heads, _ = TABLE.shown()
    assert heads == ["run", "accuracy (%) ± std", "loss ± std", "seed"]
