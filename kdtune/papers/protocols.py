"""What a paper's protocol says of one of its cells, as canonical keys and typed values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdtune.papers.figure import Figure
from kdtune.papers.figures import protocol

if TYPE_CHECKING:
    from kdtune.contracts import Scalar

_PLAIN = ("lr", "momentum", "nesterov", "weight_decay", "batch_size", "epochs", "lr_factor")
"""Names in the protocols that are also keys of ``train``."""
_FLOATS = ("lr", "momentum", "weight_decay", "lr_factor")


def protocol_settings(figure: Figure) -> dict[str, "Scalar"]:
    """Settings that the paper states for all cells like this one; nothing of quoted figures."""
    if figure.conditions.get("origin") == "original_paper":
        return {}
    whole = protocol(figure.paper)
    match figure.paper:
        case "wang2020":
            return _wang(figure, whole)
        case "cho2019":
            return _cho(figure, whole)
        case "sarfraz2020":
            return _sarfraz(figure, whole)
        case "chandrasegaran2022":
            return _chandrasegaran(figure, whole)
    return {}


def _wang(figure: Figure, whole: Mapping[str, Any]) -> dict[str, "Scalar"]:
    if "epochs" not in figure.conditions:
        return {}  # networks that others trained
    return _training(whole["settings"][figure.dataset])


def _cho(figure: Figure, whole: Mapping[str, Any]) -> dict[str, "Scalar"]:
    own = whole["settings"][figure.dataset]
    settings = _training(own)
    if figure.dataset == "cifar10":
        settings["augment"] = "standard"
        if figure.teacher:
            settings |= _full_teacher(own["epochs"])
    return settings


def _sarfraz(figure: Figure, whole: Mapping[str, Any]) -> dict[str, "Scalar"]:
    if figure.method == "one":
        return {}  # trained as its own paper does
    settings = _training(whole) | {"augment": "standard", "data.label_noise": 0.0}
    if figure.teacher:
        settings |= _full_teacher(whole["epochs"])
    return settings | _sarfraz_method(figure.method, whole)


def _sarfraz_method(method: str, whole: Mapping[str, Any]) -> dict[str, "Scalar"]:
    own = whole["methods"].get(method, {})
    first = whole["stage1"]
    warmup: dict[str, Scalar] = {
        "method.warmup_share": first["epochs"] / whole["epochs"],
        "method.warmup_lr": float(first["lr"]),
    }
    match method:
        case "bss":
            return {f"method.{key}": own[key] for key in ("attack_size", "num_steps")}
        case "fitnet":
            return {"method.block": own["stage1_block_weights"].index(1) + 1, **warmup}
        case "fsp":
            weights = enumerate(own["stage1_block_weights"], start=1)
            return {**{f"method.weight{i}": float(weight) for i, weight in weights}, **warmup}
        case "at":
            return {"method.blocks": 3}
        case "sp":
            return {"method.block": 3}
        case "rkd_d" | "rkd_a" | "rkd_da":
            return {"method.tap": "block3"}
    return {}


def _chandrasegaran(figure: Figure, whole: Mapping[str, Any]) -> dict[str, "Scalar"]:
    settings = whole["settings"]
    is_teacher = figure.conditions.get("role") == "teacher"
    if not (figure.teacher or is_teacher):
        return {}  # a network that others trained
    if figure.dataset == "imagenet":
        own, teachers = settings["imagenet_student"], settings["imagenet_teacher"]
        found = _training(teachers if is_teacher else own) | {"augment": "standard"}
    elif figure.dataset == "cub200":
        # Its images are also rotated and recoloured, for which there is no policy here.
        teachers = settings["cub200_teacher_and_student"]
        found = _training(teachers)
    else:
        return {}  # translation, trained with Adam on tokens
    return found if is_teacher else found | _full_teacher(teachers["epochs"])


def _full_teacher(epochs: int) -> dict[str, "Scalar"]:
    """One trained to the end, unless the cell says that it was stopped early."""
    return {"teacher_epochs": epochs, "teacher.full_epochs": epochs}


def _training(stated: Mapping[str, Any]) -> dict[str, "Scalar"]:
    """The keys of ``train`` that a protocol states; those it is silent on are left out."""
    found: dict[str, Scalar] = {}
    for name in _PLAIN:
        value = stated.get(name)
        if value is not None:
            found[f"train.{name}"] = float(value) if name in _FLOATS else value
    drops = _drops(stated)
    if drops or stated.get("lr_drop_every"):
        found["train.schedule"] = "step"
    if drops:
        shares = (round(epoch / stated["epochs"], 3) for epoch in drops)
        found["train.milestones"] = ",".join(f"{share:g}" for share in shares)
    return found


def _drops(stated: Mapping[str, Any]) -> list[int]:
    """Epochs at which the rate drops; none if they do not follow from what is stated."""
    listed, every = stated.get("lr_milestones"), stated.get("lr_drop_every")
    if listed:
        return list(listed)
    if every and stated.get("epochs"):
        return list(range(every, stated["epochs"], every))
    return []
