"""What a pruning method is, the record it leaves, and the verbs over every method."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from kdtune.registry import Registry

Detail = Mapping[str, Sequence[int]]
"""Per layer path the removed channels, ascending; empty for a method that keeps the shapes."""


class Pruner(Protocol):
    """A method: how to prune, how to give a fresh network the same shapes, how to deliver."""

    def prune(
        self, model: nn.Module, ratio: float, example: Tensor, ratios: Sequence[float] | None
    ) -> Detail:
        """Prune in place; ``example`` is a ``(1, C, H, W)`` input on the model's device."""
        ...

    def replay(self, model: nn.Module, detail: Detail, example: Tensor) -> None:
        """Give an unpruned model the structure that ``detail`` describes."""
        ...

    def finalize(self, model: nn.Module) -> None:
        """Leave plain layers and plain keys; does nothing to a model of another method."""
        ...


PRUNERS: Registry[Pruner] = Registry("pruning method")


@dataclass(frozen=True, kw_only=True)
class PruneRecord:
    """What was done to a network, enough to load its weights into a fresh one.

    Attributes:
        method: Name of the method.
        ratio: Share removed that was asked for, in (0, 1).
        detail: Removed channels per layer path.
    """

    method: str
    ratio: float
    detail: Detail = field(default_factory=dict)

    def to_json(self) -> str:
        """The record as one JSON object with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "PruneRecord":
        """The record that :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is no such record.
        """
        try:
            found = json.loads(text)
            detail = {str(k): [int(i) for i in v] for k, v in found["detail"].items()}
            return cls(method=str(found["method"]), ratio=float(found["ratio"]), detail=detail)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(
                "a prune record must be a JSON object with method, ratio and detail, "
                f"got {text[:80]!r}"
            ) from error


def prune(
    model: nn.Module,
    *,
    method: str,
    ratio: float,
    channels: int,
    size: int,
    ratios: Sequence[float] | None = None,
) -> PruneRecord:
    """Prune ``model`` in place, on its own device; its mode stays as it is.

    Parameters are replaced by new ones: build the optimiser again afterwards.

    Args:
        model: The network.
        method: Out of ``PRUNERS.names()``.
        ratio: Share removed, in (0, 1).
        channels: Channels of the images.
        size: Side of the square images in pixels.
        ratios: Shares removed per stage, in [0, 1), in place of ``ratio``, for methods that
            prune by stage.

    Raises:
        ValueError: If the method is unknown, a ratio is out of range, or the network has nothing
            that the method can prune.
    """
    pruner = PRUNERS.get(method)
    if not 0 < ratio < 1:
        raise ValueError(f"the share removed by pruning must be in (0, 1), got {ratio}")
    with _eval_mode(model):
        detail = pruner.prune(model, ratio, _example(model, channels, size), ratios)
    return PruneRecord(method=method, ratio=ratio, detail=detail)


def replay(model: nn.Module, record: PruneRecord, *, channels: int, size: int) -> None:
    """Give a freshly built network the structure of the pruned one.

    Afterwards the pruned network's ``state_dict`` loads strictly; the weights until then have no
    meaning.

    Args:
        model: The same network as the pruned one, before pruning; changed in place.
        record: What :func:`prune` returned.
        channels: Channels of the images.
        size: Side of the square images in pixels.

    Raises:
        ValueError: If the record does not fit the network.
    """
    pruner = PRUNERS.get(record.method)
    with _eval_mode(model):
        pruner.replay(model, record.detail, _example(model, channels, size))


def finalize(model: nn.Module) -> None:
    """Make pruning permanent for delivery: plain layers, zeros in place of masks.

    Does nothing where there is no mask.
    """
    for name in PRUNERS.names():
        PRUNERS.get(name).finalize(model)


def _example(model: nn.Module, channels: int, size: int) -> Tensor:
    """A black image that asks for a gradient, so that frozen networks can be traced as well."""
    weight = next(model.parameters())
    return torch.zeros(
        1, channels, size, size, device=weight.device, dtype=weight.dtype, requires_grad=True
    )


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with autograd on (tracing needs both), then the modes as they were."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.enable_grad():
            model.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training
