"""What a printed cell means as a trial, or why it cannot be one.

A cell is trained as its paper's space says (what the space fixes, the settings of the arm, the
values of its published recipe), under whatever the paper states for the cell itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kdtune.config import parse
from kdtune.contracts import FlatConfig, Scalar
from kdtune.papers import UNSTATED, Figure, canonical_metric, canonical_settings, network_name
from kdtune.search.space import Space, load
from kdtune.training.schedules import first_drop

SCORES = ("test/accuracy", "test/top5")
"""What a run reads from the test split."""


class NotReproducible(ValueError):
    """Why a cell cannot be trained here; the text continues "cell 4 is left out: ..."."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a cell is trained.

    Attributes:
        settings: Flat configuration of the student's trial, without seed.
        teaches: Whether the cell is the teacher's own score: what is trained is then the teacher
            that ``settings`` asks for.
    """

    settings: FlatConfig
    teaches: bool = False


def recipe_of(figure: Figure) -> Recipe:
    """How the cell that printed ``figure`` is trained, at full length.

    Raises:
        NotReproducible: If it cannot be, whatever data there are.
    """
    reason = obstacle(figure)
    if reason:
        raise NotReproducible(reason)
    stated = canonical_settings(figure)
    space = load(figure.paper)
    elsewhere = PROTOCOLS.get((figure.paper, figure.dataset), {})
    if figure.conditions.get("role") == "teacher":
        return Recipe(settings=_teaching(space, stated, elsewhere), teaches=True)
    arm = arm_of(figure.paper, stated)
    if arm not in space.arm_names:
        raise NotReproducible(f"the paper does not print the settings of {figure.method}")
    common = {key: value for key, value in elsewhere.items() if space.arm(arm).inherits(key)}
    settings = {**space.config(arm, _searched(space, arm, stated)), **common, **stated}
    if settings.get("method.stop_epoch") == UNSTATED:
        settings["method.stop_epoch"] = first_drop(
            parse({**settings, "method.stop_epoch": None}).train
        )
    return Recipe(settings=settings)


def obstacle(figure: Figure) -> str:
    """Why the cell cannot be trained here, whatever data there are; empty if nothing is known."""
    said = figure.conditions
    metric = canonical_metric(figure)[0]
    lost = [key for key in COUNTED if isinstance(said.get(key), str)]
    absent = [n for n in (figure.teacher, figure.student) if n and not _known(n, figure)]
    if figure.metric in DERIVED:
        return "a difference between the accuracies of other cells"
    if metric.endswith("_median"):
        return "a median: the mean of the same runs is a cell of its own"
    if metric not in SCORES:
        return BESIDES.get(figure.metric, "an analysis of trained networks, no score of a training")
    if said.get("origin") == "original_paper":
        return "quoted from another paper, under that paper's protocol"
    if lost:
        return f"its {lost[0].replace('_', ' ')} is lost in print"
    if DAMAGED in figure.note:
        return "the printed figure is damaged: it repeats another cell's"
    if figure.dataset in MORE_THAN_TRAINING:
        return MORE_THAN_TRAINING[figure.dataset]
    if _chained(figure):
        return "a chain of networks, each taught by the one before: see 'kdtune sequence'"
    if absent:
        return f"kdtune has no {absent[0]}"
    return ""


COUNTED = ("temperature", "alpha", "label_smoothing", "epochs", "teacher_epochs")
"""Conditions that are numbers; a text in their place says what is left of a lost one."""

DAMAGED = "true figure is probably lost"
"""How the notes mark a figure that cannot be what was printed there."""

DERIVED = ("accuracy_gain", "surplus")
"""What follows from accuracies of the same table."""

BESIDES = {
    "params": "the size of a network: see 'kdtune models'",
    "ensemble_error": "the error of an ensemble: see 'kdtune sequence'",
    "bleu": "translation, which is not trained here",
}
"""What else is printed than scores and analyses of them."""

MORE_THAN_TRAINING = {
    "cub200": "starts from ImageNet weights, on turned and recoloured images",
    "places365": "fine-tunes students of ImageNet: see 'kdtune finetune'",
}
"""What a paper does on a dataset besides training on it."""


def _chained(figure: Figure) -> bool:
    """Whether the network, or its teacher, was distilled itself before."""
    said = figure.conditions
    networks = str(said.get("sequence", "")).split(">")
    generation = said.get("generation", 1)
    if said.get("teacher_training", "scratch") != "scratch" or generation != 1:
        return True
    return len(networks) > 2 and said.get("role", "student") in ("small", "student")


def _known(network: str, figure: Figure) -> bool:
    return network_name(network, figure.dataset) is not None


def arm_of(paper: str, stated: FlatConfig) -> str:
    """The arm of the paper's space that a cell is a point of; need not exist."""
    method, augment = str(stated["method"]), str(stated.get("augment", "standard"))
    match paper:
        case "park2020" if "prune.method" in stated:
            pruner = str(stated["prune.method"])
            return f"{method}-{'filters' if pruner == 'l1_filter' else pruner}"
        case "park2020":
            return method if method == "scratch" else f"{method}-{augment}"
        case "wang2020":
            kinds = {"mixup": "mixed", "cutmix": "mixed", "cutmix_pick": "pick"}
            return f"{method}-{kinds[augment]}" if augment in kinds else method
        case "cho2019" if "method.stop_epoch" in stated:
            return f"{method}-at"
    return method


