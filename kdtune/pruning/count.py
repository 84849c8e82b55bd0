"""What a pruned network costs, as flat metrics."""

from torch import Tensor, nn

from kdtune.multiply_adds import multiply_adds


def pruned_cost(model: nn.Module, *, channels: int, size: int) -> dict[str, float]:
    """Counts of a network, pruned or not, on its own device; its mode stays as it is.

    Args:
        model: The network.
        channels: Channels of the images.
        size: Side of the square images in pixels.

    Returns:
        ``params`` (in the tensors, masked ones included), ``params_nonzero`` (less the zeros
        among conv weights), ``macs`` (dense multiply-adds of one image; masks save none),
        ``conv_weights`` and ``conv_nonzero`` (counts) and ``conv_density`` (their ratio, 0 to 1).
    """
    params = sum(p.numel() for p in model.parameters())
    weights = [_weight(m) for m in model.modules() if isinstance(m, nn.Conv2d)]
    conv_weights = sum(w.numel() for w in weights)
    conv_nonzero = sum(int(w.count_nonzero()) for w in weights)
    return {
        "params": float(params),
        "params_nonzero": float(params - conv_weights + conv_nonzero),
        "macs": float(multiply_adds(model, channels=channels, size=size)),
        "conv_weights": float(conv_weights),
        "conv_nonzero": float(conv_nonzero),
        "conv_density": conv_nonzero / conv_weights if conv_weights else 1.0,
    }


def _weight(conv: nn.Conv2d) -> Tensor:
    """The weights that take part: the attribute ``weight`` of a masked conv lags an update."""
    if hasattr(conv, "weight_mask"):
        original, mask = conv.weight_orig, conv.weight_mask
        assert isinstance(original, Tensor)
        assert isinstance(mask, Tensor)
        return original.detach() * mask
    return conv.weight.detach()
