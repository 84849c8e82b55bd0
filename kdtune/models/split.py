"""Cutting a network behind a stage, so that what follows can be copied or replaced."""

from collections import OrderedDict

from torch import nn

from kdtune.models.tap import require_taps, taps


def split_after(model: nn.Module, tap: str) -> tuple[nn.Module, nn.Module]:
    """Cut a sequence of stages behind the one that ``tap`` reads.

    The two parts share the modules of ``model`` (a trained part trains the network), so
    ``tail(trunk(images))`` equals ``model(images)`` bit for bit. They declare no taps.

    Args:
        model: A network of the zoo, or any ``nn.Sequential`` with declared taps.
        tap: The name of a stage, like ``block2``.

    Returns:
        The trunk, from images to the map of the tap, and the tail, from there to the logits.

    Raises:
        ValueError: If the network is not a plain sequence of stages or has no such stage.
    """
    if not isinstance(model, nn.Sequential) or type(model).forward is not nn.Sequential.forward:
        raise ValueError(
            f"a network must be a plain sequence of stages to be cut behind '{tap}', got "
            f"'{type(model).__name__}'; choose a model of the zoo"
        )
    point = require_taps(model, [tap], type(model).__name__)[tap]
    stages = OrderedDict(model.named_children())
    if point.side != "output" or point.path not in stages:
        choices = [
            name for name, p in taps(model).items() if p.side == "output" and p.path in stages
        ]
        raise ValueError(
            f"a network can be cut behind a whole stage only, got tap '{tap}'; "
            f"choose one of {', '.join(choices)}"
        )
    names = list(stages)
    cut = names.index(point.path) + 1
    return _part(model, names[:cut]), _part(model, names[cut:])


def _part(model: nn.Sequential, names: list[str]) -> nn.Sequential:
    part = nn.Sequential(OrderedDict((name, model.get_submodule(name)) for name in names))
    part.training = model.training
    return part
