"""Rows and columns: what stands where, what counts, and its rank."""

import pytest
from made_results import measured, printed

from kdtune.compare.pivot import Cell, Pivot, check_keys, default_keys, pivot


def _only_column(made: Pivot) -> dict[object, Cell]:
    (column,) = made.columns
    return {cell.row: cell for cell in made.of_column(column)}


def test_ties_share_the_mean_of_their_places() -> None:
    scores = {"kd": 0.95, "at": 0.93, "sp": 0.93, "rkd": 0.90}
    cells = _only_column(pivot([measured(m, [s]) for m, s in scores.items()], by=["method"]))
    ranks = {row: cell.rank for row, cell in cells.items()}
    assert ranks == {("kd",): 1.0, ("at",): 2.5, ("sp",): 2.5, ("rkd",): 4.0}


def test_of_a_cost_the_smallest_is_first() -> None:
    results = [measured("kd", [3.0], higher_is_better=False, metric="test/loss")]
    results += [measured("at", [2.0], higher_is_better=False, metric="test/loss")]
    cells = _only_column(pivot(results, by=["method"]))
    assert cells[("at",)].rank == 1


def test_a_metric_without_a_better_side_is_not_ranked() -> None:
    results = [measured(m, [1.0], higher_is_better=None) for m in ("kd", "at")]
    assert all(c.rank is None for c in _only_column(pivot(results, by=["method"])).values())


def test_mean_ranks_count_the_columns_that_rank_the_row() -> None:
    results = [measured("kd", [0.9]), measured("at", [0.8])]
    results += [
        measured("kd", [0.7], dataset="cifar100"),
        measured("at", [0.8], dataset="cifar100"),
    ]
    results += [measured("sp", [0.6], dataset="cifar100")]
    made = pivot(results, by=["method"])
    assert made.mean_rank(("kd",)) == (1.5, 2)
    assert made.mean_rank(("sp",)) == (3.0, 1)
    assert made.rows[-1] == ("sp",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train__epochs", 240),
        ("train__lr", 0.1),
        ("train__on", "train+val"),
        ("data__label_noise", 0.4),
        ("data__train_limit", 2000),
    ],
)
def test_another_protocol_is_another_column(key: str, value: object) -> None:
    results = [measured("kd", [0.9]), measured("at", [0.8]), measured("sp", [0.7], **{key: value})]
    made = pivot(results, by=["method"])
    assert [len(made.of_column(column)) for column in made.columns] == [2, 1]


def test_a_key_of_the_rows_splits_no_columns() -> None:
    results = [measured("kd", [0.9], train__epochs=12), measured("kd", [0.95], train__epochs=240)]
    made = pivot(results, by=["method", "train.epochs"])
    assert len(made.columns) == 1
    assert made.rows == (("kd", 240), ("kd", 12))


def test_training_without_a_teacher_stands_beside_every_teacher_of_its_student() -> None:
    results = [measured("kd", [0.9]), measured("kd", [0.91], teacher="wrn_28_10")]
    made = pivot([*results, measured("scratch", [0.8])], by=["method"])
    assert [c.teacher for c in made.columns] == ["wrn_28_10", "wrn_40_2"]
    assert all(("scratch",) in {c.row for c in made.of_column(col)} for col in made.columns)


def test_a_teachers_own_accuracy_stands_with_its_students_and_is_not_ranked() -> None:
    teacher = printed("scratch", 0.97, student="wrn_40_2", role="teacher")
    noisy = printed("scratch", 0.7, student="wrn_40_2", role="teacher", data__label_noise=0.4)
    made = pivot([printed("kd", 0.9), printed("at", 0.8), teacher, noisy], by=["method"])
    students, _ = sorted(made.columns, key=lambda column: column.student)
    cells = {cell.row: cell for cell in made.of_column(students)}
    assert cells[("teacher",)].result == teacher
    assert cells[("teacher",)].rank is None


def test_of_several_measured_configurations_validation_picks_one() -> None:
    lucky = measured("kd", [0.95], temperature=2.0, validation=0.90)
    chosen = measured("kd", [0.93], temperature=4.0, validation=0.94)
    failed = measured("kd", [], temperature=8.0, outcomes={"failed": 5})
    cell = _only_column(pivot([lucky, chosen, failed], by=["method"]))[("kd",)]
    assert cell.result == chosen
    assert cell.chosen_by == "validation"
    assert cell.others == (lucky, failed)


def test_where_validation_is_not_known_none_is_picked() -> None:
    results = [measured("kd", [0.95], temperature=2.0), measured("kd", [0.93], temperature=4.0)]
    cell = _only_column(pivot([*results, measured("at", [0.9])], by=["method"]))[("kd",)]
    assert cell.result is None
    assert cell.others == tuple(results)
    assert cell.rank is None


def test_a_printed_figure_is_never_picked_by_its_value() -> None:
    results = [printed("kd", 0.95, temperature=2.0), printed("kd", 0.93, temperature=4.0)]
    cell = _only_column(pivot(results, by=["method"]))[("kd",)]
    assert cell.result is None


def test_a_figure_that_two_tables_print_is_one_and_keeps_its_deviation() -> None:
    results = [printed("kd", 0.95, None, table="T2"), printed("kd", 0.95, 0.01, table="TD.1")]
    cell = _only_column(pivot(results, by=["method"]))[("kd",)]
    assert cell.result is not None
    assert (cell.result.table, cell.result.std, cell.others) == ("T2, TD.1", 0.01, ())


def test_a_papers_own_figure_counts_before_a_quoted_one() -> None:
    own = printed("kd", 0.95)
    quoted = printed("kd", 0.94, role="quoted")
    cell = _only_column(pivot([quoted, own], by=["method"]))[("kd",)]
    assert (cell.result, cell.others, cell.chosen_by) == (own, (quoted,), "origin")


def test_a_figure_silent_on_its_protocol_joins_the_one_column_that_it_fits() -> None:
    stated = printed("kd", 0.95, train__epochs=240, train__lr=0.1)
    silent = printed("one", 0.94)
    assert len(pivot([stated, silent], by=["method"]).columns) == 1
    longer = printed("kd", 0.96, train__epochs=960, train__lr=0.1)
    assert len(pivot([stated, silent, longer], by=["method"]).columns) == 3


def test_papers_do_not_share_columns() -> None:
    results = [printed("kd", 0.95), printed("kd", 0.94, paper="wang2020")]
    assert [c.paper for c in pivot(results, by=["method"]).columns] == ["sarfraz2020", "wang2020"]


def test_rows_tell_apart_what_differs_by_default() -> None:
    results = [measured("kd", [0.9], augment="cutmix"), measured("kd", [0.9], augment="none")]
    assert default_keys(results, split=False) == ("method", "augment")
    assert default_keys(results[:1], split=False) == ("method",)
    figures = [printed("kd", 0.9, temperature=t, alpha=0.9) for t in (1.0, 4.0)]
    assert default_keys(figures, split=True) == ("method", "temperature")


def test_keys_of_rows_are_checked() -> None:
    results = [measured("kd", [0.9], temperature=4.0)]
    check_keys(["method", "temperature"], results)
    with pytest.raises(ValueError, match="'temprature'; did you mean 'temperature'"):
        check_keys(["temprature"], results)
    with pytest.raises(ValueError, match="'student' makes the columns"):
        check_keys(["student"], results)
    with pytest.raises(ValueError, match="once, got 'method' twice"):
        check_keys(["method", "method"], results)
