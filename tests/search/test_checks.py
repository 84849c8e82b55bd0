"""What is checked before a search starts."""

from pathlib import Path
from typing import Any

import pytest

from kdtune.config import ConfigError
from kdtune.contracts import Scalar
from kdtune.report.goals import ACCURACY, Goal, goal_of
from kdtune.search.checks import check_request, teacher_pool
from kdtune.search.request import SearchRequest
from kdtune.search.space import NO_TEACHER, Arm, Choice, Float, Space
from kdtune.training import precision

FIXED: dict[str, Scalar] = {
    **{"dataset": "digits", "teacher": "resnet14", "student": "resnet8"},
    **{"teacher.full_epochs": 4, "train.device": "cpu", "train.epochs": 2},
}
BOTH = (ACCURACY, goal_of("params"))
KD = Arm(method="kd", axes={"alpha": Float(0, 1), "temperature": Float(1, 16)})
AT = Arm(method="at", axes={"method.beta": Float(1, 100)})


def space(*arms: Arm, **axes: Any) -> Space:
    named = {key.replace("__", "."): axis for key, axis in axes.items()}
    return Space(name="toy", summary="A toy.", fixed=FIXED, axes=named, arms=arms or (KD,))


def request(of: Space, storage: Path, **changes: Any) -> SearchRequest:
    places = {"storage": storage, "tracking_uri": "sqlite:///x.db", "experiment": "e", "name": "n"}
    return SearchRequest(**{**places, "space": of, **changes})


def taught(of: Space) -> list[tuple[float, int | None]]:
    teachers = [config.teacher for config in teacher_pool(of)]
    return [(each.label_smoothing, each.epochs) for each in teachers if each is not None]


def test_a_precision_that_this_machine_emulates_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda device: False)
    of = space(train__precision=Choice(("fp32", "bf16")))
    with pytest.raises(ConfigError, match=r"train\.precision is 'bf16'"):
        check_request(request(of, tmp_path))
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)
    check_request(request(of, tmp_path))


def test_the_pool_holds_each_distinct_teacher_once() -> None:
    axes = {"label_smoothing": Choice((0.0, 0.1)), "teacher_epochs": Choice((2, 4))}
    expected = [(0.0, 2), (0.0, 4), (0.1, 2), (0.1, 4)]
    assert taught(space(KD, AT, **axes, augment=Choice(("none", "mixup")))) == expected


def test_axes_of_the_student_make_no_teachers() -> None:
    assert taught(space(augment=Choice(("none", "mixup")), prune_ratio=Float(0, 0.5))) == [(0.0, 4)]


def test_teachers_that_differ_in_the_network_are_distinct() -> None:
    pool = teacher_pool(
        Space(
            name="toy",
            summary="A toy.",
            fixed={k: v for k, v in FIXED.items() if k != "teacher"},
            axes={"teacher": Choice(("resnet14", "resnet20")), "teacher.lr": Choice((0.1, 0.2))},
            arms=(KD,),
        )
    )
    found = [(c.teacher.model, c.teacher.lr) for c in pool if c.teacher]
    assert found == [("resnet14", 0.1), ("resnet14", 0.2), ("resnet20", 0.1), ("resnet20", 0.2)]


def test_a_continuous_axis_of_the_teacher_makes_no_pool() -> None:
    assert teacher_pool(space(label_smoothing=Float(0, 0.2), teacher_epochs=Choice((2, 4)))) == []


def test_a_method_without_a_teacher_adds_none_to_the_pool() -> None:
    fixed = {key: value for key, value in FIXED.items() if not key.startswith("teacher")}
    alone = Space(name="toy", summary="A toy.", fixed=fixed, arms=(Arm(method="scratch"),))
    assert teacher_pool(alone) == []


def test_each_arm_asks_for_its_own_teachers() -> None:
    gentle = Arm(method="kd", name="gentle", fixed={"label_smoothing": 0.1, "teacher_epochs": 2})
    alone = Arm(method="scratch", without=NO_TEACHER)
    axes = {"label_smoothing": Choice((0.0,)), "teacher_epochs": Choice((2, 4))}
    assert taught(space(KD, gentle, alone, **axes)) == [(0.0, 2), (0.0, 4), (0.1, 2)]


