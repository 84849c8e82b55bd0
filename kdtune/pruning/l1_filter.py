"""Structured pruning by the L1 norm of filters (Li et al., 2017, arXiv:1608.08710).

In each residual block the first conv keeps its filters of largest norm; batch norm and the next
conv's inputs follow; the block's output and its shortcut keep their width. In VGG every conv is
pruned.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch_pruning as tp
from torch import Tensor, nn

from kdtune.pruning.filters import prunable_convs, remove_filters
from kdtune.pruning.pruner import PRUNERS, Cut, Detail
from kdtune.pruning.skip_lists import spared_convs


@dataclass(frozen=True, kw_only=True)
class L1Filter:
    """Removes a share of the filters, the same in every layer or one share a stage."""

    by_layer: ClassVar[bool] = True

    def prune(self, model: nn.Module, cut: Cut, example: Tensor) -> Detail:
        """See :class:`~kdtune.pruning.pruner.Pruner`.

        A stage is what shares the first component of the path (``block2``, ``layer2``).
        """
        convs = prunable_convs(model, example)
        shares = _shares(convs, cut.ratio, cut.ratios)
        if cut.skip:
            shares |= dict.fromkeys(spared_convs(model, convs, cut.skip), 0.0)
        kept = {path: kept_filters(convs[path].out_channels, shares[path]) for path in convs}
        return _remove_smallest(model, convs, kept, example)

    def penalised(self, model: nn.Module, example: Tensor) -> list[nn.Parameter]:
        """Nothing: the training before pruning is plain."""
        return []

    def replay(self, model: nn.Module, detail: Detail, example: Tensor) -> None:
        """See :class:`~kdtune.pruning.pruner.Pruner`."""
        remove_filters(model, detail, example)

    def finalize(self, model: nn.Module) -> None:
        """Nothing to do: the filters are gone already."""


PRUNERS.register("l1_filter")(L1Filter())


def kept_filters(filters: int, ratio: float) -> int:
    """``int(filters * (1 - ratio))``, never 0, safe against 1.9999999 for 2."""
    return max(1, math.floor(filters * (1 - ratio) + 1e-6))


def _shares(
    convs: Mapping[str, nn.Conv2d], ratio: float, ratios: Sequence[float] | None
) -> dict[str, float]:
    """The share removed of each conv."""
    if ratios is None:
        return dict.fromkeys(convs, ratio)
    stages = list(dict.fromkeys(path.split(".")[0] for path in convs))
    if len(ratios) != len(stages):
        raise ValueError(
            f"ratios per stage must be {len(stages)} numbers ({', '.join(stages)}), "
            f"got {len(ratios)}"
        )
    for share in ratios:
        if not 0 <= share < 1:
            raise ValueError(f"the share removed from a stage must be in [0, 1), got {share}")
    by_stage = dict(zip(stages, ratios, strict=True))
    return {path: by_stage[path.split(".")[0]] for path in convs}


def _remove_smallest(
    model: nn.Module, convs: Mapping[str, nn.Conv2d], kept: Mapping[str, int], example: Tensor
) -> Detail:
    """Let Torch-Pruning rank and remove; the removed filters by path."""
    chosen = {conv: path for path, conv in convs.items() if kept[path] < conv.out_channels}
    pruner = tp.pruner.MagnitudePruner(
        model,
        example,
        importance=tp.importance.MagnitudeImportance(p=1, group_reduction="first", normalizer=None),
        pruning_ratio=0.0,
        # Half a filter of slack: the library truncates, and must arrive at exactly `kept`.
        pruning_ratio_dict={
            conv: 1 - (kept[path] + 0.5) / conv.out_channels for conv, path in chosen.items()
        },
        ignored_layers=_others(model, chosen),
        # The library's defaults are shared dictionaries that keep the last model's layers.
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
        channel_groups={},
    )
    pruner.step()
    for conv, path in chosen.items():
        if conv.out_channels != kept[path]:
            raise ValueError(
                f"'{path}' must keep {kept[path]} filters, got {conv.out_channels}; "
                "its channels are tied to a layer that may not be pruned"
            )
    return {path: sorted(removed) for path, _, removed in pruner.pruning_history()}


def _others(model: nn.Module, chosen: Mapping[nn.Conv2d, str]) -> list[nn.Module]:
    """Every conv and linear layer that keeps its outputs; depthwise convs follow their input."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module not in chosen and module.groups == 1)
    ]
