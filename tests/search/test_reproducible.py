"""What printed cells mean as trials; values read by hand from the papers and their spaces."""

from collections import Counter

import pytest

from kdtune.config import parse, teacher_trial
from kdtune.contracts import Scalar
from kdtune.papers import PAPERS, Figure, figures
from kdtune.search.reproduced_cells import cells_of
from kdtune.search.reproducible import NotReproducible, obstacle, recipe_of

PARK = {
    "dataset": "cifar100",
    "train.lr": 0.1,
    "train.batch_size": 64,
    "train.weight_decay": 1e-4,
    "train.nesterov": False,
}
PRUNED = {"train.epochs": 200, "prune.at": 0.8, "prune.lr": 0.001}
WANG = {
    "train.lr": 0.05,
    "train.batch_size": 64,
    "train.milestones": "0.625,0.75,0.875",
    "train.weight_decay": 5e-4,
}
CHO = {
    "dataset": "cifar10",
    "train.epochs": 200,
    "train.lr": 0.1,
    "train.milestones": "0.3,0.6,0.9",
    "train.lr_factor": 0.2,
}
CHO_IMAGENET = {
    "dataset": "imagenet",
    "train.lr": 0.1,
    "train.nesterov": True,
    "train.weight_decay": 1e-4,
    "train.lr_factor": 0.1,
    "train.epochs": 90,
}
SARFRAZ = {
    "train.epochs": 200,
    "train.batch_size": 128,
    "train.lr": 0.1,
    "train.milestones": "0.3,0.6,0.75",
    "train.lr_factor": 0.2,
}
SOFT = {"temperature": 4.0, "alpha": 0.9}

