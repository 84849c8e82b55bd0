"""Feature taps: named places in a network that a method may read, without changing ``forward``."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdtune.contracts import Outputs
from kdtune.registry import nearest

_ATTRIBUTE = "tap_points"


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One place to read.

    Attributes:
        path: Dotted path of the submodule.
        side: Whether the submodule's output or its (first) input is read.
        activation: ``post`` if the non-linearity has been applied to the tensor, else ``pre``.
        signed: Whether values below zero can occur.
    """

    path: str
    side: Literal["output", "input"] = "output"
    activation: Literal["pre", "post"] = "post"
    signed: bool = False


def declare_taps(model: nn.Module, points: Mapping[str, Tap]) -> nn.Module:
    """Attach the taps to ``model`` and return it; they survive copying, pickling and pruning."""
    vars(model)[_ATTRIBUTE] = dict(points)
    return model


def taps(model: nn.Module) -> dict[str, Tap]:
    """The taps of a network, in forward order.

    ``stem`` and ``block1`` .. ``blockN`` (the ends of the stages) are maps ``(B, C, H, W)``;
    ``pooled``, what the classifier reads, is ``(B, D)``. Empty for a network without declared taps.
    """
    return dict(vars(model).get(_ATTRIBUTE, {}))


def require_taps(model: nn.Module, wanted: Collection[str], name: str) -> dict[str, Tap]:
    """The taps called ``wanted`` of the network that messages call ``name``.

    Raises:
        ValueError: If one does not exist; the message names the nearest and all that do.
    """
    known = taps(model)
    for tap in wanted:
        if tap not in known:
            raise ValueError(f"unknown tap '{tap}' of model '{name}'{nearest(tap, known)}")
    return {tap: known[tap] for tap in wanted}


def run(model: nn.Module, images: Tensor, taps: Collection[str] = ()) -> Outputs:
    """One forward pass with the taps asked for.

    The taps are read through hooks that live for this call alone; without taps it is a plain call.

    Args:
        model: Any network; its mode (train or eval) is left as it is.
        images: ``(B, C, H, W)``.
        taps: Names out of :func:`taps`.

    Returns:
        Logits ``(B, classes)`` and the tapped tensors, attached to the graph.

    Raises:
        ValueError: If the model has no such tap.
    """
    if not taps:
        return Outputs(logits=model(images))
    points = require_taps(model, taps, type(model).__name__)
    found: dict[str, Tensor] = {}
    handles: list[RemovableHandle] = []
    try:
        for name, point in points.items():
            handles.append(_hook(model, name, point, found))
        logits = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return Outputs(logits=logits, taps=found)


def _hook(model: nn.Module, name: str, tap: Tap, found: dict[str, Tensor]) -> RemovableHandle:
    module = model.get_submodule(tap.path)
    if tap.side == "input":
        return module.register_forward_pre_hook(_keep_input(name, found))
    return module.register_forward_hook(_keep_output(name, found))


def _keep_input(name: str, found: dict[str, Tensor]) -> Callable[[nn.Module, Any], None]:
    def keep(module: nn.Module, args: Any) -> None:
        found[name] = args[0]

    return keep


def _keep_output(name: str, found: dict[str, Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        found[name] = output

    return keep