def test_a_ready_made_teacher_is_not_in_the_pool() -> None:
    fixed = {**FIXED, "teacher.weights": "mine.safetensors"}
    assert teacher_pool(Space(name="toy", summary="A toy.", fixed=fixed, arms=(KD,))) == []


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_request(request(space(), tmp_path / "new" / "results"))
    assert not list(tmp_path.iterdir())


def test_every_method_is_checked_against_every_network(tmp_path: Path) -> None:
    deep = Arm(method="at", axes={"method.blocks": Choice((3, 4))})
    with pytest.raises(ValueError, match="block4"):
        check_request(request(space(deep), tmp_path))


def test_a_network_that_does_not_fit_is_found_on_any_axis(tmp_path: Path) -> None:
    fixed = {key: value for key, value in FIXED.items() if key != "student"}
    axes = {"student": Choice(("resnet8", "resnet9"))}
    odd = Space(name="toy", summary="A toy.", fixed=fixed, axes=axes, arms=(KD,))
    with pytest.raises(ValueError, match="resnet9"):
        check_request(request(odd, tmp_path))


def test_a_value_out_of_range_is_found_on_any_axis(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prune_ratio must be less than 1"):
        check_request(request(space(prune_ratio=Choice((0.0, 1.0))), tmp_path))


def test_a_rare_arm_is_checked_like_any_other(tmp_path: Path) -> None:
    many = [Arm(method="kd", name=f"kd {i}") for i in range(40)]
    wrong = Arm(method="kd", name="wrong", fixed={"temperature": -1.0})
    with pytest.raises(ConfigError, match="temperature must be greater than 0"):
        check_request(request(space(*many, wrong), tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "tpa"}, "unknown sampler 'tpa'; did you mean 'tpe'"),
        ({"scheduler": "ahsa"}, "unknown scheduler 'ahsa'; did you mean 'asha'"),
        ({"grace_period": 3}, "grace_period must be at most max_t = 2, got 3"),
        ({"brackets": 5}, "brackets must be from 1 to"),
        ({"objectives": (Goal("val/acc", "max"),)}, "unknown objective 'val/acc'"),
        ({"objectives": (ACCURACY, ACCURACY)}, "'val/accuracy' twice"),
        ({"objectives": BOTH, "sampler": "cmaes"}, "'cmaes' takes one objective"),
        *(
            ({"objectives": BOTH, "scheduler": name}, f"'{name}' cuts trials by one metric")
            for name in ("asha", "hyperband", "median")
        ),
        ({"objectives": BOTH, "scheduler": "asah"}, "did you mean 'asha'"),
        ({"register_as": "best", "finalists": 0}, "--register 'best' needs a finalist"),
    ],
)
def test_settings_of_the_search_are_checked(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_request(request(space(), tmp_path, **changes))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "random", "grid"])
def test_several_objectives_run_without_a_scheduler(tmp_path: Path, sampler: str) -> None:
    asked = request(space(), tmp_path, objectives=BOTH, sampler=sampler)
    assert (asked.scheduler, request(space(), tmp_path).scheduler) == ("none", "asha")
    check_request(asked)


def test_a_name_is_taken_once_something_is_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "driver.lock").touch()  # Of a process that came to nothing.
    check_request(request(space(), tmp_path))
    (tmp_path / "n" / "search.log").touch()
    with pytest.raises(ConfigError, match=r"there is a search called 'n' in .* already"):
        check_request(request(space(), tmp_path))


def test_missing_weights_of_a_teacher_are_found(tmp_path: Path) -> None:
    weights = {"teacher.weights": str(tmp_path / "mine.safetensors")}
    mine = Space(name="toy", summary="A toy.", fixed={**FIXED, **weights}, arms=(KD,))
    with pytest.raises(FileNotFoundError, match="no teacher weights at"):
        check_request(request(mine, tmp_path))


def test_an_arm_that_the_networks_cannot_serve_is_named_with_the_way_out(tmp_path: Path) -> None:
    pair = {"student": "resnet8x0.5"}
    uneven = space(KD, Arm(method="fsp")).with_overrides(pair)
    with pytest.raises(ConfigError, match=r"^arm 'fsp': .*channels.*--skip fsp leaves the arm out"):
        check_request(request(uneven, tmp_path))
    check_request(request(uneven.without_arms(["fsp"]), tmp_path))
