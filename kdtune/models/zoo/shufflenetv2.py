"""ShuffleNet V2 for small images at width 1 (Ma et al., 2018, arXiv:1807.11164).

The form of the distillation code bases: the stem is a 1x1 conv at full side without max pooling,
weights start as torch's layers do. Taps are post-ReLU. Half of a stage's output has passed its
ReLU blocks earlier and belongs to no single batch norm, so there are no ``_pre`` taps.
"""

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import READ_OUT
from kdtune.models.tap import Tap, declare_taps

STEM_WIDTH = 24
HEAD_WIDTH = 1024
STAGES = {"block1": (4, 116), "block2": (8, 232), "block3": (4, 464)}
"""Blocks of each stage and their width; every stage halves the side."""


class SplitBlock(nn.Module):
    """Convolves half of the channels and passes the others on: ``(B, width, H, W)`` to the same."""

    prunable: ClassVar[tuple[str, ...]] = ("conv1",)

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu3 = nn.ReLU()
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        # As two slices: Torch-Pruning loses track of the channels behind a chunk.
        kept, half = x.tensor_split(2, dim=1)
        half = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(half)))))
        half = self.relu3(self.bn3(self.conv3(half)))
        out: Tensor = self.shuffle(torch.cat((kept, half), dim=1))
        return out


class DownBlock(nn.Module):
    """Two branches read all channels: ``(B, inputs, H, W)`` to ``(B, outputs, H / 2, W / 2)``."""

    prunable: ClassVar[tuple[str, ...]] = ("conv3",)

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = nn.Conv2d(inputs, inputs, 3, 2, padding=1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(half, half, 3, 2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu5 = nn.ReLU()
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        left = self.relu2(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.bn4(self.conv4(self.relu3(self.bn3(self.conv3(x)))))
        right = self.relu5(self.bn5(self.conv5(right)))
        out: Tensor = self.shuffle(torch.cat((left, right), dim=1))
        return out


def shufflenetv2(*, classes: int, channels: int, size: int) -> nn.Module:
    """ShuffleNet V2 at width 1.

    Args:
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; unused, the pooling adapts.
    """
    net = OrderedDict[str, nn.Module](stem=_conv_bn_relu(channels, STEM_WIDTH))
    inputs = STEM_WIDTH
    for name, (blocks, width) in STAGES.items():
        rest = [SplitBlock(width) for _ in range(blocks - 1)]
        net[name] = nn.Sequential(DownBlock(inputs, width), *rest)
        inputs = width
    net["head"] = _conv_bn_relu(inputs, HEAD_WIDTH)
    net["pool"] = nn.AdaptiveAvgPool2d(1)
    net["flatten"] = nn.Flatten()
    net["classifier"] = nn.Linear(HEAD_WIDTH, classes)
    maps = {name: Tap(path=name) for name in ("stem", *STAGES)}
    return declare_taps(nn.Sequential(net), {**maps, **READ_OUT})


def _conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


def match(name: str) -> Builder | None:
    """The builder of ``shufflenetv2``; see :class:`~kdtune.models.family.Family`."""
    return shufflenetv2 if name == "shufflenetv2" else None


FAMILIES.register("shufflenetv2")(Family(listed=("shufflenetv2",), match=match))
