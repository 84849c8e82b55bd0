"""The declarative search space and the ones that ship."""

import pickle
from collections.abc import Mapping

import numpy as np
import optuna
import pytest
from ray.tune.search.variant_generator import generate_variants

from kdtune.contracts import Scalar
from kdtune.search.space import Arm, Choice, Float, Int, Recipe, Space, load, names


def two_arms(**changes: object) -> Space:
    settings: dict[str, object] = {
        "name": "toy",
        "summary": "Two arms.",
        "fixed": {"train.epochs": 9},
        "axes": {"augment": Choice(("none", "mixup")), "teacher_epochs": Int(1, 3)},
        "arms": (
            Arm(
                method="kd",
                axes={"temperature": Float(1, 16, log=True), "alpha": Float(0, 1)},
                fixed={"method.note": "soft"},
            ),
            Arm(method="at", axes={"method.beta": Float(10, 1000, log=True)}),
        ),
        "recipes": (recipe(), recipe(name="r2", augment="mixup")),
    }
    return Space(**(settings | changes))  # type: ignore[arg-type]


def recipe(name: str = "r1", **changes: Scalar) -> Recipe:
    values: dict[str, Scalar] = {
        "method": "kd",
        "temperature": 4,
        "alpha": 0.9,
        "augment": "none",
        "teacher_epochs": 2,
    }
    return Recipe(name=name, source="a paper", values=values | changes)


def active_keys(config: Mapping[str, Scalar]) -> set[str]:
    return {key for key, value in config.items() if value is not None}


SHARED = {"train.epochs", "method", "augment", "teacher_epochs"}
BY_METHOD = {
    "kd": SHARED | {"temperature", "alpha", "method.note"},
    "at": SHARED | {"method.beta"},
}


def test_random_samples_hold_exactly_the_keys_of_their_arm() -> None:
    space, rng = two_arms(), np.random.default_rng(0)
    configs = [space.sample(rng) for _ in range(50)]
    assert {str(config["method"]) for config in configs} == {"kd", "at"}
    assert all(set(config) == BY_METHOD[str(config["method"])] for config in configs)
    rng = np.random.default_rng(0)
    assert configs == [space.sample(rng) for _ in range(50)]


def test_optuna_is_asked_for_active_axes_only() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        config = two_arms().suggest(trial)
        assert set(config) == BY_METHOD[str(config["method"])]
        own = set(config) - {"train.epochs", "method", "method.note"}
        assert set(trial.params) == own | {"arm"}


def test_tune_draws_inactive_keys_as_none_and_all_others_from_its_seed() -> None:
    def draw(seed: int) -> list[dict[str, Scalar]]:
        rng = np.random.default_rng(seed)
        space = {"config": two_arms().param_space()}
        return [
            spec["config"] for _ in range(40) for _, spec in generate_variants(space, False, rng)
        ]

    configs = draw(0)
    assert configs == draw(0) != draw(1)
    assert all(active_keys(config) == BY_METHOD[str(config["method"])] for config in configs)
    soft = {config["temperature"] for config in configs if config["method"] == "kd"}
    assert len(soft) == sum(config["method"] == "kd" for config in configs) > 5


def test_a_single_arm_needs_no_choice_of_method() -> None:
    space = two_arms().with_overrides({"method": "at"})
    assert space.param_space()["method"] == "at"
    assert set(space.param_space()) == BY_METHOD["at"]
    assert "method" not in {key for point in space.points_to_evaluate() for key in point}


def test_a_grid_covers_every_arm() -> None:
    points = list(two_arms().grid(2))
    assert len(points) == 2 * 2 * (2 * 2) + 2 * 2 * 2
    assert all(set(point) == BY_METHOD[str(point["method"])] for point in points)


def test_recipes_are_flat_points_in_the_types_of_their_axes() -> None:
    space = two_arms()
    point = space.points_to_evaluate()[0]
    axes = {key: value for key, value in recipe().values.items() if key != "method"}
    assert point == {"arm": "kd", **axes}
    assert isinstance(point["temperature"], float)
    assert set(space.recipe_config(space.recipes[0])) == BY_METHOD["kd"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": (recipe(temperature=99),)}, "temperature must lie in 1.0 .. 16.0, got 99"),
        ({"recipes": (recipe(method="kdd"),)}, "did you mean 'kd'"),
        ({"recipes": (recipe(method=None),)}, "must name its arm: arm= one of kd, at"),
        ({"recipes": (recipe(alpa=1.0),)}, "did you mean 'alpha'"),
        ({"recipes": (recipe(), recipe())}, "each recipe .* 'r1' twice"),
        (
            {"recipes": (Recipe(name="r", source="", values={"method": "at"}),)},
            r"add \['augment', 'teacher_epochs', 'method.beta'\]",
        ),
        ({"fixed": {"augment": "none"}}, "each key .* 'augment' twice"),
        ({"arms": (Arm(method="kd", axes={"augment": Choice((1,))}),)}, "each key .* 'augment' t"),
        ({"fixed": {"method": "kd"}}, "'method' is what the arms are for"),
        ({"fixed": {"arm": "kd"}}, "'arm' is what the arms are for"),
        ({"fixed": {"train.epochs": [9]}}, "JSON scalar"),
        ({"arms": ()}, "at least one arm"),
        ({"arms": (Arm(method="kd"), Arm(method="kd"))}, "each arm .* 'kd' twice"),
    ],
)
def test_a_space_that_contradicts_itself_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        two_arms(**changes)