BY_HAND: list[tuple[str, int, dict[str, Scalar]]] = [
    (
        "park2020:T1",
        1,
        {**PARK, "method": "scratch", "student": "resnet56", "train.epochs": 160},
    ),
    (
        "park2020:T1",
        8,
        {
            **PARK,
            **PRUNED,
            **SOFT,
            "method": "kd",
            "teacher": "resnet56",
            "prune.method": "l1_filter",
            "prune.stages": "0.6,0.3,0.1",
            "prune.phase": "self_distill",
            "teacher_epochs": 160,
        },
    ),
    (
        "park2020:T2",
        2,
        {
            **PARK,
            **PRUNED,
            "method": "scratch",
            "student": "vgg19",
            "prune.method": "slimming",
            "prune_ratio": 0.5,
            "prune.phase": "finetune",
        },
    ),
    (
        "park2020:T2",
        49,
        {
            **PRUNED,
            "method": "feature_kd",
            "student": "densenet_40_12",
            "prune_ratio": 0.7,
            "prune.phase": "pre_distill",
            "method.beta": 0.1,
        },
    ),
    (
        "park2020:T3",
        7,
        {
            **PRUNED,
            **SOFT,
            "student": "resnet110",
            "prune.method": "magnitude",
            "prune_ratio": 0.6,
            "prune.phase": "pre_post",
        },
    ),
    ("park2020:T3", 11, {"method": "feature_kd", "prune_ratio": 0.0, "train.epochs": 160}),
    (
        "park2020:T4",
        2,
        {"method": "scratch", "augment": "autoaugment", "augment.policy": "random"},
    ),
    (
        "park2020:T4",
        7,
        {
            "student": "pyramidnet_200_300",
            "teacher.augment": "autoaugment",
            "augment": "standard",
            **SOFT,
        },
    ),
    ("park2020:T5", 3, {"augment": "cutmix", "augment.batches": "mixed", "method": "scratch"}),
    (
        "park2020:T5",
        12,
        {
            "method": "feature_kd",
            "student": "pyramidnet_110_64",
            "teacher.augment": "standard",
            "augment": "cutmix",
            "augment.batches": "mixed",
        },
    ),
    ("wang2020:T1", 1, {**WANG, "student": "wrn_40_2", "method": "scratch", "train.epochs": 240}),
    (
        "wang2020:T1",
        10,
        {
            **WANG,
            **SOFT,
            "dataset": "cifar100",
            "teacher": "wrn_40_2",
            "student": "wrn_16_2",
            "augment": "mixup",
            "augment.batches": "plain+mixed",
            "teacher_epochs": 240,
            "teacher.lr": 0.05,
        },
    ),
    (
        "wang2020:T2",
        16,
        {**SOFT, "augment": "cutmix_pick", "augment.criterion": "kld", "student": "wrn_16_2"},
    ),
    ("wang2020:T2", 8, {"augment": "cutmix", "teacher": "resnet56", "student": "resnet20"}),
    (
        "wang2020:T3",
        44,
        {**WANG, **SOFT, "augment": "cutmix_pick", "train.epochs": 960, "teacher_epochs": 240},
    ),
    (
        "wang2020:T3",
        57,
        {
            **WANG,
            "method": "crd",
            "method.beta": 0.8,
            "method.ce_weight": 1.0,
            "alpha": 1.0,
            "augment": "cutmix_pick",
            "train.epochs": 240,
        },
    ),
    ("wang2020:T4", 23, {**WANG, **SOFT, "dataset": "tiny_imagenet", "train.epochs": 480}),
    ("wang2020:T4", 51, {**WANG, "method": "crd", "augment": "standard", "alpha": 0.0}),
    (
        "cho2019:T4",
        4,
        {**CHO, "method": "scratch", "student": "resnet8"},
    ),
    ("cho2019:T5", 1, {**CHO, "method": "scratch", "student": "wrn_16_3"}),
    (
        "cho2019:T5",
        4,
        {**CHO, **SOFT, "teacher": "wrn_16_3", "student": "wrn_16_1", "teacher_epochs": 200},
    ),
    ("cho2019:T6", 2, {**CHO, **SOFT, "teacher": "wrn_16_8", "student": "wrn_16_3"}),
    ("cho2019:T6", 10, {**CHO, **SOFT, "teacher": "wrn_16_8", "student": "wrn_16_1"}),
    (
        "cho2019:T1",
        7,
        {**CHO_IMAGENET, **SOFT, "method": "kd", "teacher": "torchvision:resnet50"},
    ),
    ("cho2019:T3", 5, {**CHO_IMAGENET, **SOFT, "method": "eskd"}),
    ("cho2019:T7", 2, {"method": "eskd", "teacher": "torchvision:resnet152", "teacher_epochs": 90}),
    ("cho2019:T8", 15, {**CHO_IMAGENET, "method": "eskd", "teacher_epochs": 35}),
    (
        "cho2019:T8",
        21,
        {
            "method": "at_kd",
            "method.beta": 1000.0,
            "method.stop_epoch": 30,
            "teacher_epochs": 50,
            "teacher": "torchvision:resnet34",
        },
    ),
    ("cho2019:T10", 3, {"method": "kd", "temperature": 20.0, "alpha": 0.9}),
    (
        "sarfraz2020:T2",
        3,
        {**SARFRAZ, "dataset": "cifar100", "student": "resnet26", "method": "scratch"},
    ),
    ("sarfraz2020:T2", 6, {"dataset": "cifar10", "student": "wrn_40_2", "data.label_noise": 0.4}),
    (
        "sarfraz2020:T3",
        25,
        {
            **SARFRAZ,
            **SOFT,
            "method": "fitnet",
            "method.block": 2,
            "method.warmup_share": 0.5,
            "method.warmup_lr": 0.001,
        },
    ),
    (
        "sarfraz2020:T3",
        81,
        {
            "method": "one",
            "temperature": 3.0,
            "method.branches": 3,
            "train.epochs": 300,
            "train.lr_factor": 0.1,
        },
    ),
    (
        "sarfraz2020:T4",
        73,
        {
            **SARFRAZ,
            "dataset": "cifar100",
            "method": "rkd",
            "method.distance_weight": 25.0,
            "method.angle_weight": 50.0,
        },
    ),
    ("sarfraz2020:T4", 49, {"method": "sp", "method.beta": 3000.0, "method.block": 3}),
    (
        "sarfraz2020:T5",
        6,
        {**SARFRAZ, **SOFT, "data.label_noise": 0.2, "teacher": "wrn_40_2", "student": "wrn_16_2"},
    ),
    ("sarfraz2020:T5", 45, {"method": "dml", "temperature": 4.0, "method.members": 2}),
    ("sarfraz2020:T6", 5, {**SOFT, "data.imbalance": 0.2, "teacher": "wrn_40_2"}),
    ("sarfraz2020:T6", 22, {"method": "at", "method.beta": 1000.0, "data.imbalance": 0.6}),
    (
        "chandrasegaran2022:T2",
        3,
        {
            "method": "scratch",
            "method.label_smoothing": 0.1,
            "student": "torchvision:resnet50",
            "train.epochs": 90,
            "train.milestones": "0.333,0.667",
        },
    ),
    (
        "chandrasegaran2022:T2",
        7,
        {
            "dataset": "imagenet",
            "label_smoothing": 0.1,
            "temperature": 1.0,
            "alpha": 1.0,
            "train.epochs": 200,
            "train.milestones": "0.4,0.8",
            "train.batch_size": 256,
            "teacher_epochs": 90,
        },
    ),
    ("chandrasegaran2022:TB.3", 5, {"student": "torchvision:efficientnet_b0", "alpha": 1.0}),
    ("chandrasegaran2022:TD.1", 1, {"student": "torchvision:resnet18", "label_smoothing": 0.0}),
    (
        "wang2020:T5",
        3,
        {**SOFT, "train.epochs": 100} | {"train.lr": 0.1, "train.batch_size": 256},
    ),
]


