"""From what was typed to a request."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdtune.config import ConfigError
from kdtune.search import requesting
from kdtune.search.request import SearchRequest
from kdtune.search.requesting import build_request
from kdtune.search.space import NO_TEACHER, Arm, Choice, Recipe, Space


def request(*settings: str, space: str = "quickstart", **changes: Any) -> SearchRequest:
    fields: dict[str, Any] = {
        "shortcuts": {},
        "name": None,
        "storage": Path("/results"),
        "tracking_uri": None,
        "experiment": None,
        "gpus_per_trial": 0,
        "cpus_per_trial": 1,
        "seed": 0,
    }
    return build_request(space, settings=list(settings), **{**fields, **changes})


def test_what_is_left_open_is_filled_in() -> None:
    built = request(seed=7, cpus_per_trial=2)
    fixed = built.space.fixed
    assert built.name.startswith("quickstart-2")
    assert built.folder == Path("/results") / built.name
    assert built.tracking_uri == "sqlite:////results/mlflow.db"
    assert built.experiment == "quickstart on digits"
    assert (fixed["seed"], fixed["train.threads"], fixed["train.device"]) == (7, 2, "cpu")
    assert fixed["teacher.store"] == "/results/teachers"


@pytest.mark.parametrize("there", [True, False])
def test_a_gpu_is_used_where_there_is_one(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    built = request(gpus_per_trial=None)
    assert built.gpus_per_trial == there
    assert built.space.fixed["train.device"] == ("cuda" if there else "cpu")
    assert request(gpus_per_trial=0.25).space.fixed["train.device"] == "cuda"


def test_settings_take_the_type_of_their_key() -> None:
    built = request("alpha=1", "data.flip=true", "train.epochs=3", "augment = mixup", "data.root=")
    fixed = {**built.space.fixed, **built.space.arms[0].fixed}
    assert repr(fixed["alpha"]) == "1.0"
    assert (fixed["data.flip"], fixed["train.epochs"], fixed["augment"]) == (True, 3, "mixup")
    assert "augment" not in built.space.axes
    assert "alpha" not in built.space.active("kd")


def test_settings_win_over_shortcuts_and_defaults() -> None:
    built = request("train.epochs=3", "seed=9", shortcuts={"train.epochs": 5}, seed=1)
    assert (built.space.fixed["train.epochs"], built.space.fixed["seed"]) == (3, 9)


def test_a_method_may_be_chosen_with_its_own_keys() -> None:
    built = request("method=at", "method.beta=20", space="joint")
    assert built.space.methods() == ["at"]
    assert built.space.arms[0].fixed["method.beta"] == 20.0


def test_a_key_of_one_method_stays_with_its_arm() -> None:
    built = request("method.beta=20", space="joint")
    assert {"kd", "at"} <= set(built.space.methods())
    assert "method.beta" not in built.space.fixed


@pytest.fixture
def three_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A space whose arms share a method, in place of those that ship."""
    space = Space(
        name="three",
        summary="Three arms.",
        fixed={"dataset": "digits", "teacher": "resnet14"},
        axes={"augment": Choice(("none", "mixup"))},
        arms=(
            Arm(method="kd", axes={"label_smoothing": Choice((0.0, 0.1))}),
            Arm(method="kd", name="kd+pick", fixed={"augment": "cutmix_pick", "alpha": 1.0}),
            Arm(method="scratch", without=NO_TEACHER),
        ),
        recipes=(
            Recipe(name="a", source="", arm="kd", values={"label_smoothing": 0, "augment": "none"}),
            Recipe(name="b", source="", arm="kd+pick", values={}),
            Recipe(name="c", source="", arm="scratch", values={"augment": "none"}),
        ),
    )
    monkeypatch.setattr(requesting, "load", lambda name: space)


