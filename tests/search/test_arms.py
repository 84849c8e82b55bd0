"""Arms that share a method, set what others search, and do without what others have."""

import copy
import io
import json
import pickle
from typing import Any

import numpy as np
import optuna
import pytest
from ray.tune.search.variant_generator import generate_variants
from rich.console import Console

from kdtune.config import TEACHER_AXES, parse
from kdtune.contracts import Scalar
from kdtune.search.arms import NO_TEACHER, Arm, Recipe
from kdtune.search.overview import overview
from kdtune.search.space import Choice, Float, Space, load

KD = Arm(method="kd", axes={"temperature": Choice((1.0, 4.0)), "alpha": Float(0.1, 1)})
PICK = Arm(
    method="kd",
    name="kd+pick",
    axes={"augment.criterion": Choice(("kld", "teacher_entropy")), "alpha": Float(0.5, 1)},
    fixed={"augment": "cutmix_pick", "train.epochs": 20, "temperature": 4.0},
)
ALONE = Arm(method="scratch", fixed={"prune_ratio": 0.0}, without=NO_TEACHER)


def three_arms(**changes: object) -> Space:
    settings: dict[str, object] = {
        "name": "toy",
        "summary": "Three arms.",
        "fixed": {"dataset": "digits", "teacher": "resnet14", "train.epochs": 9},
        "axes": {
            "augment": Choice(("none", "mixup")),
            "prune_ratio": Choice((0.0, 0.5)),
            "teacher.lr": Choice((0.1, 0.2)),
        },
        "arms": (KD, PICK, ALONE),
        "recipes": (
            Recipe(
                name="picked",
                source="a paper",
                arm="kd+pick",
                values={
                    **{"alpha": 0.9, "augment.criterion": "kld", "prune_ratio": 0.5},
                    **{"teacher.lr": 0.1, "augment": "cutmix_pick"},
                },
            ),
            Recipe(name="alone", source="a paper", values={"method": "scratch", "augment": "none"}),
        ),
        "tables": ("park2020 T1",),
    }
    return Space(**(settings | changes))  # type: ignore[arg-type]


SHARED = {"dataset", "method", "train.epochs", "augment", "prune_ratio"}
TAUGHT = SHARED | {"teacher", "teacher.lr", "temperature", "alpha"}
KEYS = {"kd": TAUGHT, "kd+pick": TAUGHT | {"augment.criterion"}, "scratch": SHARED}


def arm_of(config: dict[str, Any]) -> str:
    """The arm that a flat configuration can only be of; its keys are checked on the way."""
    arm = "kd+pick" if config["augment"] == "cutmix_pick" else str(config["method"])
    assert {key for key, value in config.items() if value is not None} == KEYS[arm]
    assert config["train.epochs"] == (20 if arm == "kd+pick" else 9)
    assert arm != "scratch" or config["prune_ratio"] == 0.0
    return arm


def test_a_configuration_holds_the_keys_of_its_arm_and_no_name_of_it() -> None:
    rng = np.random.default_rng(0)
    configs = [three_arms().sample(rng) for _ in range(60)]
    assert {arm_of(config) for config in configs} == set(KEYS)
    assert all(parse(config).method == config["method"] for config in configs)
    assert {arm_of(three_arms().sample(rng, "kd+pick")) for _ in range(9)} == {"kd+pick"}
    assert {arm_of(point) for point in three_arms().grid(2)} == set(KEYS)


def test_what_an_arm_sets_or_does_without_is_no_axis_of_it() -> None:
    space = three_arms()
    assert set(space.active("kd")) == {
        *("augment", "prune_ratio", "teacher.lr", "temperature", "alpha")
    }
    assert set(space.active("kd+pick")) == {
        *("prune_ratio", "teacher.lr", "augment.criterion", "alpha")
    }
    assert set(space.active("scratch")) == {"augment"}
    assert space.methods() == ["kd", "scratch"]
    assert space.values("train.epochs") == (9, 20)
    assert space.values("augment") == ("none", "mixup", "cutmix_pick")
    assert space.values("teacher") == ("resnet14",)


def test_nothing_inactive_reaches_optuna_and_an_arm_has_its_axes_to_itself() -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5))
    for _ in range(40):
        trial = study.ask()
        config = three_arms().suggest(trial)
        arm = arm_of(config)
        names = {k: f"{arm}/{k}" if k == "alpha" else k for k in three_arms().active(arm)}
        assert trial.params == {"arm": arm, **{names[key]: config[key] for key in names}}
        study.tell(trial, float(str(config.get("alpha", 0.0))))


