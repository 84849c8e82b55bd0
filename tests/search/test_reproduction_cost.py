"""Steps that are timed before anything is run."""

import pytest

from kdtune.config import TrialConfig, parse
from kdtune.contracts import Scalar
from kdtune.search.reproduction_cost import Shape, estimate, shape_of, stand_in, stretches

SMALL = Shape(classes=4, channels=1, size=8, train=70, val=10)


def _trial(**settings: Scalar) -> TrialConfig:
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    base = {"dataset": "digits", "student": "resnet8x0.125", "method": "scratch"}
    return parse({**base, "train.device": "cpu", "train.epochs": 10, **keys})


@pytest.mark.parametrize(
    ("settings", "train", "val"),
    [
        ({}, 45_000, 5_000),
        ({"data__val_fraction": 0.2}, 40_000, 10_000),
        ({"data__train_limit": 900}, 900, 100),
        ({"data__imbalance": 0.2}, 13_685, 5_000),
    ],
)
def test_the_size_of_cifar10_is_known_without_it(
    settings: dict[str, Scalar], train: int, val: int
) -> None:
    shape = shape_of(_trial(dataset="cifar10", **settings))
    assert shape == Shape(classes=10, channels=3, size=32, train=train, val=val)


def test_other_data_are_read() -> None:
    assert shape_of(_trial()) == Shape(classes=10, channels=1, size=8, train=1078, val=360)


def test_a_stand_in_has_the_shape_that_is_asked_for() -> None:
    dataset = stand_in(SMALL)
    assert (len(dataset.train), len(dataset.val), dataset.classes) == (70, 10, 4)
    assert (dataset.channels, dataset.size) == (1, 8)
    assert set(dataset.train.targets.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [("train", 0, 10)]),
        (
            {"method": "eskd", "train__schedule": "step", "train__milestones": "0.3"},
            [("train", 0, 3), ("train", 3, 7)],
        ),
        ({"method": "fitnet"}, [("warmup", 0, 5), ("train", 5, 10)]),
        ({"prune_ratio": 0.5, "prune__at": 0.8}, [("train", 0, 8), ("finetune", 8, 2)]),
    ],
)
def test_epochs_that_cost_the_same_are_one_stretch(
    settings: dict[str, Scalar], expected: list[tuple[str, int, int]]
) -> None:
    found = [(each.phase.name, each.start, each.epochs) for each in stretches(_trial(**settings))]
    assert found == expected


def test_each_combination_is_timed_once_and_the_longest_run_is_a_floor() -> None:
    told: list[tuple[int, int]] = []
    runs = [_trial(seed=seed) for seed in range(3)] + [_trial(train__epochs=40)]
    found = estimate([], runs, concurrency=2, progress=lambda done, of: told.append((done, of)))
    assert told == [(0, 1)]
    (step,) = found.steps_s
    steps = 17  # of 64 out of 1,078 images; the last two of them are a step
    assert found.epochs == 70
    assert found.runs_s == pytest.approx(max(70 * steps * step / 2, 40 * steps * step))
    assert found.teachers_s == 0


@pytest.mark.parametrize("method", ["kd", "bss", "crd", "dml", "one", "overhaul", "rkd"])
def test_every_kind_of_method_can_be_timed(method: str) -> None:
    taught = {} if method in ("dml", "one") else {"teacher": "resnet8"}
    found = estimate(
        [],
        [_trial(method=method, **taught)],
        concurrency=1,
        progress=lambda done, of: None,
    )
    assert min(found.steps_s) > 0