@pytest.mark.usefixtures("three_arms")
def test_an_arm_may_be_chosen_by_its_name() -> None:
    built = request("arm=kd+pick", "temperature=2")
    assert built.space.arm_names == ["kd+pick"]
    assert built.space.sample(np.random.default_rng(0))["temperature"] == 2.0
    with pytest.raises(ValueError, match=r"no arm 'kd\+pck'; did you mean 'kd\+pick'"):
        request("arm=kd+pck")
    with pytest.raises(ConfigError, match="'temperature' is not used by method 'scratch'"):
        request("arm=scratch", "temperature=2")


@pytest.mark.usefixtures("three_arms")
def test_a_key_goes_to_all_arms_that_know_it_and_to_no_other() -> None:
    built = request("temperature=2", "teacher.lr=0.3")
    rng = np.random.default_rng(0)
    drawn = {name: built.space.sample(rng, name) for name in built.space.arm_names}
    assert [config.get("temperature") for config in drawn.values()] == [2.0, 2.0, None]
    assert [config.get("teacher.lr") for config in drawn.values()] == [0.3, 0.3, None]


@pytest.mark.usefixtures("three_arms")
def test_a_ready_made_teacher_serves_the_arms_that_have_one() -> None:
    built = request(shortcuts={"teacher.weights": "/mine.safetensors"})
    rng = np.random.default_rng(0)
    drawn = {name: built.space.sample(rng, name) for name in built.space.arm_names}
    weights = [config.get("teacher.weights") for config in drawn.values()]
    assert weights == ["/mine.safetensors", "/mine.safetensors", None]
    assert "label_smoothing" not in drawn["kd"]
    assert [recipe.name for recipe in built.space.recipes] == ["a", "b", "c"]


def test_a_ready_made_teacher_is_not_searched() -> None:
    built = request(shortcuts={"teacher.weights": "/mine.safetensors"})
    assert not {"label_smoothing", "teacher_epochs"} & set(built.space.keys())
    assert [recipe.name for recipe in built.space.recipes] == ["hinton"]
    assert not {"label_smoothing", "teacher_epochs"} & set(built.space.recipes[0].values)


def test_a_local_dataset_gets_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    built = request(shortcuts={"dataset": "parquet:mine"})
    assert built.space.fixed["dataset"] == f"parquet:{tmp_path / 'mine'}"
    assert built.experiment == "quickstart on mine"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["alpha"], "--set takes KEY=VALUE, got 'alpha'"),
        (["alhpa=1"], "unknown key 'alhpa' for method 'kd'; did you mean 'alpha'"),
        (["method.beta=1"], "'method.beta' is not used by method 'kd'; it belongs to at"),
        (["train.epochs=1.5"], "train.epochs must be .*, got '1.5'"),
        (["method=nonsense"], "unknown method 'nonsense'"),
    ],
)
def test_a_bad_setting_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        request(*settings)


def test_objectives_are_read_as_they_are_typed() -> None:
    built = request(objectives=["val/accuracy:max", "params"], scheduler=None)
    assert [str(goal) for goal in built.objectives] == ["val/accuracy:max", "student/params:min"]
    assert (built.goal.metric, built.scheduler) == ("val/accuracy", "none")
    assert request(scheduler=None).scheduler == "asha"
    assert [str(goal) for goal in request().objectives] == ["val/accuracy:max"]
    with pytest.raises(ValueError, match="unknown objective 'parms'; did you mean 'params'"):
        request(objectives=["parms:min"])


def test_a_bad_option_is_named_as_it_is_typed() -> None:
    with pytest.raises(ConfigError, match=r"^--time-budget: must be greater than 0, got -1"):
        request(time_budget_s=-1)
    with pytest.raises(ConfigError, match=r"^--finalists-on: must be 'train' or 'train\+val'"):
        request(finalists_on="test")


def test_a_key_that_arms_could_have_and_have_not_is_told() -> None:
    built = request("prune.method=slimming", "temperature=2", "teacher.lr=0.3", space="joint")
    assert built.partial == {"prune.method": ("kd-slimming", "kd-magnitude")}


@pytest.mark.usefixtures("three_arms")
def test_a_key_that_no_arm_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'label_smoothing' means nothing .*: scratch; drop it"):
        request("arm=scratch", "label_smoothing=0.1")
