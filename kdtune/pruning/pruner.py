"""What a pruning method is, the record it leaves, and the verbs over every method."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from kdtune.registry import Registry

Detail = Mapping[str, Sequence[int]]
"""Per layer path the removed channels, ascending; empty for a method that keeps the shapes."""

SLIMMING_STRENGTH = 1e-4
"""Weight of the L1 penalty on batch-norm scales; the authors' code takes 1e-5 for ResNet and
DenseNet (Liu et al., 2017)."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How much to remove, and where.

    Attributes:
        ratio: Share removed, in (0, 1).
        ratios: Shares removed per stage, in [0, 1), in place of ``ratio``.
        skip: Name of a list of layers that are spared; empty for none.
    """

    ratio: float
    ratios: Sequence[float] | None = None
    skip: str = ""


class Pruner(Protocol):
    """A method: how to prune, how to give a fresh network the same shapes, how to deliver.

    Attributes:
        by_layer: Whether each layer has a share of its own, so that shares per stage and lists of
            spared layers make sense.
    """

    by_layer: ClassVar[bool]

    def prune(self, model: nn.Module, cut: Cut, example: Tensor) -> Detail:
        """Prune in place; ``example`` is a ``(1, C, H, W)`` input on the model's device."""
        ...

    def penalised(self, model: nn.Module, example: Tensor) -> list[nn.Parameter]:
        """What an L1 penalty should shrink before pruning; empty for most methods."""
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
        except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
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
    skip: str = "",
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
            prune layer by layer.
        skip: Name of a list of spared layers, for the same methods; empty for none.

    Raises:
        ValueError: If the method is unknown or does not prune layer by layer, a ratio is out of
            range, the list does not exist for this network, or the network has nothing that the
            method can prune.
    """
    pruner = PRUNERS.get(method)
    if not 0 < ratio < 1:
        raise ValueError(f"the share removed by pruning must be in (0, 1), got {ratio}")
    cut = Cut(ratio=ratio, ratios=ratios, skip=skip)
    if not pruner.by_layer:
        _refuse_layers(method, cut)
    with _eval_mode(model):
        detail = pruner.prune(model, cut, _example(model, channels, size))
    return PruneRecord(method=method, ratio=ratio, detail=detail)


def regulariser(
    model: nn.Module,
    *,
    method: str,
    channels: int,
    size: int,
    strength: float = SLIMMING_STRENGTH,
) -> Callable[[], None]:
    """What to call in every step of the training before pruning.

    The function returned adds ``strength * sign(w)``, the subgradient of an L1 penalty, to the
    gradients of the weights that the method wants small. Call it after ``backward`` (and after the
    unscaling of mixed precision) and before the optimiser's step. It does nothing for methods
    without a penalty. It holds the parameters that the model has now: pruning ends its use.

    Args:
        model: The network, not yet pruned; its mode and buffers stay as they are.
        method: Out of ``PRUNERS.names()``.
        channels: Channels of the images.
        size: Side of the square images in pixels.
        strength: Of the penalty, >= 0.

    Raises:
        ValueError: If the method is unknown, the strength is negative, or the network has nothing
            that the method can prune.
    """
    pruner = PRUNERS.get(method)
    if not strength >= 0:
        raise ValueError(f"the strength of the L1 penalty must be >= 0, got {strength}")
    with _eval_mode(model):
        weights = pruner.penalised(model, _example(model, channels, size))

    def regularise() -> None:
        with torch.no_grad():
            for weight in weights:
                if weight.grad is not None:
                    weight.grad.add_(weight.sign(), alpha=strength)

    return regularise


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


def _refuse_layers(method: str, cut: Cut) -> None:
    able = " or ".join(f"'{name}'" for name in PRUNERS.names() if PRUNERS.get(name).by_layer)
    if cut.ratios is not None:
        raise ValueError(
            f"ratios per stage need prune method {able}, got {list(cut.ratios)} for '{method}'"
        )
    if cut.skip:
        raise ValueError(
            f"a list of spared layers needs prune method {able}, got '{cut.skip}' for '{method}'"
        )


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