def _imagenet(epochs: int, drops: str, *, nesterov: bool) -> dict[str, Scalar]:
    """Rate 0.1, cut by 10 at shares of the epochs; batch and weight decay as they usually are."""
    common: dict[str, Scalar] = {
        "lr": 0.1,
        "batch_size": 256,
        "weight_decay": 1e-4,
        "nesterov": nesterov,
        "milestones": drops,
        "lr_factor": 0.1,
    }
    return {
        **{f"train.{key}": value for key, value in common.items()},
        **{f"teacher.{key}": value for key, value in common.items()},
        "train.epochs": epochs,
        "teacher_epochs": epochs,
        "teacher.full_epochs": epochs,
    }


PROTOCOLS: Mapping[tuple[str, str], FlatConfig] = {
    # Section 4.1, with torchvision's weights as teacher, which is trained alike here.
    ("wang2020", "imagenet"): _imagenet(100, "0.3,0.6,0.9", nesterov=False),
    # Section 4. The epochs are not printed: 90, as its rate drops every 30.
    ("cho2019", "imagenet"): _imagenet(90, "0.333,0.667", nesterov=True),
}
"""Where a paper trains otherwise on another dataset than on the one of its space."""


def _searched(space: Space, arm: str, stated: FlatConfig) -> dict[str, Scalar]:
    """A value for each axis that the cell does not state: the published one."""
    method = space.arm(arm).method
    recipes = [r for r in space.recipes if r.values["method"] == method]
    recipes.sort(key=lambda recipe: recipe.arm != arm)
    values: dict[str, Scalar] = {}
    for key in space.active(arm).keys() - stated.keys():
        found = [recipe.values[key] for recipe in recipes if key in recipe.values]
        if key == "teacher_epochs":
            found = [space.fixed["teacher.full_epochs"]]
        if not found:
            raise NotReproducible(f"the paper does not print its '{key}'")
        values[key] = found[0]
    return values


def _teaching(space: Space, stated: FlatConfig, elsewhere: FlatConfig) -> dict[str, Scalar]:
    """A student of the network, so that what it would be taught by is that network."""
    trained = {**space.fixed, **elsewhere}
    return {
        **trained,
        **{key: value for key, value in stated.items() if key.startswith("data.")},
        "dataset": stated["dataset"],
        "method": "kd",
        "teacher": stated["student"],
        "student": stated["student"],
        "label_smoothing": stated.get("method.label_smoothing", 0.0),
        "teacher_epochs": trained["teacher.full_epochs"],
    }
