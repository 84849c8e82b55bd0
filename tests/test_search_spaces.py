"""Every space that ships: each arm's configurations parse, and one step of each arm runs."""

from pathlib import Path

import numpy as np
import pytest

from kdtune.config import parse
from kdtune.contracts import FlatConfig, Scalar
from kdtune.objectives import OBJECTIVES
from kdtune.search.space import Space, load, names
from kdtune.training.trial import Trial

SAMPLES = 20
ON_DIGITS: dict[str, Scalar] = {
    "dataset": "digits",
    "data.train_limit": 40,
    "student": "resnet8x0.25",
    "train.batch_size": 20,
    "train.epochs": 2,
    "train.schedule": "step",
    "train.milestones": "0.5",
    "train.device": "cpu",
}
TAUGHT: dict[str, Scalar] = {
    "teacher": "resnet14x0.25",
    "teacher_epochs": 1,
    "teacher.full_epochs": 1,
    "teacher.augment": "standard",
}
ARMS = [(name, arm.name) for name in names() for arm in load(name).arms]


def _space(name: str) -> Space:
    space = load(name)
    return space if "dataset" in space.fixed else space.with_overrides({"dataset": "digits"})


def _samples(space: Space, arm: str) -> list[dict[str, Scalar]]:
    draws = np.random.default_rng(0)
    narrow = space.with_overrides({"arm": arm}) if len(space.arms) > 1 else space
    return [narrow.sample(draws) for _ in range(SAMPLES)]


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_what_an_arm_draws_is_a_configuration_without_idle_keys(name: str, arm: str) -> None:
    space = _space(name)
    for flat in _samples(space, arm):
        canonical = parse(flat).flat()
        idle = set(space.active(arm)) - set(canonical)
        assert {key for key in idle if flat.get("prune_ratio") != 0} == set()


@pytest.mark.parametrize("name", names())
def test_the_published_recipes_are_configurations(name: str) -> None:
    space = _space(name)
    for recipe in space.recipes:
        parse(space.recipe_config(recipe))


def _small(flat: FlatConfig, folder: Path) -> dict[str, Scalar]:
    """The same configuration on a few digits, its six axes and its method as they are."""
    small = {**flat, **ON_DIGITS, "teacher.store": str(folder)}
    small.pop("train.lr_factor", None)
    if OBJECTIVES.get(str(flat["method"]))().traits.teacher:
        small |= TAUGHT
    if "method.stop_epoch" in small:
        small["method.stop_epoch"] = 1
    if "method.blocks" in small:
        small["method.blocks"] = 3
    return small


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teachers")


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_one_epoch_of_an_arm_runs_on_the_digits(name: str, arm: str, store: Path) -> None:
    flat = _samples(_space(name), arm)[0]
    trial = Trial(parse(_small(flat, store)))
    metrics = trial.next_epoch()
    assert metrics["diverged"] == 0
    assert 0 <= metrics["val/accuracy"] <= 1


def test_the_joint_space_has_every_method() -> None:
    assert set(load("joint").methods()) == set(OBJECTIVES.names())
