"""Unstructured pruning by one global threshold on the conv weights (Han et al., 2015).

The masks are buffers (``weight_mask`` beside ``weight_orig``) that multiply the weights in every
forward pass: a pruned weight gets no gradient, and momentum or weight decay cannot revive it. The
linear classifier is left alone. Shapes, parameters and multiply-adds stay as they were.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.utils import prune as masks

from kdtune.pruning.pruner import PRUNERS, Cut, Detail


@dataclass(frozen=True, kw_only=True)
class Magnitude:
    """Masks the share of all conv weights that is smallest in absolute value.

    The threshold is global, so a layer of small weights may lose all of them at high shares.
    """

    by_layer: ClassVar[bool] = False

    def prune(self, model: nn.Module, cut: Cut, example: Tensor) -> Detail:
        """See :class:`~kdtune.pruning.pruner.Pruner`."""
        convs = _unmasked_convs(model)
        masks.global_unstructured(
            [(conv, "weight") for conv in convs],
            pruning_method=masks.L1Unstructured,
            amount=cut.ratio,
        )
        return {}

    def penalised(self, model: nn.Module, example: Tensor) -> list[nn.Parameter]:
        """Nothing: the training before pruning is plain."""
        return []

    def replay(self, model: nn.Module, detail: Detail, example: Tensor) -> None:
        """See :class:`~kdtune.pruning.pruner.Pruner`; the masks are ones until weights load."""
        for conv in _unmasked_convs(model):
            masks.identity(conv, "weight")  # type: ignore[no-untyped-call]

    def finalize(self, model: nn.Module) -> None:
        """See :class:`~kdtune.pruning.pruner.Pruner`."""
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and masks.is_pruned(module):
                masks.remove(module, "weight")  # type: ignore[no-untyped-call]


PRUNERS.register("magnitude")(Magnitude())


def _unmasked_convs(model: nn.Module) -> list[nn.Conv2d]:
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not convs:
        raise ValueError(f"magnitude pruning needs a conv, '{type(model).__name__}' has none")
    if any(masks.is_pruned(conv) for conv in convs):
        raise ValueError("the model must carry no masks, got a pruned one; finalize it first")
    return convs
