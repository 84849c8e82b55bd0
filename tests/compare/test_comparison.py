"""A whole comparison."""

import pytest
from made_results import measured, printed

from kdtune.compare import compare, reported_results
from kdtune.compare.comparison import of_tasks


def test_measured_and_printed_are_laid_out_by_the_same_keys() -> None:
    ours = [measured("kd", [0.9], augment=augment) for augment in ("none", "cutmix")]
    found = compare([*ours, printed("kd", 0.91, augment="cutmix")])
    assert found.by == ("method", "augment") == found.printed.by
    assert [pair.cell.row for pair in found.beside] == [("kd", "cutmix")]


def test_rows_of_printed_figures_are_told_apart_on_request() -> None:
    ours = [measured("kd", [0.9], temperature=4.0)]
    theirs = [printed("kd", 0.9, temperature=t) for t in (1.0, 4.0)]
    assert compare([*ours, *theirs]).by == ("method",)
    assert compare([*ours, *theirs], split=True).by == ("method", "temperature")
    assert compare(theirs).by == ("method", "temperature")


def test_tests_are_against_scratch_unless_another_reference_is_asked_for() -> None:
    ours = [measured("scratch", [0.8, 0.9]), measured("kd", [0.9, 0.92])]
    assert [test.row for test in compare(ours).tests] == [("kd",)]
    assert [test.row for test in compare(ours, against="kd").tests] == [("scratch",)]
    assert compare(ours[1:]).tests == ()
    with pytest.raises(ValueError, match="has method 'scrath'; did you mean 'scratch'"):
        compare(ours, against="scrath")


def test_one_comparison_is_of_one_metric() -> None:
    with pytest.raises(ValueError, match="one metric"):
        compare([measured("kd", [0.9]), measured("kd", [0.9], metric="test/top5")])
    with pytest.raises(ValueError, match="no results"):
        compare([])


def test_figures_of_other_data_or_students_are_left_out() -> None:
    theirs = [printed("kd", 0.9), printed("kd", 0.9, student="resnet8")]
    assert of_tasks(theirs, [measured("scratch", [0.9])]) == theirs[:1]


def test_no_printed_figure_is_lost() -> None:
    everything = reported_results()
    printed = compare(everything).printed
    shown = {(r.paper, r.label, r.mean) for cell in printed.cells.values() for r in cell.results}
    # Of a figure that several tables repeat, one label is kept.
    assert {(paper, mean) for paper, _, mean in shown} == {(r.paper, r.mean) for r in everything}
    assert len(printed.columns) > 50


def test_the_printed_mean_ranks_of_a_paper() -> None:
    found = compare(reported_results("sarfraz2020", "T3")).printed
    assert {cell.column.dataset for cell in found.cells.values()} == {"cifar10"}
    rank = found.mean_rank(("scratch",))
    assert rank is not None
    assert rank[1] == 8
    assert found.rows[-1] == ("scratch",)
