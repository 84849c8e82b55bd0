"""Printed figures in canonical names: what the paper states, and nothing else."""

from typing import Any

import pytest

from kdtune.config import known_keys, parse
from kdtune.contracts import Scalar
from kdtune.objectives import OBJECTIVES
from kdtune.papers import (
    PAPERS,
    UNSTATED,
    Figure,
    canonical_metric,
    canonical_settings,
    figures,
    other_conditions,
    selection,
)
from kdtune.search.space import load

ELSEWHERE = {"seq_kd", "mean"}
"""Methods of the tables that kdtune does not have: quoted from elsewhere, and a margin."""
TRANSLATED = {"pruner", "remaining", "phase", "pick", "augment"} | {
    f"{whose}_augment" for whose in ("teacher", "student")
}
"""Conditions whose settings have other values; tested one by one."""
LOST = (UNSTATED, "unstated_between", "above_")


def a_figure(place: str, **wanted: object) -> Figure:
    """The first figure of a table with these attributes and conditions."""
    for figure in figures(*place.split()):
        told = {"method": figure.method, "student": figure.student, **figure.conditions}
        if all(told.get(key) == value for key, value in wanted.items()):
            return figure
    raise AssertionError(f"{place} has no figure with {wanted}")


def settings(place: str, **wanted: object) -> dict[str, Scalar]:
    return canonical_settings(a_figure(place, **wanted))


@pytest.mark.parametrize("paper", PAPERS)
def test_every_setting_is_a_key_of_its_method(paper: str) -> None:
    for figure in figures(paper):
        found = canonical_settings(figure)
        if found["method"] not in ELSEWHERE:
            assert set(found) <= set(known_keys(str(found["method"]))), figure


@pytest.mark.parametrize("paper", PAPERS)
def test_what_is_stated_is_a_configuration_unless_a_value_is_lost(paper: str) -> None:
    for figure in figures(paper):
        found = canonical_settings(figure)
        lost = [value for value in found.values() if str(value).startswith(LOST)]
        if found["method"] in ELSEWHERE or lost:
            continue
        if "teacher_epochs" in found:
            found.setdefault("teacher.full_epochs", 90)  # cho2019 leaves its ImageNet runs open
        flat = parse(found).flat()
        kept = {key: flat[key] for key in found if key in flat}
        assert kept == {key: found[key] for key in kept}


@pytest.mark.parametrize("paper", PAPERS)
def test_the_paper_and_its_space_agree_where_both_speak(paper: str) -> None:
    space = load(paper)
    searched = {key for arm in space.arms for key in (*arm.axes, *arm.fixed)} | set(space.axes)
    free = searched | {"dataset", "teacher", "student"}
    for figure in (figure for place in space.tables for figure in figures(*place.split())):
        if figure.dataset == "cub200":
            continue  # which the space leaves to the user, as it says
        found = canonical_settings(figure)
        # A longer run of wang2020, and a teacher's own training, have settings of their own.
        own = {"train.epochs"} if "epochs" in figure.conditions else set()
        if figure.conditions.get("role") == "teacher":
            own = {key for key in found if key.startswith("train.")}
        both = set(found) & set(space.fixed) - free - own
        assert {key: found[key] for key in both} == {key: space.fixed[key] for key in both}


def test_the_methods_of_sarfraz2020_are_its_recipes() -> None:
    recipes = {recipe.arm: recipe.values for recipe in load("sarfraz2020").recipes}
    for figure in figures("sarfraz2020", "T3"):
        found = canonical_settings(figure)
        recipe = recipes[str(found["method"])]
        assert {key: found[key] for key in recipe} == recipe


