"""What all samplers share, and the two that need no model."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.tune.search import ConcurrencyLimiter

from kdtune.search.samplers import GridSampler, RandomSampler, StudyCallback, make_sampler
from kdtune.search.space import Arm, Choice, Float, Recipe, Space

ALL = ("random", "grid", "tpe", "cmaes", "gp", "nsga2")


@pytest.fixture
def space() -> Space:
    values = {"method": "kd", "augment": "none", "temperature": 4, "alpha": 0.9}
    return Space(
        name="toy",
        summary="Two arms.",
        fixed={"train.epochs": 9},
        axes={"augment": Choice(("none", "mixup"))},
        arms=(
            Arm(
                method="kd",
                axes={"temperature": Float(1, 16, log=True), "alpha": Float(0, 1)},
            ),
            Arm(method="at", axes={"method.beta": Float(10, 1000, log=True)}),
        ),
        recipes=(Recipe(name="r1", source="a paper", values=values),),
    )


def sequence(sampler: Any, trials: int) -> list[dict[str, Any]]:
    """Suggestions of a search that runs one trial at a time."""
    configs = []
    for i in range(trials):
        config = sampler.suggest(f"t{i}")
        if not isinstance(config, dict):
            break
        configs.append(config)
        value = float(config.get("alpha", 0.5))
        report = {"val/accuracy": value, "training_iteration": 1, "finished": 1}
        sampler.on_trial_complete(f"t{i}", report)
    return configs


@pytest.mark.parametrize("name", ALL)
def test_recipes_come_first_and_every_configuration_is_complete(name: str, space: Space) -> None:
    configs = sequence(make_sampler(name, space), 12)
    assert len(configs) == 12
    assert configs[0] == {
        "train.epochs": 9,
        "method": "kd",
        "augment": "none",
        "temperature": 4.0,
        "alpha": 0.9,
    }
    for config in configs:
        active = set(space.active(config["method"]))
        assert set(config) == active | {"method", "train.epochs"}


@pytest.mark.parametrize("name", [name for name in ALL if name != "cmaes"])
def test_a_sampler_takes_several_objectives(name: str, space: Space) -> None:
    metric, mode = ["val/accuracy", "student/params"], ["max", "min"]
    sampler = make_sampler(name, space, metric=metric, mode=mode)  # type: ignore[arg-type]
    assert [str(goal) for goal in sampler.objectives] == ["val/accuracy:max", "student/params:min"]
    assert len(sequence(sampler, 5)) == 5
    assert not sampler.set_search_properties("val/accuracy", "max", {})


@pytest.mark.parametrize("name", ALL)
def test_the_seed_fixes_the_sequence(name: str, space: Space) -> None:
    first = sequence(make_sampler(name, space, seed=1), 14)
    assert first == sequence(make_sampler(name, space, seed=1), 14)
    assert first[1:] != sequence(make_sampler(name, space, seed=2), 14)[1:]


@pytest.mark.parametrize("name", ALL)
def test_a_saved_sampler_continues_its_sequence(name: str, space: Space, tmp_path: Path) -> None:
    whole = sequence(make_sampler(name, space), 14)
    sampler = make_sampler(name, space)
    assert sequence(sampler, 7) == whole[:7]
    sampler.save(str(tmp_path / "state"))
    restored = make_sampler(name, space)
    restored.restore(str(tmp_path / "state"))
    for continued in (restored, pickle.loads(pickle.dumps(sampler))):
        assert sequence(continued, 7) == whole[7:]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("ordered", [True, False])
def test_no_more_trials_live_than_allowed(name: str, ordered: bool, space: Space) -> None:
    sampler = make_sampler(name, space, max_concurrent=2, ordered=ordered)
    assert isinstance(sampler.suggest("a"), dict)
    assert isinstance(sampler.suggest("b"), dict)
    assert sampler.suggest("c") is None
    assert set(sampler.open_trials) == {"a", "b"}
    sampler.on_trial_complete("a", error=True)
    sampler.on_trial_complete("b", error=True)
    assert isinstance(sampler.suggest("c"), dict)


@pytest.mark.parametrize("name", ALL)
def test_tunes_own_limit_takes_the_samplers_place(name: str, space: Space) -> None:
    limited = ConcurrencyLimiter(make_sampler(name, space, max_concurrent=1), 3)
    assert [limited.suggest(i) is not None for i in "abcd"] == [True, True, True, False]


def test_random_draws_depend_on_their_place_alone(space: Space) -> None:
    sampler = RandomSampler(space, seed=5)
    assert sampler.proposal(7) == RandomSampler(space, seed=5).proposal(7)
    assert sampler.proposal(7) != sampler.proposal(8)


def test_a_grid_runs_every_point_once_then_ends(space: Space) -> None:
    sampler = GridSampler(space, levels=2, max_concurrent=1)
    configs = sequence(sampler, 99)
    assert len(configs) == sampler.total == 1 + 2 * 4 + 2 * 2
    assert len({str(sorted(config.items())) for config in configs}) == len(configs)
    assert sampler.suggest("last") == sampler.FINISHED


def test_a_recipe_on_the_grid_runs_once() -> None:
    space = Space(
        name="toy",
        summary="",
        arms=(Arm(method="kd", axes={"alpha": Choice((0.1, 0.9))}),),
        recipes=(Recipe(name="r", source="", values={"alpha": 0.9}),),
    )
    assert [c["alpha"] for c in sequence(GridSampler(space), 9)] == [0.9, 0.1]


def test_names_and_settings_are_checked(space: Space) -> None:
    with pytest.raises(ValueError, match="did you mean 'tpe'"):
        make_sampler("tpee", space)
    with pytest.raises(ValueError, match="max_concurrent must be >= 1, got 0"):
        make_sampler("tpe", space, max_concurrent=0)
    with pytest.raises(ValueError, match="mode must be 'max' or 'min', got 'up'"):
        make_sampler("tpe", space, mode="up")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"each metric needs a mode, got \['a', 'b'\] and \['max'\]"
    ):
        make_sampler("tpe", space, metric=["a", "b"])
    with pytest.raises(ValueError, match="each objective is given once"):
        make_sampler("tpe", space, metric=["a", "a"], mode=["max", "min"])
    sampler = make_sampler("tpe", space)
    assert not sampler.set_search_properties("val/accuracy", "max", {})
    with pytest.raises(ValueError, match="metric is 'val/accuracy' and Tune's is 'loss'"):
        sampler.set_search_properties("loss", None, {})


def test_the_callback_closes_trials_that_tune_forgot(space: Space) -> None:
    sampler = make_sampler("tpe", space, max_concurrent=3)
    for name in "abc":
        sampler.suggest(name)
    trials: list[Any] = [
        SimpleNamespace(trial_id="a", status="ERROR"),
        SimpleNamespace(trial_id="b", status="RUNNING"),
    ]
    callback = StudyCallback(sampler)
    callback.on_step_end(0, trials)
    assert set(sampler.open_trials) == {"b", "c"}
    callback.on_experiment_end(trials)
    assert not sampler.open_trials


@pytest.mark.parametrize("name", ALL)
def test_sampler_and_callback_stay_one_through_tunes_pickling(name: str, space: Space) -> None:
    sampler = make_sampler(name, space)
    sampler.suggest("a")
    copied, callback = cloudpickle.loads(cloudpickle.dumps((sampler, StudyCallback(sampler))))
    assert callback.sampler is copied
    assert set(copied.open_trials) == {"a"}
