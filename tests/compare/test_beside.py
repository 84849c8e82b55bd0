"""Printed figures beside measured ones, and what keeps them from being compared."""

import math

import pytest
from made_results import measured, printed

from kdtune.compare.beside import Beside, besides, unplaced
from kdtune.compare.comparable import Difference, differences
from kdtune.compare.pivot import pivot
from kdtune.compare.result import Result

METHOD = ("method",)


def _pairs(
    ours: list[Result], theirs: list[Result], by: tuple[str, ...] = METHOD
) -> tuple[Beside, ...]:
    return besides(pivot(ours, by=by), pivot(theirs, by=by))


def test_the_spread_joins_both_deviations() -> None:
    ours = measured("kd", [0.90, 0.96])  # deviation 0.06 / sqrt(2)
    (pair,) = _pairs([ours], [printed("kd", 0.97, 0.01)])
    assert pair.difference == pytest.approx(-0.04)
    assert pair.spread == pytest.approx(math.sqrt(0.06**2 / 2 + 0.01**2))
    assert pair.within is True
    (pair,) = _pairs([ours], [printed("kd", 0.99, 0.01)])
    assert pair.within is False


def test_without_a_deviation_on_either_side_nothing_is_said() -> None:
    for ours, theirs in (
        (measured("kd", [0.90]), printed("kd", 0.90, 0.01)),
        (measured("kd", [0.90, 0.91]), printed("kd", 0.90)),
    ):
        (pair,) = _pairs([ours], [theirs])
        assert (pair.spread, pair.within) == (None, None)


def test_what_is_not_comparable_has_no_verdict_but_its_reasons() -> None:
    ours = measured("kd", [0.90, 0.91], train__epochs=12, temperature=4.0)
    (pair,) = _pairs([ours], [printed("kd", 0.905, 0.01, train__epochs=240, temperature=4)])
    assert pair.apart == (Difference("train.epochs", 12, 240),)
    assert not pair.comparable
    assert pair.within is None


@pytest.mark.parametrize(
    ("here", "there", "apart"),
    [
        ({"temperature": 4.0}, {"temperature": 4}, []),
        ({"train__lr": 0.1}, {}, []),
        ({}, {"temperature": 4.0}, ["temperature"]),
        ({"augment": "cutmix"}, {"augment": "standard"}, ["augment"]),
        ({"data__label_noise": 0.4}, {}, ["data.label_noise"]),
        ({"data__label_noise": 0.0}, {}, []),
        ({"data__train_limit": 2000}, {}, ["data.train_limit"]),
        ({"prune_ratio": 0.5}, {"prune_ratio": 0.5}, []),
        ({"prune_ratio": 0.5}, {}, ["prune_ratio"]),
        ({}, {"generation": 5}, ["generation"]),
        ({}, {"selection": "test"}, ["chosen on"]),
        ({}, {"selection": "last epoch"}, []),
        ({"method__stop_epoch": 5}, {"method__stop_epoch": "unstated"}, []),
        ({"temperature": 4.0}, {"temperature": "unstated_between_1_and_2"}, ["temperature"]),
        ({"method__label_smoothing": 0.1}, {}, ["method.label_smoothing"]),
        ({"init": "students/imagenet"}, {}, ["init"]),
        ({"augment": "standard"}, {}, []),
        ({"augment": "cutmix"}, {}, ["augment"]),
        ({"teacher__augment": "cutmix"}, {}, ["teacher.augment"]),
        ({"teacher_epochs": 35, "teacher__full_epochs": 200}, {}, ["teacher_epochs"]),
        ({"teacher_epochs": 200, "teacher__full_epochs": 200}, {}, []),
        ({"method__stop_epoch": 60}, {}, ["method.stop_epoch"]),
    ],
)
def test_only_what_is_stated_can_differ_and_what_nobody_leaves_unsaid(
    here: dict[str, object], there: dict[str, object], apart: list[str]
) -> None:
    found = differences(measured("kd", [0.9], **here), printed("kd", 0.9, **there))
    assert [difference.key for difference in found] == apart


def test_when_distillation_stops_early_is_what_the_method_leaves_open() -> None:
    ours = measured("eskd", [0.9], method__stop_epoch=60)
    assert differences(ours, printed("eskd", 0.9)) == ()


def test_a_figure_of_other_networks_or_data_stands_beside_nothing() -> None:
    ours = [measured("kd", [0.9])]
    for other in ({"dataset": "cifar100"}, {"teacher": "wrn_28_10"}, {"student": "wrn_40_1"}):
        assert not _pairs(ours, [printed("kd", 0.9, **other)])


def test_a_figure_stands_beside_the_one_row_that_it_does_not_contradict() -> None:
    by = ("method", "augment")
    plain, mixed = (measured("kd", [0.9], augment=augment) for augment in ("none", "cutmix"))
    silent, stated = printed("kd", 0.91), printed("kd", 0.92, augment="cutmix")
    (pair,) = _pairs([plain], [silent], by)
    assert pair.cell.row == ("kd", "none")
    pairs = _pairs([plain, mixed], [silent, stated], by)
    assert [(pair.cell.row, pair.printed) for pair in pairs] == [(("kd", "cutmix"), stated)]
    assert unplaced(pivot([plain, mixed], by=by), pivot([silent, stated], by=by)) == 1


def test_every_figure_of_a_cell_is_shown_the_closest_first() -> None:
    ours = measured("kd", [0.9], temperature=4.0)
    far, near = (printed("kd", 0.9, temperature=t) for t in (20.0, 4.0))
    assert [pair.printed for pair in _pairs([ours], [far, near])] == [near, far]


def test_training_without_a_teacher_is_compared_with_any_pairs_scratch() -> None:
    ours = [measured("scratch", [0.8]), measured("kd", [0.9])]
    (pair,) = _pairs(ours, [printed("scratch", 0.81)])
    assert pair.cell.row == ("scratch",)
    assert pair.comparable


def test_a_student_measured_alone_has_its_figure_beside_it_once() -> None:
    theirs = [printed("scratch", 0.81)]
    theirs += [printed("kd", 0.9, teacher=teacher) for teacher in ("wrn_40_2", "wrn_28_10")]
    assert len(_pairs([measured("scratch", [0.8])], theirs)) == 1


def test_nothing_stands_beside_a_cell_without_a_figure() -> None:
    several = [measured("kd", [0.9], temperature=t) for t in (1.0, 2.0)]
    assert not _pairs(several, [printed("kd", 0.9)])