@pytest.mark.parametrize(
    ("place", "wanted", "expected"),
    [
        (
            "park2020 T1",
            {"method": "kd", "remaining": "40/70/90", "phase": "self_distill"},
            {
                "prune.method": "l1_filter",
                "prune.stages": "0.6,0.3,0.1",
                "prune_ratio": 0.333333,
                "prune.phase": "self_distill",
            },
        ),
        ("park2020 T2", {"student": "DenseNet-40", "phase": "finetune"}, {"prune_ratio": 0.7}),
        ("park2020 T1", {"phase": "unpruned"}, {"prune_ratio": 0.0}),
        (
            "park2020 T5",
            {"method": "kd", "teacher_augment": "none", "student_augment": "cutmix"},
            {"teacher.augment": "standard", "augment": "cutmix", "augment.batches": "mixed"},
        ),
        ("park2020 T4", {"student_augment": "autoaugment"}, {"augment.policy": "random"}),
        (
            "wang2020 T2",
            {"pick": "teacher_entropy"},
            {
                "augment": "cutmix_pick",
                "augment.criterion": "teacher_entropy",
                "augment.batches": "plain+mixed",
                "train.milestones": "0.625,0.75,0.875",
            },
        ),
        (
            "wang2020 T4",
            {"epochs": 480},
            {"train.epochs": 480, "train.milestones": "0.625,0.75,0.875"},
        ),
        (
            "cho2019 T8",
            {"method": "eskd_at", "teacher_epochs": 50},
            {
                "method": "at_kd",
                "method.stop_epoch": UNSTATED,
                "method.beta": 1000.0,
                "teacher_epochs": 50,
                "student": "torchvision:resnet18",
            },
        ),
        ("cho2019 T8", {"method": "full_kd"}, {"method": "kd", "alpha": 0.9, "temperature": 4.0}),
        ("cho2019 T9", {}, {"train.epochs": 12, "train.milestones": "0.25,0.5,0.75"}),
        ("sarfraz2020 T3", {"method": "rkd_da"}, {"method": "rkd", "method.angle_weight": 50.0}),
        ("sarfraz2020 T5", {"label_noise": 0.4}, {"data.label_noise": 0.4}),
        ("sarfraz2020 T5", {"method": "kd"}, {"train.batch_size": 128, "train.lr": 0.1}),
        ("sarfraz2020 T6", {"class_imbalance": 2.0}, {"data.imbalance": 2.0}),
        (
            "chandrasegaran2022 T2",
            {"method": "kd", "label_smoothing": 0.1, "temperature": 64.0},
            {"label_smoothing": 0.1, "temperature": 64.0, "alpha": 1.0, "teacher_epochs": 90},
        ),
        (
            "chandrasegaran2022 T2",
            {"role": "teacher", "label_smoothing": 0.1},
            {"method": "scratch", "method.label_smoothing": 0.1, "train.epochs": 90},
        ),
        (
            "chandrasegaran2022 TJ.1",
            {"label_smoothing": "above_0.1", "method": "kd"},
            {"label_smoothing": "above_0.1"},
        ),
    ],
)
def test_a_cell_has_the_settings_that_its_paper_states(
    place: str, wanted: dict[str, Any], expected: dict[str, Scalar]
) -> None:
    found = settings(place, **wanted)
    assert {key: found.get(key) for key in expected} == expected


def test_where_a_paper_is_silent_there_is_no_setting() -> None:
    assert not {"temperature", "alpha", "train.epochs"} & set(settings("park2020 T1", method="kd"))
    assert not [key for key in settings("sarfraz2020 T3", method="one") if key.startswith("train.")]
    assert "alpha" not in settings("sarfraz2020 T3", method="at")
    assert not [key for key in settings("wang2020 T1", role="teacher") if key.startswith("train.")]
    assert "train.epochs" not in settings("cho2019 T8", origin="original_paper")
    assert "train.lr" not in settings("cho2019 T8", origin="original_paper")


def test_what_no_setting_stands_for_is_not_lost() -> None:
    for figure in figures():
        stated = set(map(str, canonical_settings(figure).values()))
        for key in set(figure.conditions) - set(other_conditions(figure)) - TRANSLATED:
            assert str(figure.conditions[key]) in stated, figure
    assert other_conditions(a_figure("cho2019 T4", generation=5)) == {"generation": 5}
    assert other_conditions(a_figure("chandrasegaran2022 TH.1"))["temperature"] == 1.0
    pruned = a_figure("park2020 T1", method="kd", phase="self_distill", relative_to=None)
    assert other_conditions(pruned) == {}


@pytest.mark.parametrize(
    ("place", "wanted", "expected"),
    [
        ("wang2020 T1", {"augment": "mixup"}, ("test/accuracy", 0.7533, 0.0007)),
        ("cho2019 T8", {}, ("test/accuracy", 0.6976, None)),
        ("cho2019 T5", {"statistic": "mean"}, ("test/accuracy", 0.9232, 0.00259)),
        ("cho2019 T5", {"statistic": "median"}, ("test/accuracy_median", 0.9239, None)),
        (
            "cho2019 T4",
            {"ensemble": "generations"},
            ("ensemble/generations_test_accuracy", 0.87214, None),
        ),
        (
            "cho2019 T4",
            {"ensemble": "scratch_models"},
            ("ensemble/scratch_test_accuracy", 0.89824, None),
        ),
        ("cho2019 T2", {}, ("reported/kd_error_train", 0.23, None)),
        ("park2020 T6", {"method": "scratch"}, ("reported/nwot_score", -143.96, 0.462)),
        ("chandrasegaran2022 T5", {"temperature": 1.0}, ("reported/bleu", 24.914, None)),
    ],
)
def test_a_figure_has_the_name_and_unit_of_measured_runs(
    place: str, wanted: dict[str, Any], expected: tuple[str, float, float | None]
) -> None:
    assert canonical_metric(a_figure(place, **wanted)) == expected


def test_shares_are_shares() -> None:
    for figure in figures():
        name, value, _ = canonical_metric(figure)
        assert name.startswith("reported/") or 0 < value < 1


def test_only_sarfraz2020_says_that_it_chose_on_test() -> None:
    chosen = {(f.paper, f.table, f.method) for f in figures() if selection(f)}
    assert {paper for paper, *_ in chosen} == {"sarfraz2020"}
    assert {method for _, table, method in chosen if table != "T2"} == {"one", "dml"}


def test_every_method_is_known_or_known_to_be_foreign() -> None:
    methods = {str(canonical_settings(figure)["method"]) for figure in figures()}
    assert methods - set(OBJECTIVES.names()) == ELSEWHERE