def _config(target: str, number: int) -> dict[str, Scalar]:
    recipe = recipe_of(cells_of(target)[number])
    trial = parse(recipe.settings)
    return (teacher_trial(trial) if recipe.teaches else trial).flat()


@pytest.mark.parametrize(("target", "number", "expected"), BY_HAND)
def test_a_cell_is_trained_as_the_paper_says(
    target: str, number: int, expected: dict[str, Scalar]
) -> None:
    config = _config(target, number)
    assert {key: config.get(key) for key in expected} == expected


REASONS = [
    ("park2020:T1", 10, "a difference between"),
    ("park2020:T6", 1, "an analysis of trained networks"),
    ("cho2019:T2", 2, "an analysis of trained networks"),
    ("park2020:T5", 2, "quoted from another paper"),
    ("wang2020:T2", 15, "damaged: it repeats another cell's"),
    ("wang2020:T5", 6, "does not print the settings of sp"),
    ("cho2019:T4", 1, "size of a network"),
    ("cho2019:T4", 2, "chain of networks"),
    ("cho2019:T4", 3, "ensemble"),
    ("cho2019:T5", 3, "a median"),
    ("cho2019:T6", 4, "chain of networks"),
    ("cho2019:T9", 1, "fine-tunes students of ImageNet"),
    ("chandrasegaran2022:T4", 5, "starts from ImageNet weights"),
    ("chandrasegaran2022:T5", 3, "translation"),
    ("chandrasegaran2022:TH.2", 5, "temperature is lost in print"),
    ("chandrasegaran2022:TJ.1", 6, "label smoothing is lost in print"),
]


@pytest.mark.parametrize(("target", "number", "reason"), REASONS)
def test_a_cell_that_cannot_be_trained_says_why(target: str, number: int, reason: str) -> None:
    with pytest.raises(NotReproducible, match=reason):
        recipe_of(cells_of(target)[number])


def test_every_cell_makes_a_valid_trial_or_says_why_not() -> None:
    made: Counter[str] = Counter()
    for figure in figures():
        try:
            recipe = recipe_of(figure)
        except NotReproducible:
            assert figure.paper != "sarfraz2020" or figure.table == "F1"
            continue
        trial = parse(recipe.settings)
        trained = teacher_trial(trial) if recipe.teaches else trial
        assert (trained.teacher is None) == (trained.method in ("scratch", "dml", "one"))
        made[figure.paper] += 1
    assert set(made) == set(PAPERS)


def test_a_network_that_kdtune_does_not_build_is_named() -> None:
    figure = Figure(
        paper="cho2019",
        table="T6",
        row_label="",
        dataset="cifar10",
        teacher="",
        student="Transformer",
        method="scratch",
        metric="test_error",
        value=5.0,
        printed="5.0",
    )
    assert obstacle(figure) == "kdtune has no Transformer"
