"""Choosing cells of a table."""

import pytest

from kdtune.search.reproduced_cells import attributes, cells_of, cells_text, chosen


def test_cells_are_numbered_in_the_papers_order() -> None:
    cells = cells_of("cho2019:T6")
    assert list(cells) == list(range(1, 11))
    assert cells[1].row_label == "L>M>S large"
    assert cells[10].printed == "8.03"


def test_without_a_choice_all_cells_are_chosen() -> None:
    cells = cells_of("cho2019:T6")
    assert chosen(cells, []) == cells


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1,4-6"], [1, 4, 5, 6]),
        (["1", "10"], [1, 10]),
        (["method=scratch"], [1, 5, 8]),
        (["method=kd,student=WRN-16-1,statistic=mean"], [4, 7, 10]),
        (["student=wrn-16-3,student=WRN-16-8"], [1, 2, 5, 8]),
        (["1-4,method=kd"], [2, 3, 4]),
        (["temperature=4.0,statistic=median"], [3, 6, 9]),
        (["row=M>S small"], [6, 7]),
    ],
)
def test_cells_are_chosen_by_number_and_by_what_they_are(
    texts: list[str], numbers: list[int]
) -> None:
    assert list(chosen(cells_of("cho2019:T6"), texts)) == numbers


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("11", r"1 to 10, got '11'"),
        ("3-1", r"1 to 10, got '3-1'"),
        ("first", r"numbers, ranges such as 4-7 and key=value, got 'first'"),
        ("method=kd,scratch", r"got 'scratch'; did you mean 'method=scratch'\?"),
        ("metod=kd", r"no cell has 'metod'; did you mean 'method'\?"),
        ("method=kdd", r"no cell has method 'kdd'; did you mean 'kd'\?"),
        ("student=WRN-16-2", r"no cell has student 'WRN-16-2'; did you mean"),
        ("5,method=kd", r"leaves no cell; the table has 10"),
    ],
)
def test_a_wrong_choice_is_refused_with_the_near_ones(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        chosen(cells_of("cho2019:T6"), [text])


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("cho2019", r"PAPER:TABLE.*its tables: T1, T2"),
        ("cho", r"PAPER:TABLE.*did you mean 'cho2019'"),
        ("cho2019:T99", r"unknown table 'T99' of cho2019; did you mean 'T9'"),
        ("choo2019:T6", r"unknown paper 'choo2019'; did you mean 'cho2019'"),
    ],
)
def test_a_wrong_table_is_refused_with_the_near_ones(target: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        cells_of(target)


def test_a_cell_without_a_teacher_can_be_chosen_by_that() -> None:
    assert attributes(cells_of("cho2019:T6")[1])["teacher"] == "none"


def test_numbers_are_written_as_they_are_given() -> None:
    assert cells_text([3]) == "cell 3"
    assert cells_text([5, 1, 2, 3]) == "cells 1-3,5"