def test_recipes_reach_optuna_under_the_names_that_it_is_asked_for() -> None:
    study = optuna.create_study()
    points = three_arms().points_to_evaluate()
    assert points == [
        {
            **{"arm": "kd+pick", "kd+pick/alpha": 0.9, "augment.criterion": "kld"},
            **{"prune_ratio": 0.5, "teacher.lr": 0.1},
        },
        {"arm": "scratch", "augment": "none"},
    ]
    for point, recipe in zip(points, three_arms().recipes, strict=True):
        study.enqueue_trial(point)
        trial = study.ask()
        assert three_arms().suggest(trial) == three_arms().recipe_config(recipe)
        assert trial.params == point


def draw(space: dict[str, Any], seed: int, count: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    spec = {"config": space}
    return [
        found["config"] for _ in range(count) for _, found in generate_variants(spec, False, rng)
    ]


def test_tune_draws_whole_arms() -> None:
    configs = draw(three_arms().param_space(), 0)
    assert configs == draw(three_arms().param_space(), 0) != draw(three_arms().param_space(), 1)
    arms = [arm_of(config) for config in configs]
    assert all(arms.count(arm) > 10 for arm in KEYS)
    for config in configs:
        assert parse(config).method == config["method"]
    picked = [c for c, arm in zip(configs, arms, strict=True) if arm == "kd+pick"]
    assert len({config["alpha"] for config in picked}) == len(picked)
    assert min(config["alpha"] for config in picked) >= 0.5


def test_a_drawn_method_is_a_text_that_may_travel() -> None:
    config = draw(three_arms().param_space(), 0, 1)[0]
    for moved in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config)):
        assert moved == config
        assert moved["method"].arm == config["method"].arm
    assert json.loads(json.dumps(config)) == config


def test_a_method_set_by_hand_means_its_only_arm() -> None:
    alone = draw({**three_arms().param_space(), "method": "scratch"}, 0, 5)
    assert {arm_of(config) for config in alone} == {"scratch"}
    with pytest.raises(ValueError, match="Failed to evaluate") as caught:
        draw({**three_arms().param_space(), "method": "kd"}, 0, 5)
    assert "use param_space(arm=...)" in str(caught.value.__context__)
    by_name = draw(three_arms().param_space(arm="kd+pick"), 0, 5)
    assert {arm_of(config) for config in by_name} == {"kd+pick"}


def test_an_override_keeps_an_arm_or_the_arms_of_a_method() -> None:
    space = three_arms()
    assert space.with_overrides({"arm": "kd+pick"}).arm_names == ["kd+pick"]
    assert [r.name for r in space.with_overrides({"arm": "kd+pick"}).recipes] == ["picked"]
    assert space.with_overrides({"method": "kd"}).arm_names == ["kd", "kd+pick"]
    assert set(space.with_overrides({"method": "scratch"}).keys()) == KEYS["scratch"]
    with pytest.raises(ValueError, match=r"no arm 'kd\+pic'; did you mean 'kd\+pick'"):
        space.with_overrides({"arm": "kd+pic"})
    with pytest.raises(ValueError, match=r"arm 'kd\+pick' has no arm for method 'scratch'"):
        space.with_overrides({"arm": "kd+pick", "method": "scratch"})


def test_an_override_drops_the_arms_that_fix_what_others_search_to_something_else() -> None:
    plain = three_arms().with_overrides({"augment": "mixup"})
    assert plain.arm_names == ["kd", "scratch"]
    assert [arm.name for arm in plain.dropped_arms] == ["kd+pick"]
    assert [recipe.name for recipe in plain.dropped] == ["picked", "alone"]
    pruned = three_arms().with_overrides({"prune_ratio": 0.5})
    assert [arm.name for arm in pruned.dropped_arms] == ["scratch"]
    assert three_arms().with_overrides({"prune_ratio": 0.0}).dropped_arms == ()


