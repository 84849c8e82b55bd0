"""Cells beside what was measured for them."""

import pytest

from kdtune.contracts import Scalar
from kdtune.search.reproduction_plan import Changes, Plan, plan_runs
from kdtune.search.reproduction_results import Reproduced, reproduced
from kdtune.tracking import canonical_params
from kdtune.tracking.record import Point, RunRecord


def _plan(target: str, cells: str, **changes: object) -> Plan:
    return plan_runs(target, cells=[cells], changes=Changes(**changes), look=False)  # type: ignore[arg-type]


def _records(plan: Plan, *values: float) -> dict[int, list[RunRecord]]:
    """Runs of the first cell that score so, seed by seed."""
    found = [
        RunRecord(
            key=f"r{place}",
            name="",
            params=canonical_params(run.config.flat()),
            tags={"kind": "reproduction", "outcome": "finished"},
            history={"test/accuracy": [Point(1, value, 0)]},
            started_ms=place,
        )
        for place, (run, value) in enumerate(zip(plan.runs, values, strict=False))
    ]
    return {plan.cells[0].number: found}


def _one(plan: Plan, *values: float) -> Reproduced:
    (cell,) = reproduced(plan, _records(plan, *values))
    return cell


def test_a_cell_under_its_protocol_is_comparable() -> None:
    cell = _one(_plan("cho2019:T6", "7"), 0.92, 0.924, 0.922, 0.926, 0.918)
    assert cell.apart == ()
    assert cell.printed.mean == pytest.approx(0.9232)
    assert cell.difference == pytest.approx(-0.0012)
    assert cell.spread == pytest.approx((0.0026**2 + 0.00316228**2) ** 0.5, rel=1e-4)
    assert cell.within is True


def test_a_difference_beyond_the_spread_is_told() -> None:
    assert _one(_plan("cho2019:T6", "7"), 0.90, 0.901).within is False


def test_without_a_printed_deviation_nothing_is_said_of_the_spread() -> None:
    cell = _one(_plan("cho2019:T6", "5"), 0.94, 0.95)
    assert (cell.spread, cell.within) == (None, None)
    assert cell.row()["comparable"] is True


def test_an_error_is_compared_as_an_accuracy() -> None:
    cell = _one(_plan("cho2019:T6", "5"), 0.95)
    assert cell.row()["printed"] == pytest.approx(0.9466)
    assert cell.row()["metric"] == "test/accuracy"


def _differences(cell: Reproduced) -> dict[str, tuple[Scalar, Scalar]]:
    return {each.key: (each.measured, each.printed) for each in cell.apart}


def test_what_the_paper_is_silent_on_is_as_in_its_protocol() -> None:
    """park2020 prints no epochs and no rate: a change of them is a difference all the same."""
    plan = _plan("park2020:T1", "1", epochs_scale=0.5, settings=("train.lr=0.2",))
    found = _differences(_one(plan, 0.7))
    assert found == {"train.epochs": (80, 160), "train.lr": (0.2, 0.1)}


def test_an_epoch_that_is_not_printed_is_no_difference_unless_it_is_changed() -> None:
    """cho2019 does not print where ESKD stops."""
    given = {"dataset": "digits", "teacher": "resnet8", "student": "resnet8x0.25"}
    plan = _plan("cho2019:T8", "20", **given)
    assert _differences(_one(plan, 0.7)) == {
        "dataset": ("digits", "imagenet"),
        "teacher": ("resnet8", "torchvision:resnet34"),
        "student": ("resnet8x0.25", "torchvision:resnet18"),
    }
    plan = _plan("cho2019:T8", "20", **given, settings=("method.stop_epoch=7",))
    assert _differences(_one(plan, 0.7))["method.stop_epoch"] == (7, 30)


def test_a_teacher_picked_on_test_is_not_compared_with_one_that_was_not() -> None:
    assert "chosen on" in _differences(_one(_plan("sarfraz2020:T2", "1"), 0.9))


def test_a_cell_that_was_not_run_has_no_row() -> None:
    plan = _plan("cho2019:T6", "5,7")
    assert [cell.cell.number for cell in reproduced(plan, _records(plan, 0.9))] == [5]
