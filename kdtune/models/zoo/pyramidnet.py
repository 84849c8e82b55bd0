"""CIFAR pyramidal residual networks (Han et al., 2017, arXiv:1610.02915), additive form.

Bottleneck blocks throughout, so a depth is 9n + 2. For 110 layers the paper has basic blocks too,
but the PyramidNet-110-64 of the augmentation papers is the bottleneck one: only it has the 1.7
million parameters and the accuracy that CutMix (arXiv:1905.04899, table 6) prints, and park2020
compares with that row.

Block k of K is ``round(16 + alpha * k / K)`` channels wide inside and four times that outside. A
block has no ReLU at its start, and its shortcut is pooled where the side halves and padded with
zeros where the width grows. Stages end in a raw residual sum: the taps are signed. The ``_pre``
taps read where that sum first meets a ReLU, as overhaul does (arXiv:1904.01866): behind the first
conv of the next stage, ``block<n+1>.0.bn2``, and ``head.bn`` after the last.
"""

import re
from collections import OrderedDict
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import signed_taps
from kdtune.models.tap import declare_taps
from kdtune.models.weights import he_normal

STEM_WIDTH = 16
EXPANSION = 4


class PyramidBlock(nn.Module):
    """``(B, inputs, H, W)`` to ``(B, 4 * width, H / stride, W / stride)``.

    All inner filters may be pruned, but for those that a ``_pre`` tap reads.
    """

    prunable: tuple[str, ...]

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu3 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, EXPANSION * width, 1, bias=False)
        self.bn4 = nn.BatchNorm2d(EXPANSION * width)
        self.pool = nn.Identity() if stride == 1 else nn.AvgPool2d(stride, ceil_mode=True)
        self.padding = EXPANSION * width - inputs
        self.prunable = ("conv1", "conv2") if stride == 1 else ("conv2",)

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        inner = self.relu2(self.bn2(self.conv1(self.bn1(x))))
        residual: Tensor = self.bn4(self.conv3(self.relu3(self.bn3(self.conv2(inner)))))
        return residual + functional.pad(self.pool(x), (0, 0, 0, 0, 0, self.padding))


def pyramidnet(*, blocks: int, alpha: int, classes: int, channels: int, size: int) -> nn.Module:
    """A pyramidal network of ``9 * blocks + 2`` layers.

    Args:
        blocks: Blocks in each of the three stages.
        alpha: By how many channels the inner width grows from the stem to the last block.
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; unused, the pooling adapts.
    """
    stem = OrderedDict[str, nn.Module](
        conv=nn.Conv2d(channels, STEM_WIDTH, 3, padding=1, bias=False),
        bn=nn.BatchNorm2d(STEM_WIDTH),
    )
    net = OrderedDict[str, nn.Module](stem=nn.Sequential(stem))
    widths = [round(STEM_WIDTH + alpha * (k + 1) / (3 * blocks)) for k in range(3 * blocks)]
    inputs = STEM_WIDTH
    for number in (1, 2, 3):
        stage = nn.Sequential()
        for width in widths[(number - 1) * blocks : number * blocks]:
            stage.append(PyramidBlock(inputs, width, 1 if number == 1 or len(stage) else 2))
            inputs = EXPANSION * width
        net[f"block{number}"] = stage
    net["head"] = nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(inputs), relu=nn.ReLU()))
    net["pool"] = nn.AdaptiveAvgPool2d(1)
    net["flatten"] = nn.Flatten()
    net["classifier"] = nn.Linear(inputs, classes)
    norms = {"block1": "block2.0.bn2", "block2": "block3.0.bn2", "block3": "head.bn"}
    return declare_taps(he_normal(nn.Sequential(net)), signed_taps(norms))


def match(name: str) -> Builder | None:
    """The builder of ``pyramidnet_d_alpha``; see :class:`~kdtune.models.family.Family`."""
    found = re.fullmatch(r"pyramidnet_([1-9]\d*)_([1-9]\d*)", name)
    if found is None:
        return None
    depth, alpha = int(found[1]), int(found[2])
    if depth < 11 or depth % 9 != 2:
        raise ValueError(
            f"the depth of a pyramidnet must be 9n + 2 (11, 20, 29, ...), got {depth} in '{name}'"
        )
    return partial(pyramidnet, blocks=(depth - 2) // 9, alpha=alpha)


FAMILIES.register("pyramidnet")(
    Family(
        listed=tuple(f"pyramidnet_{key}" for key in ("110_64", "200_240", "200_300")),
        match=match,
    )
)
