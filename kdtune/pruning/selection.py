"""Choosing which channels of a shared map a batch norm reads, where the map itself must stay.

In networks that append or add to a stream, dropping a channel of the stream would narrow every
later reader. A reader alone can do without it: its batch norm picks the channels that are left, and
the conv behind it loses those inputs (the channel selection of Liu et al., 2017, arXiv:1708.06519).
"""

from collections.abc import Sequence

import torch
import torch_pruning as tp
from torch import Tensor, nn

from kdtune.pruning.filters import conv_at


class SelectedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of some channels: ``(B, C, H, W)`` to ``(B, len(kept), H, W)``.

    Args:
        norm: What it takes the place of; its entries for the kept channels are copied.
        kept: Channels of the input, ascending.
    """

    index: Tensor

    def __init__(self, norm: nn.BatchNorm2d, kept: Sequence[int]) -> None:
        super().__init__(len(kept), eps=norm.eps, momentum=norm.momentum)
        self.register_buffer("index", torch.tensor(kept))
        self.to(norm.weight.device, norm.weight.dtype).train(norm.training)
        with torch.no_grad():
            own = self.state_dict()
            for name, old in norm.state_dict().items():
                own[name].copy_(old[self.index] if old.ndim else old)

    def forward(self, input: Tensor) -> Tensor:
        """Pick, then normalise."""
        return super().forward(input.index_select(1, self.index))


def selectable_norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The batch norms that blocks declare under ``selectable``, by path, in network order.

    A block declares pairs of paths, relative to itself: a batch norm of a shared map, and the conv
    that alone reads it, behind a ReLU.
    """
    return {
        norm: module
        for norm in _readers(model)
        if isinstance(module := model.get_submodule(norm), nn.BatchNorm2d)
        and not isinstance(module, SelectedBatchNorm2d)
    }


def select_channels(model: nn.Module, path: str, removed: Sequence[int]) -> None:
    """Make the batch norm at ``path``, and the conv behind it, do without some channels; in place.

    Raises:
        ValueError: If it is no selectable batch norm of the model, or the channels do not exist or
            are all there are.
    """
    norms = selectable_norms(model)
    if path not in norms:
        raise ValueError(f"'{path}' must be a batch norm that may select its channels")
    channels = norms[path].num_features
    if not set(removed) < set(range(channels)):
        raise ValueError(
            f"the removed channels of '{path}' must be some of 0 to {channels - 1}, got "
            f"{list(removed)}; was the model built with the same name and unpruned?"
        )
    kept = sorted(set(range(channels)) - set(removed))
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, SelectedBatchNorm2d(norms[path], kept))
    tp.prune_conv_in_channels(conv_at(model, _readers(model)[path]), sorted(removed))


def _readers(model: nn.Module) -> dict[str, str]:
    """Path of a selectable batch norm -> path of the conv behind it."""
    return {
        f"{path}.{norm}": f"{path}.{conv}"
        for path, block in model.named_modules()
        for norm, conv in vars(block).get("selectable", ())
    }
