"""A printed figure in the names and units of measured runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kdtune.papers.figure import Figure
from kdtune.papers.networks import network_name
from kdtune.papers.protocols import protocol_settings

if TYPE_CHECKING:
    from kdtune.contracts import Scalar

UNSTATED = "unstated"
"""Value of a setting that is in use, but whose value the paper leaves out."""

METHODS: Mapping[str, str] = {"full_kd": "kd", "eskd_at": "at_kd", "rkd_da": "rkd"}
"""Methods of the tables that go by another name here."""

_KEYS: Mapping[str, str] = {
    "temperature": "temperature",
    "alpha": "alpha",
    "beta": "method.beta",
    "sp_weight": "method.beta",
    "rkd_d_weight": "method.distance_weight",
    "rkd_a_weight": "method.angle_weight",
    "branches": "method.branches",
    "cohort": "method.members",
    "label_smoothing": "label_smoothing",
    "teacher_epochs": "teacher_epochs",
    "epochs": "train.epochs",
    "finetune_epochs": "train.epochs",
    "label_noise": "data.label_noise",
    "class_imbalance": "data.imbalance",
    "student_augment": "augment",
    "augment": "augment",
    "teacher_augment": "teacher.augment",
}
"""Condition -> key, where one stands for the other."""

_OF_SCRATCH: Mapping[str, str | None] = {
    "label_smoothing": "method.label_smoothing",
    "temperature": None,
    "alpha": None,
}
"""The same without a teacher: the smoothing is the network's own, and nothing is softened."""

_ACCURACIES: Mapping[str, str] = {
    "test_accuracy": "test/accuracy",
    "test_error": "test/accuracy",
    "top1_accuracy": "test/accuracy",
    "top1_error": "test/accuracy",
    "top5_accuracy": "test/top5",
    "top5_error": "test/top5",
}
_PRUNERS: Mapping[str, str] = {
    "l1_filter": "l1_filter",
    "network_slimming": "slimming",
    "weight_magnitude": "magnitude",
}
_AUGMENTS = ("augment", "student_augment", "teacher_augment")
_BATCHES: Mapping[tuple[str, str], str] = {
    **{("park2020", method): "mixed" for method in ("scratch", "kd", "feature_kd")},
    ("wang2020", "kd"): "plain+mixed",
}
"""How mixed images are trained on; with CRD, wang2020 does not say."""


def canonical_settings(figure: Figure) -> dict[str, "Scalar"]:
    """The settings that the paper states for a cell, as flat keys of a configuration.

    What it is silent on is not there. A value that is lost, or known only by its bounds, is a text
    in place of a number: ``unstated_between_1_and_2``, ``above_0.1``, or :data:`UNSTATED`.
    Networks that kdtune does not build keep their printed names, and methods likewise.
    """
    stated: dict[str, Scalar] = {
        "dataset": figure.dataset,
        "student": network_name(figure.student, figure.dataset) or figure.student,
        "method": METHODS.get(figure.method, figure.method),
    }
    if figure.teacher:
        stated["teacher"] = network_name(figure.teacher, figure.dataset) or figure.teacher
    if figure.method == "eskd_at":
        stated["method.stop_epoch"] = UNSTATED
    return {
        **protocol_settings(figure),
        **stated,
        **_direct(figure),
        **_augmented(figure),
        **_pruned(figure),
    }


def other_conditions(figure: Figure) -> dict[str, "Scalar"]:
    """The conditions of a cell that no setting stands for, such as ``generation`` or ``split``."""
    used = {name for name in figure.conditions if _key(name, figure) is not None}
    if "augment" in used:
        used.add("pick")
    if _is_pruned(figure):
        used |= {"pruner", "remaining", "phase"}
    return {name: value for name, value in figure.conditions.items() if name not in used}


def canonical_metric(figure: Figure) -> tuple[str, float, float | None]:
    """Name, value and standard deviation as a measured run logs them.

    Accuracies and errors on held-out images become ``test/accuracy`` and ``test/top5`` as shares in
    [0, 1]; what has no counterpart stays ``reported/<metric>``, as printed. A median has a name of
    its own, since runs are compared by their means.
    """
    name = _ACCURACIES.get(figure.metric)
    if figure.metric == "ensemble_error":
        whose = "generations" if figure.conditions["ensemble"] == "generations" else "scratch"
        name = f"ensemble/{whose}_test_accuracy"
    if name is None:
        return f"reported/{figure.metric}", figure.value, figure.std
    if figure.conditions.get("statistic") == "median":
        name += "_median"
    percent = 100 - figure.value if figure.metric.endswith("_error") else figure.value
    return name, _share(percent), None if figure.std is None else _share(figure.std)


def selection(figure: Figure) -> str:
    """How the network behind a figure was chosen: ``test`` if by its test accuracy, else silent.

    Only sarfraz2020 says: its teachers are the best of five seeds, and its online methods report
    the best branch or the better network.
    """
    best_on_test = figure.table == "T2" or figure.method in ("one", "dml")
    return "test" if figure.paper == "sarfraz2020" and best_on_test else ""


def _direct(figure: Figure) -> dict[str, "Scalar"]:
    found: dict[str, Scalar] = {}
    for name, value in figure.conditions.items():
        key = _key(name, figure)
        if key is not None and name not in _AUGMENTS:
            found[key] = value
    return found


def _key(name: str, figure: Figure) -> str | None:
    if figure.method == "scratch" and name in _OF_SCRATCH:
        return _OF_SCRATCH[name]
    return _KEYS.get(name)


def _augmented(figure: Figure) -> dict[str, "Scalar"]:
    found: dict[str, Scalar] = {}
    for name in _AUGMENTS:
        policy = figure.conditions.get(name)
        if policy is None:
            continue
        key = _KEYS[name]
        # park2020 says none of images without what it studies; its space reads that as usual crops.
        found[key] = "standard" if policy == "none" else policy
        if policy == "autoaugment":
            found[f"{key}.policy"] = "random"
    picked_by = figure.conditions.get("pick", "none")
    if picked_by != "none":
        found |= {"augment": "cutmix_pick", "augment.criterion": picked_by}
    batches = _BATCHES.get((figure.paper, figure.method))
    if batches and found.get("augment") in ("mixup", "cutmix", "cutmix_pick"):
        found["augment.batches"] = batches
    return found


def _is_pruned(figure: Figure) -> bool:
    return figure.conditions.get("phase", "unpruned") != "unpruned"


def _pruned(figure: Figure) -> dict[str, "Scalar"]:
    if "phase" not in figure.conditions:
        return {}
    if not _is_pruned(figure):
        return {"prune_ratio": 0.0}
    pruner, phase = str(figure.conditions["pruner"]), str(figure.conditions["phase"])
    remaining = str(figure.conditions["remaining"]).split("/")
    removed = [_share(100 - float(percent)) for percent in remaining]
    settings: dict[str, Scalar] = {
        "prune.method": _PRUNERS[pruner],
        "prune.phase": phase,
        # To six digits, as the mean of shares per stage is kept in a configuration.
        "prune_ratio": round(sum(removed) / len(removed), 6),
    }
    if len(removed) > 1:
        settings["prune.stages"] = ",".join(f"{share:g}" for share in removed)
    return settings


def _share(percent: float) -> float:
    """Of 1; rounded, so that 69.76 % is 0.6976 and not 0.6976000000000001."""
    return round(percent / 100, 8)
