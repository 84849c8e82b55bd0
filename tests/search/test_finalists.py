"""Who is trained again, and with what."""

import pytest

from kdtune.config import parse
from kdtune.contracts import Scalar
from kdtune.search.finalists import arms, published, seeded
from kdtune.search.launch import finalist_configs
from kdtune.search.outcomes import Outcome

BEST: dict[str, Scalar] = {
    **{"dataset": "digits", "student": "resnet8", "teacher": "resnet14", "train.epochs": 5},
    **{"method": "at", "method.beta": 50.0, "augment": "mixup", "prune_ratio": 0.3},
    **{"label_smoothing": 0.1, "teacher_epochs": 3, "teacher.full_epochs": 9, "seed": 0},
    "teacher.augment": "none",
}


def outcome(trial: int, kind: str, value: float | None) -> Outcome:
    return Outcome(
        trial_id=str(trial), config={"trial": trial}, kind=kind, epoch=2, value=value, result={}
    )


def test_only_finished_trials_become_finalists_and_ties_go_to_the_earlier() -> None:
    trials = [
        outcome(0, "cut", 0.9),
        outcome(1, "finished", 0.5),
        outcome(2, "diverged", 0.95),
        outcome(3, "finished", 0.7),
        outcome(4, "finished", 0.5),
        outcome(5, "finished", None),
        outcome(6, "stopped", 0.99),
        outcome(7, "finished", 0.0),
    ]
    assert [c["trial"] for c in finalist_configs(trials, 3)] == [3, 1, 4]
    assert [c["trial"] for c in finalist_configs(trials, 9)] == [3, 1, 4, 7]
    assert finalist_configs(trials, 0) == []


def test_two_baselines_follow_the_finalists() -> None:
    found = arms([BEST, {**BEST, "method.beta": 5.0}])
    assert [(arm.kind, arm.label) for arm in found] == [
        ("finalist", "finalist 1"),
        ("finalist", "finalist 2"),
        ("baseline", "no teacher"),
        ("baseline", "published recipe"),
    ]
    assert found[0].config == BEST


def test_the_student_without_a_teacher_differs_in_the_teacher_alone() -> None:
    alone = parse(arms([BEST])[1].config)
    best = parse(BEST)
    assert (alone.method, alone.teacher) == ("scratch", None)
    for part in ("dataset", "student", "augment", "prune_ratio", "data", "train", "prune", "seed"):
        assert getattr(alone, part) == getattr(best, part)


def test_the_published_recipe_keeps_data_networks_and_budget() -> None:
    flat = published(BEST)
    config, best = parse(flat), parse(BEST)
    assert (config.method, flat["temperature"], flat["alpha"]) == ("kd", 4.0, 0.9)
    assert (config.prune_ratio, config.augment) == (0.0, "none")
    assert config.teacher is not None
    assert (config.teacher.label_smoothing, config.teacher.epochs) == (0.0, 9)
    assert (config.student, config.train, config.data) == (best.student, best.train, best.data)


def test_the_published_recipe_uses_a_ready_made_teacher_where_there_is_one() -> None:
    trained = ("label_smoothing", "teacher_epochs", "teacher.full_epochs", "teacher.augment")
    own = {k: v for k, v in BEST.items() if k not in trained} | {
        "teacher.weights": "my.safetensors"
    }
    config = parse(published(own))
    assert config.teacher is not None
    assert config.teacher.weights == "my.safetensors"
    assert config.augment == "standard"


@pytest.mark.parametrize("train_on", ["train", "train+val"])
def test_all_arms_share_seeds_and_are_tested(train_on: str) -> None:
    for arm in arms([BEST]):
        configs = [parse(flat) for flat in seeded(arm, seeds=[4, 5], train_on=train_on)]
        assert [config.seed for config in configs] == [4, 5]
        assert {(config.role, config.train.on) for config in configs} == {("finalist", train_on)}
