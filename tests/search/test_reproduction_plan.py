"""Cells become a fixed list of runs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdtune.search.reproduction_plan import Changes, Plan, plan_runs, scaled

DIGITS = Changes(dataset="digits", teacher="resnet8", student="resnet8x0.25")


def _plan(target: str, cells: str = "", changes: Changes = DIGITS) -> Plan:
    return plan_runs(target, cells=[cells] if cells else [], changes=changes, look=False)


def test_cells_of_one_configuration_share_their_runs() -> None:
    plan = _plan("cho2019:T6", "1,8", Changes())
    assert [cell.number for cell in plan.cells] == [1, 8]
    assert len(plan.runs) == 5
    assert all([cell.number for cell in run.cells] == [1, 8] for run in plan.runs)


def test_the_number_of_runs_is_the_papers_or_three() -> None:
    assert {cell.seeds for cell in _plan("cho2019:T6", "1", Changes()).cells} == {5}
    assert {cell.seeds for cell in _plan("wang2020:T1", "2", Changes()).cells} == {3}
    assert {cell.seeds for cell in _plan("wang2020:T1", "2", Changes(seeds=7)).cells} == {7}


def test_all_cells_get_one_seed_before_any_gets_the_next() -> None:
    plan = _plan("cho2019:T6", "5,7", Changes(seeds=2, seed=4))
    assert [(run.cells[0].number, run.config.seed) for run in plan.runs] == [
        (5, 4),
        (7, 4),
        (5, 5),
        (7, 5),
    ]


def test_every_run_is_tested_at_its_end_and_every_teacher_is_trained_once() -> None:
    plan = _plan("cho2019:T6", "", Changes())
    assert {run.config.role for run in plan.runs} == {"finalist"}
    assert sorted(teacher.student for teacher in plan.teachers) == ["wrn_16_3", "wrn_16_8"]
    assert {teacher.role for teacher in plan.teachers} == {"teacher"}


def test_a_teachers_own_cell_is_trained_as_the_teacher() -> None:
    changes = Changes(dataset="folder:images", settings=("teacher.lr=0.02",), epochs_scale=0.5)
    with pytest.raises(FileNotFoundError):  # The data are read, as their size is unknown.
        _plan("chandrasegaran2022:T2", "3", changes)
    (cell,) = _plan("wang2020:T1", "1", Changes(settings=("teacher.lr=0.02",))).cells
    assert cell.config is not None
    assert (cell.config.student, cell.config.method) == ("wrn_40_2", "scratch")
    assert cell.config.train.lr == 0.02


def test_what_cannot_be_run_is_listed_with_the_reason() -> None:
    plan = _plan("cho2019:T6", "", Changes())
    assert list(plan.left_out().values()) == [[3, 6, 9], [4]]
    assert plan.target == "cho2019:T6"
    assert (plan.paper, plan.table) == ("cho2019", "T6")


def test_a_table_of_which_nothing_can_be_run_is_refused_with_the_reasons() -> None:
    with pytest.raises(ValueError, match=r"cells 1-7: needs imagenet: give --dataset"):
        _plan("cho2019:T1", "", Changes())


def test_another_dataset_takes_the_place_of_all() -> None:
    plan = _plan("sarfraz2020:T2", "1,3")
    assert {run.config.dataset for run in plan.runs} == {"digits"}


def test_a_dataset_of_the_same_name_stands_for_its_namesake_alone(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in range(4):
            folder = tmp_path / "cifar10" / split / str(label)
            folder.mkdir(parents=True)
            pixels = np.full((8, 8, 3), 40 * label, dtype=np.uint8)
            pixels[:label] += 9
            for number in range(8):
                Image.fromarray(pixels + number).save(folder / f"{number}.png")
    here = f"folder:{tmp_path}/cifar10"
    plan = _plan("sarfraz2020:T2", "1,3", Changes(dataset=here, student="resnet8"))
    assert [cell.config.dataset for cell in plan.cells if cell.config] == [here, "cifar100"]


def test_networks_can_be_replaced_where_there_are_such() -> None:
    plan = _plan("sarfraz2020:T3", "1,9")
    found = [(run.config.teacher, run.config.student) for run in plan.runs[:2]]
    assert found[0] == (None, "resnet8x0.25")
    assert found[1][0] is not None
    assert found[1][0].model == "resnet8"


def test_settings_reach_the_runs_whose_method_knows_them() -> None:
    changes = Changes(settings=("method.beta=10", "train.lr=0.05", "teacher.seed=3"))
    plan = _plan("sarfraz2020:T3", "1,9,41", changes)
    lrs = {run.config.train.lr for run in plan.runs}
    betas = [run.config.flat().get("method.beta") for run in plan.runs[:3]]
    assert lrs == {0.05}
    assert betas == [None, None, 10.0]
    assert {teacher.seed for teacher in plan.teachers} == {3}


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("method=at", "does not take 'method'"),
        ("role=trial", "does not take 'role'"),
        ("seed=3", "does not take 'seed'"),
        ("train.lrr=1", r"unknown key 'train.lrr'.*did you mean 'train.lr'"),
        ("train.lr=fast", "train.lr must be a valid number"),
        ("train.lr", "KEY=VALUE"),
        ("method.beta=3", "'method.beta' means nothing to the chosen cells"),
        ("train.lr=-1", r"cell 1: train.lr must be greater than 0, got -1.0"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        _plan("sarfraz2020:T3", "1", Changes(settings=(setting,)))


def test_networks_that_a_method_cannot_use_are_told_before_any_work() -> None:
    changes = Changes(teacher="wrn_16_2", student="wrn_16_1")
    plan = _plan("sarfraz2020:T3", "9,33", changes)
    kd, fsp = plan.cells
    assert kd.config is not None
    assert fsp.config is None
    assert "channels" in fsp.reason


def test_what_was_refused_once_is_refused_for_every_cell() -> None:
    changes = Changes(teacher="wrn_16_2", student="wrn_16_1")
    plan = _plan("sarfraz2020:T3", "9,33-36", changes)
    assert [cell.number for cell in plan.cells if cell.reason] == [33, 34, 35, 36]


def test_all_numbers_of_epochs_scale() -> None:
    (cell,) = _plan("wang2020:T1", "7", Changes(epochs_scale=0.1)).cells
    assert cell.config is not None
    assert cell.config.teacher is not None
    assert cell.config.train.epochs == 24
    assert (cell.config.teacher.epochs, cell.config.teacher.full_epochs) == (24, 24)
    assert cell.config.train.milestones == "0.625,0.75,0.875"
    assert cell.protocol["train.epochs"] == 240


def test_what_stops_early_still_does_when_it_is_scaled() -> None:
    early = {"teacher_epochs": 80, "teacher.full_epochs": 90, "train.epochs": 90}
    found = scaled({**early, "method.stop_epoch": 80}, 0.06)
    assert found == {
        "teacher_epochs": 4,
        "teacher.full_epochs": 5,
        "train.epochs": 5,
        "method.stop_epoch": 4,
    }
    assert scaled(early, 1.0) == early


@pytest.mark.parametrize("changes", [Changes(teacher="wrn_16_"), Changes(student="wrn_16_")])
def test_a_misspelt_network_is_refused_though_other_cells_need_none(changes: Changes) -> None:
    with pytest.raises(ValueError, match=r"^unknown model 'wrn_16_'; did you mean 'wrn_16_"):
        _plan("cho2019:T6", "", changes)


def test_a_scale_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"less than 2 of the 35 epochs of teacher_epochs"):
        scaled({"teacher_epochs": 35, "teacher.full_epochs": 200}, 0.02)
