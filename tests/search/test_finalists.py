"""Who is trained again, and with what."""

import pytest

from kdtune.config import parse
from kdtune.contracts import FlatConfig, Scalar
from kdtune.search.finalists import Arm, arms, published, seeded
from kdtune.search.outcomes import Outcome
from kdtune.search.stages import finalist_configs

BEST: dict[str, Scalar] = {
    **{"dataset": "digits", "student": "resnet8", "teacher": "resnet14", "train.epochs": 5},
    **{"method": "at", "method.beta": 50.0, "augment": "mixup", "prune_ratio": 0.3},
    **{"label_smoothing": 0.1, "teacher_epochs": 3, "teacher.full_epochs": 9, "seed": 0},
    "teacher.augment": "none",
}


PLAIN: dict[str, Scalar] = {
    **{"dataset": "digits", "student": "resnet8", "teacher": "resnet14", "train.epochs": 5},
    **{"method": "kd", "temperature": 4.0, "alpha": 0.9, "teacher.full_epochs": 9},
}
TEAM: dict[str, Scalar] = {
    **{"dataset": "digits", "student": "resnet8", "train.epochs": 5, "seed": 0},
    **{"method": "dml", "augment": "mixup"},
}


def outcome(trial: int, kind: str, value: float | None, **config: Scalar) -> Outcome:
    given = config or {"trial": trial}
    return Outcome(trial_id=str(trial), config=given, kind=kind, epoch=2, value=value, result={})


def baselines(best: FlatConfig, **fixed: Scalar) -> dict[str, Arm]:
    return {arm.label: arm for arm in arms([best], fixed=fixed) if arm.kind == "baseline"}


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


def test_a_configuration_that_was_drawn_twice_is_one_finalist() -> None:
    values = {0: 0.5, 1: 0.9, 2: 0.9, 3: 0.7}
    trials = [outcome(i, "finished", v, alpha=v) for i, v in values.items()]
    assert [c["alpha"] for c in finalist_configs(trials, 3)] == [0.9, 0.7, 0.5]


def test_two_baselines_follow_the_finalists() -> None:
    found = arms([BEST, {**BEST, "method.beta": 5.0}], fixed={})
    assert [(arm.kind, arm.label) for arm in found] == [
        ("finalist", "finalist 1"),
        ("finalist", "finalist 2"),
        ("baseline", "no teacher"),
        ("baseline", "published recipe"),
    ]
    assert found[0].config == BEST


def test_the_student_without_a_teacher_differs_in_the_teacher_alone() -> None:
    alone = parse(baselines(BEST)["no teacher"].config)
    best = parse(BEST)
    assert (alone.method, alone.teacher) == ("scratch", None)
    for part in ("dataset", "student", "augment", "prune_ratio", "data", "train", "seed"):
        assert getattr(alone, part) == getattr(best, part)
    assert (alone.prune.method, alone.prune.at) == (best.prune.method, best.prune.at)


def test_the_published_recipe_keeps_data_networks_and_budget() -> None:
    flat = published(BEST, {})
    assert flat is not None
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
    config = parse(published(own, {}) or {})
    assert config.teacher is not None
    assert config.teacher.weights == "my.safetensors"
    assert config.augment == "standard"


def test_a_finalist_that_is_a_baseline_is_not_trained_twice() -> None:
    written_otherwise = {**PLAIN, "augment": "standard", "teacher_epochs": 9, "prune_ratio": 0.0}
    assert baselines(written_otherwise)["published recipe"].same_as == "finalist 1"
    assert baselines({**PLAIN, "alpha": 0.8})["published recipe"].same_as == ""
    found = arms([BEST, published(BEST, {}) or {}], fixed={})
    assert [arm.same_as for arm in found] == ["", "", "", "finalist 2"]
    alone: dict[str, Scalar] = {"dataset": "digits", "method": "scratch", "augment": "none"}
    assert baselines(alone)["no teacher"].same_as == "finalist 1"


def test_what_was_searched_leaves_nothing_behind_in_the_published_recipe() -> None:
    picked: dict[str, Scalar] = {
        **{**PLAIN, "augment": "cutmix_pick", "augment.criterion": "teacher_entropy"},
        **{"augment.batches": "plain+mixed", "teacher.augment": "none", "prune_ratio": 0.5},
        **{"prune.method": "magnitude", "prune.phase": "pre_distill"},
    }
    flat = published(picked, {})
    assert flat is not None
    assert not [key for key in flat if key.startswith(("augment.", "prune.", "method."))]
    config = parse(flat)
    assert (config.augment, config.batches, config.prune_ratio) == ("none", None, 0.0)


@pytest.mark.parametrize("phase", ["pre_distill", "post_distill", "pre_post", "self_distill"])
@pytest.mark.parametrize("augment", ["standard", "cutmix", "cutmix_pick"])
def test_labels_alone_are_a_valid_recipe_whatever_was_best(phase: str, augment: str) -> None:
    best = {**PLAIN, "augment": augment, "prune_ratio": 0.5, "prune.phase": phase}
    config = parse(baselines(best)["no teacher"].config)
    assert (config.method, config.teacher) == ("scratch", None)
    assert (config.augment, config.prune_ratio) == (augment, 0.5)


def test_without_a_teacher_the_space_says_which_one_the_published_recipe_has() -> None:
    found = baselines(TEAM, teacher="resnet14", **{"teacher.augment": "none", "teacher_epochs": 2})
    assert set(found) == {"no teacher", "published recipe"}
    assert parse(found["no teacher"].config).method == "scratch"
    config = parse(found["published recipe"].config)
    assert config.teacher is not None
    assert (config.method, config.teacher.model, config.augment) == ("kd", "resnet14", "none")
    assert config.teacher.epochs == config.teacher.full_epochs
    assert (config.student, config.train.epochs) == ("resnet8", 5)


def test_without_any_teacher_there_is_no_published_recipe() -> None:
    assert set(baselines(TEAM, dataset="digits")) == {"no teacher"}


@pytest.mark.parametrize("train_on", ["train", "train+val"])
def test_all_arms_share_seeds_and_are_tested(train_on: str) -> None:
    for arm in arms([BEST], fixed={}):
        configs = [parse(flat) for flat in seeded(arm, seeds=[4, 5], train_on=train_on)]
        assert [config.seed for config in configs] == [4, 5]
        assert {(config.role, config.train.on) for config in configs} == {("finalist", train_on)}


def test_the_published_recipe_takes_over_the_options_of_the_teachers_policy() -> None:
    config = {
        **{"method": "kd", "teacher": "resnet8", "teacher.augment": "randaugment"},
        **{"teacher.augment.magnitude": 5, "augment": "cutout", "augment.side": 4},
    }
    found = published(config, {})
    assert found is not None
    assert (found["augment"], found["augment.magnitude"]) == ("randaugment", 5)
    assert "augment.side" not in found


def test_a_finalist_without_a_teacher_serves_the_baseline_of_one_with_a_store() -> None:
    taught = {"method": "kd", "teacher": "resnet8", "teacher.store": "/teachers"}
    found = {arm.label: arm for arm in arms([taught, {"method": "scratch"}], fixed=taught)}
    assert found["no teacher"].same_as == "finalist 2"
