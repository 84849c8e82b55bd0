"""CIFAR densely connected networks (Huang et al., 2017, arXiv:1608.06993, section 4.2).

The plain form: no bottlenecks, no compression, no dropout (the paper uses it without augmentation
only), 16 channels after the stem. A layer's output is appended to its input, so maps are raw conv
outputs: the taps are signed. The ``_pre`` taps read the end of a dense block behind the batch norm
that follows it, ``transition<n>.bn``, and ``head.bn`` after the last.
"""

import re
from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import signed_taps
from kdtune.models.tap import declare_taps
from kdtune.models.weights import he_normal

STEM_WIDTH = 16


class DenseLayer(nn.Module):
    """BN-ReLU-conv, appended: ``(B, inputs, H, W)`` to ``(B, inputs + growth, H, W)``.

    Its filters may be pruned, except in the ``last`` block: the pooled vector keeps its width. Its
    batch norm may read a part of the input only.
    """

    prunable: tuple[str, ...]
    selectable: tuple[tuple[str, str], ...]

    def __init__(self, inputs: int, growth: int, *, last: bool) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)
        self.prunable = () if last else ("conv",)
        self.selectable = (("bn", "conv"),)

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        return torch.cat((x, self.conv(self.relu(self.bn(x)))), dim=1)


def densenet(*, layers: int, growth: int, classes: int, channels: int, size: int) -> nn.Module:
    """A dense network of ``3 * layers + 4`` layers.

    Args:
        layers: Layers in each of the three dense blocks.
        growth: Channels that each layer adds.
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; unused, the pooling adapts.
    """
    net = OrderedDict[str, nn.Module](
        stem=nn.Conv2d(channels, STEM_WIDTH, 3, padding=1, bias=False)
    )
    width = STEM_WIDTH
    for number in (1, 2, 3):
        net[f"block{number}"] = nn.Sequential(
            *(DenseLayer(width + i * growth, growth, last=number == 3) for i in range(layers))
        )
        width += layers * growth
        if number < 3:
            net[f"transition{number}"] = _transition(width)
    net["head"] = nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(width), relu=nn.ReLU()))
    net["pool"] = nn.AdaptiveAvgPool2d(1)
    net["flatten"] = nn.Flatten()
    net["classifier"] = _classifier(width, classes)
    norms = {"block1": "transition1.bn", "block2": "transition2.bn", "block3": "head.bn"}
    return declare_taps(he_normal(nn.Sequential(net)), signed_taps(norms))


def _transition(width: int) -> nn.Sequential:
    """To half the side, at the same width."""
    transition = nn.Sequential(
        OrderedDict(
            bn=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            conv=nn.Conv2d(width, width, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )
    vars(transition)["selectable"] = (("bn", "conv"),)
    return transition


def _classifier(width: int, classes: int) -> nn.Linear:
    layer = nn.Linear(width, classes)
    nn.init.zeros_(layer.bias)
    return layer


def match(name: str) -> Builder | None:
    """The builder of ``densenet_d_k``; see :class:`~kdtune.models.family.Family`."""
    found = re.fullmatch(r"densenet_([1-9]\d*)_([1-9]\d*)", name)
    if found is None:
        return None
    depth, growth = int(found[1]), int(found[2])
    if depth < 7 or depth % 3 != 1:
        raise ValueError(
            f"the depth of a densenet must be 3n + 4 (7, 10, 13, ...), got {depth} in '{name}'"
        )
    return partial(densenet, layers=(depth - 4) // 3, growth=growth)


FAMILIES.register("densenet")(Family(listed=("densenet_40_12",), match=match))