def test_an_override_fixes_an_axis_and_drops_the_recipes_that_say_otherwise() -> None:
    space = two_arms().with_overrides({"augment": "mixup", "alpha": np.float64(0.9), "seed": 3})
    assert "augment" not in space.axes
    assert space.fixed == {"train.epochs": 9, "augment": "mixup", "seed": 3}
    assert space.arms[0].fixed == {"method.note": "soft", "alpha": 0.9}
    assert [r.name for r in space.recipes] == ["r2"]
    assert [r.name for r in space.dropped] == ["r1"]
    assert space.points_to_evaluate() == [{"arm": "kd", "temperature": 4.0, "teacher_epochs": 2}]
    assert (
        space.recipe_config(space.recipes[0]).items()
        >= recipe("r2", augment="mixup").values.items()
    )
    assert [r.name for r in space.with_overrides({"alpha": 0.1}).dropped] == ["r1", "r2"]


def test_an_override_of_the_method_keeps_one_arm() -> None:
    assert two_arms().with_overrides({"method": "at"}).methods() == ["at"]
    assert len(two_arms().with_overrides({"method": "at"}).dropped) == 2
    with pytest.raises(ValueError, match="no arm for method 'scratch'"):
        two_arms().with_overrides({"method": "scratch"})


def test_finite_keys_list_their_values() -> None:
    space = two_arms()
    assert space.values("teacher_epochs") == (1, 2, 3)
    assert space.values("train.epochs") == (9,)
    assert space.values("method") == ("kd", "at")
    with pytest.raises(ValueError, match="'alpha' of space 'toy' is continuous"):
        space.values("alpha")
    with pytest.raises(ValueError, match="did you mean 'augment'"):
        space.values("augmnt")


def test_the_table_names_every_key_once() -> None:
    rows = two_arms().table()
    assert sorted({"method", *(row.key for row in rows)} - {"arm"}) == two_arms().keys()
    assert len({row.key for row in rows}) == len(rows)
    assert ("temperature", "log float", "1.0 .. 16.0", "kd") in rows


def test_a_space_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(two_arms())) == two_arms()


def test_unknown_spaces_are_refused_with_the_nearest_name() -> None:
    assert {"quickstart", "joint"} <= set(names())
    with pytest.raises(ValueError, match="did you mean 'quickstart'"):
        load("quickstrat")


@pytest.mark.parametrize("name", ["quickstart", "joint"])
def test_the_general_spaces_search_all_six_axes(name: str) -> None:
    space = load(name)
    assert {
        *("temperature", "alpha", "label_smoothing", "teacher_epochs", "augment", "prune_ratio")
    } <= set(space.active("kd"))
    assert space.values("label_smoothing")
    assert max(space.values("teacher_epochs")) == space.fixed["teacher.full_epochs"]  # type: ignore[type-var]


@pytest.mark.parametrize("name", names())
def test_what_tune_draws_from_a_shipped_space_is_a_valid_configuration(name: str) -> None:
    config = pytest.importorskip("kdtune.config")
    rng, spec = np.random.default_rng(0), {"config": load(name).param_space()}
    for _ in range(40):
        for _, drawn in generate_variants(spec, False, rng):
            assert config.parse(drawn["config"]).method == drawn["config"]["method"]


def test_arms_can_be_left_out_with_their_recipes() -> None:
    space = load("joint").without_arms(["fsp", "dml"])
    assert {"fsp", "dml"}.isdisjoint(space.arm_names)
    assert {"fsp", "dml"}.isdisjoint(recipe.arm for recipe in space.recipes)
    with pytest.raises(ValueError, match=r"no arm 'fps'.*did you mean 'fsp'"):
        load("joint").without_arms(["fps"])
    with pytest.raises(ValueError, match="at least one arm"):
        load("quickstart").without_arms(["kd"])
