"""Feature taps: named places in a network that a method may read, without changing ``forward``."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdtune.contracts import Feature, Outputs
from kdtune.registry import nearest

_ATTRIBUTE = "tap_points"

PRE = "_pre"
"""Ending of the taps that read a stage before its ReLU."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One place to read.

    Attributes:
        path: Dotted path of the submodule.
        side: Whether the submodule's output or its (first) input is read.
        activation: ``post`` if the non-linearity has been applied to the tensor, else ``pre``.
        signed: Whether values below zero can occur.
        norm: Dotted path of the batch norm whose scale and shift describe the channels of the
            tensor, where there is one; a margin for what its ReLU cuts off is taken from it.
    """

    path: str
    side: Literal["output", "input"] = "output"
    activation: Literal["pre", "post"] = "post"
    signed: bool = False
    norm: str | None = None


def declare_taps(model: nn.Module, points: Mapping[str, Tap]) -> nn.Module:
    """Attach the taps to ``model`` and return it; they survive copying, pickling and pruning."""
    vars(model)[_ATTRIBUTE] = dict(points)
    return model


def taps(model: nn.Module) -> dict[str, Tap]:
    """The taps of a network, in forward order.

    ``stem`` and ``block1`` .. ``blockN`` (the ends of the stages) are maps ``(B, C, H, W)``.
    ``block1_pre`` .. ``blockN_pre`` are the same places before the ReLU, each with its batch norm:
    the residual sum where a ReLU follows it, the output of the batch norm that follows where the
    network is pre-activated. ``last_map`` is the map that the global pooling reads; ``pooled``,
    what the classifier reads, is ``(B, D)``. A network has those that make sense in it; empty for
    a network without declared taps.
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


def tap_shapes(
    model: nn.Module, taps: Collection[str], *, channels: int, size: int
) -> dict[str, Feature]:
    """What the taps called ``taps`` yield for one image, in the order asked for, without norms.

    Found by one forward pass in eval mode on the model's own device (meta is fine); its modes and
    buffers stay as they are.

    Args:
        model: Any network with declared taps.
        taps: Names out of :func:`taps`.
        channels: Channels of the image.
        size: Side of the square image in pixels.

    Raises:
        ValueError: If the model has no such tap.
    """
    points = require_taps(model, taps, type(model).__name__)
    weight = next(model.parameters())
    image = torch.zeros(1, channels, size, size, device=weight.device, dtype=weight.dtype)
    with torch.no_grad(), _eval_mode(model):
        found = run(model, image, taps).taps
    return {
        name: Feature(
            shape=tuple(found[name].shape[1:]), activation=point.activation, signed=point.signed
        )
        for name, point in points.items()
    }


def norm_of(model: nn.Module, tap: str) -> nn.BatchNorm2d | None:
    """The batch norm that describes the channels of a tap, or None where the tap names none.

    Raises:
        ValueError: If the model has no such tap, or another layer has taken the batch norm's place.
    """
    path = require_taps(model, [tap], type(model).__name__)[tap].norm
    if path is None:
        return None
    module = model.get_submodule(path)
    if not isinstance(module, nn.BatchNorm2d):
        raise ValueError(
            f"the norm '{path}' of tap '{tap}' must be a BatchNorm2d, got {type(module).__name__}"
        )
    return module


def run(model: nn.Module, images: Tensor, taps: Collection[str] = ()) -> Outputs:
    """One forward pass with the taps asked for.

    The taps are read through hooks that live for this call alone; without taps it is a plain call.

    Args:
        model: Any network; its mode (train or eval) is left as it is.
        images: ``(B, C, H, W)``.
        taps: Names out of :func:`taps`.

    Returns:
        Logits ``(B, classes)`` and the tapped tensors, attached to the graph, in the order asked
        for.

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
    return Outputs(logits=logits, taps={name: found[name] for name in points})


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _hook(model: nn.Module, name: str, tap: Tap, found: dict[str, Tensor]) -> RemovableHandle:
    module = model.get_submodule(tap.path)
    if tap.side == "input":
        return module.register_forward_pre_hook(_keep_input(name, found))
    return module.register_forward_hook(_keep_output(name, found))


def _keep_input(name: str, found: dict[str, Tensor]) -> Callable[[nn.Module, Any], None]:
    """Keep what the last call reads; a copy where the module writes over it.

    torchvision's residual blocks call one in-place ReLU after every conv: the last call is the one
    that reads the residual sum.
    """

    def keep(module: nn.Module, args: Any) -> None:
        found[name] = args[0].clone() if getattr(module, "inplace", False) else args[0]

    return keep


def _keep_output(name: str, found: dict[str, Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        found[name] = output

    return keep