def test_an_override_of_what_nobody_searches_holds_in_every_arm_that_has_it() -> None:
    short = three_arms().with_overrides({"train.epochs": 2, "teacher": "resnet20"})
    assert short.values("train.epochs") == (2,)
    assert short.dropped_arms == ()
    rng = np.random.default_rng(0)
    assert "teacher" not in short.sample(rng, "scratch")
    assert short.sample(rng, "kd")["teacher"] == "resnet20"
    alone = three_arms().with_overrides({"arm": "scratch", "prune_ratio": 0.5})
    assert alone.sample(rng)["prune_ratio"] == 0.5


def test_an_override_for_one_of_several_arms_stays_there() -> None:
    space = three_arms().with_overrides({"augment.criterion": "kld"})
    rng = np.random.default_rng(0)
    assert space.sample(rng, "kd+pick")["augment.criterion"] == "kld"
    assert "augment.criterion" not in space.sample(rng, "kd")


def test_an_override_that_only_left_out_arms_own_holds_in_those_that_are_kept() -> None:
    space = three_arms().with_overrides({"arm": "kd", "augment.criterion": "kld"})
    assert space.sample(np.random.default_rng(0))["augment.criterion"] == "kld"


def test_a_table_says_what_each_arm_makes_of_what_is_shared() -> None:
    rows = three_arms().table()
    assert ("arm", "choice", "{kd, kd+pick, scratch}", "") in rows
    assert ("augment", "choice", "{none, mixup}", "") in rows
    assert ("augment", "fixed", "cutmix_pick", "kd+pick") in rows
    assert ("method", "fixed", "kd", "kd+pick") in rows
    assert ("teacher.*", "absent", "", "scratch") in rows
    only = three_arms().with_overrides({"arm": "scratch"}).table()
    assert "teacher" not in {row.key for row in only if row.kind != "absent"}


def test_a_space_is_readable_on_a_console() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(overview(three_arms()))
    text = captured.get()
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in (
        *("toy: Three arms.", "shared key", "kd+pick", "cutmix_pick", "{kld, teacher_entropy}"),
        *("(without)", "picked: kd+pick, ", "a paper", "Comparable with park2020 T1"),
    ):
        assert part in text
    assert text.count("park2020 T1") == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"without": "teacher"}, "must be a tuple of keys, got 'teacher'"),
        ({"without": ("teacher.*",), "fixed": {"teacher.lr": 0.1}}, "without 'teacher.lr', which"),
        ({"without": ("alpha",), "axes": {"alpha": Float(0, 1)}}, "without 'alpha', which"),
    ],
)
def test_an_arm_that_contradicts_itself_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Arm(method="kd", **settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": (KD, Arm(method="at", name="kd"))}, "each arm of a space .* 'kd' twice"),
        ({"arms": (KD, Arm(method="kd", name="b"))}, "must name its arm: arm= one of kd, b"),
        ({"arms": (Arm(method="kd", name="b"), ALONE)}, r"names no arm.* Choices: b, scratch"),
    ],
)
def test_a_recipe_names_one_arm(changes: dict[str, object], message: str) -> None:
    values: dict[str, Scalar] = {"method": "kd", "augment": "none"}
    arm = "kd+pick" if "Choices" in message else ""
    recipe = Recipe(name="r", source="", values=values, arm=arm)
    with pytest.raises(ValueError, match=message):
        three_arms(**changes, recipes=(recipe,))


def test_a_recipe_may_not_set_what_its_arm_does_without() -> None:
    values: dict[str, Scalar] = {"method": "scratch", "augment": "none", "teacher": "resnet14"}
    with pytest.raises(ValueError, match="sets 'teacher', no axis of 'scratch'"):
        three_arms(recipes=(Recipe(name="r", source="", values=values),))


def test_without_a_teacher_nothing_is_left_that_describes_one() -> None:
    assert {each for each in NO_TEACHER if not each.endswith("*")} == set(TEACHER_AXES)
    assert Arm(method="scratch", without=NO_TEACHER).lacks("teacher.augment")
    assert not Arm(method="scratch", without=NO_TEACHER).lacks("teachers")


@pytest.mark.parametrize("name", ["joint", "park2020", "wang2020"])
def test_a_trial_knows_the_arm_that_it_was_drawn_from(name: str) -> None:
    space, rng = load(name), np.random.default_rng(0)
    for arm in space.arm_names:
        assert space.arm_of(space.sample(rng, arm)) == arm
    assert {space.arm_of(space.recipe_config(r)) for r in space.recipes} <= set(space.arm_names)
    assert space.arm_of({"method": "kd"}) == ""
