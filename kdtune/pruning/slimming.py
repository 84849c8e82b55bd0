"""Network slimming: channels ranked by their batch-norm scale (Liu et al., 2017, arXiv:1708.06519).

Before pruning, an L1 penalty on the scales drives those of useless channels to zero (see
:func:`~kdtune.pruning.pruner.regulariser`). Then one threshold over the whole network decides.

Only free channels take part: the outputs of a conv that are read by one batch norm and nothing
else, and whose removal narrows no residual stream: all of VGG's, and in a residual block those
between its convs. The original goes further there, with a layer in front of each block that selects
channels: half of its ResNet-56's channels are not half of these. A DenseNet's batch norms select
their channels as in the original, all but the last.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdtune.pruning.filters import dependency_graph, prunable_convs, remove_filters
from kdtune.pruning.l1_filter import kept_filters
from kdtune.pruning.pruner import PRUNERS, Cut, Detail
from kdtune.pruning.selection import select_channels, selectable_norms


@dataclass(frozen=True, kw_only=True)
class Slimming:
    """Removes the share of all free channels whose batch-norm scales are smallest.

    The share counts free channels alone. A layer that would be emptied keeps its largest channel,
    so the share removed may fall short at high ratios.
    """

    by_layer: ClassVar[bool] = False

    def prune(self, model: nn.Module, cut: Cut, example: Tensor) -> Detail:
        """See :class:`~kdtune.pruning.pruner.Pruner`."""
        scales = {path: norm.weight.detach() for path, norm in free_norms(model, example).items()}
        detail = smallest_channels(scales, cut.ratio)
        _remove(model, detail, example)
        return detail

    def penalised(self, model: nn.Module, example: Tensor) -> list[nn.Parameter]:
        """The scales that :meth:`prune` ranks."""
        return [norm.weight for norm in free_norms(model, example).values()]

    def replay(self, model: nn.Module, detail: Detail, example: Tensor) -> None:
        """See :class:`~kdtune.pruning.pruner.Pruner`."""
        _remove(model, detail, example)

    def finalize(self, model: nn.Module) -> None:
        """Nothing to do: the channels are gone already."""


PRUNERS.register("slimming")(Slimming())


def smallest_channels(scales: Mapping[str, Tensor], ratio: float) -> dict[str, list[int]]:
    """The channels at or below the ``ratio`` quantile of all ``|scale|``, less one per layer.

    Of ``N`` channels, ``int(N * (1 - ratio))`` are above it. Among equal scales the earlier
    channels go.

    Args:
        scales: ``(C,)`` per layer.
        ratio: Share removed, in (0, 1).

    Returns:
        Ascending indices for each layer that loses any; each keeps at least its largest channel.
    """
    sizes = {path: scale.abs().cpu() for path, scale in scales.items()}
    order = torch.cat(list(sizes.values())).argsort(stable=True)
    doomed = torch.zeros(len(order), dtype=torch.bool)
    doomed[order[: len(order) - kept_filters(len(order), ratio)]] = True
    detail = {}
    parts = torch.split(doomed, [len(size) for size in sizes.values()])
    for (path, size), goes in zip(sizes.items(), parts, strict=True):
        if goes.all():
            goes[size.argmax()] = False
        if goes.any():
            detail[path] = goes.nonzero().flatten().tolist()
    return detail


def free_norms(model: nn.Module, example: Tensor) -> dict[str, _BatchNorm]:
    """The batch norms whose channels are ranked, by the path of what loses the channels.

    That is the conv in front, if its channels are free, or the batch norm itself, if it may select.

    Raises:
        ValueError: If there is none.
    """
    norms: dict[str, _BatchNorm] = dict(selectable_norms(model))
    if not norms:
        graph = dependency_graph(model, example)
        for path, conv in prunable_convs(model, example).items():
            readers = [node.module for node in graph.module2node[conv].outputs]
            if len(readers) == 1 and isinstance(readers[0], _BatchNorm) and readers[0].affine:
                norms[path] = readers[0]
    if not norms:
        raise ValueError(
            f"slimming needs convs that feed one batch norm alone, '{type(model).__name__}' has "
            "none; use prune method 'l1_filter' or 'magnitude'"
        )
    return norms


def _remove(model: nn.Module, detail: Detail, example: Tensor) -> None:
    norms = selectable_norms(model)
    if not norms:
        remove_filters(model, detail, example)
        return
    for path, removed in detail.items():
        select_channels(model, path, removed)
