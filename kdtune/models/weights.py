"""Initial weights shared by the families of the zoo."""

from torch import nn


def he_normal(model: nn.Module) -> nn.Module:
    """Draw every conv from ``N(0, 2 / fan_out)``, biases 0 (He et al., 2015, arXiv:1502.01852).

    Batch norms keep torch's own start (scale 1, shift 0), linear layers theirs.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
