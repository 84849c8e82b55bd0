"""Wide residual networks (Zagoruyko and Komodakis, 2016, arXiv:1605.07146), without dropout.

Pre-activation blocks, so a stage ends in a raw residual sum: the taps are signed. The ``_pre`` taps
read that sum behind the batch norm that follows it, ``block<n+1>.0.bn1``, and ``head.bn`` after the
last.
"""

import re
from collections import OrderedDict
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import signed_taps
from kdtune.models.tap import declare_taps
from kdtune.models.weights import he_normal


class WideBlock(nn.Module):
    """BN-ReLU-conv twice and a shortcut: ``(B, inputs, H, W)`` to ``(B, outputs, H / stride, ..)``.

    A shortcut that changes the shape is a 1x1 conv of the activated input.
    """

    prunable: ClassVar[tuple[str, ...]] = ("conv1",)

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        active = self.relu1(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active)))) + shortcut
        return out


def wrn(*, blocks: int, factor: int, classes: int, channels: int, size: int) -> nn.Module:
    """A wide residual network of ``6 * blocks + 4`` layers.

    Args:
        blocks: Blocks in each of the three stages.
        factor: Widening factor ``k``; the stages have 16k, 32k and 64k channels.
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; unused, the pooling adapts.
    """
    width = 64 * factor
    net = nn.Sequential(
        OrderedDict[str, nn.Module](
            stem=nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            block1=_stage(blocks, 16, 16 * factor, stride=1),
            block2=_stage(blocks, 16 * factor, 32 * factor, stride=2),
            block3=_stage(blocks, 32 * factor, width, stride=2),
            head=nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(width), relu=nn.ReLU())),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=_classifier(width, classes),
        )
    )
    norms = {"block1": "block2.0.bn1", "block2": "block3.0.bn1", "block3": "head.bn"}
    return declare_taps(he_normal(net), signed_taps(norms))


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    rest = [WideBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(WideBlock(inputs, outputs, stride), *rest)


def _classifier(width: int, classes: int) -> nn.Linear:
    layer = nn.Linear(width, classes)
    nn.init.zeros_(layer.bias)
    return layer


def match(name: str) -> Builder | None:
    """The builder of ``wrn_d_k``; see :class:`~kdtune.models.family.Family`."""
    found = re.fullmatch(r"wrn_([1-9]\d*)_([1-9]\d*)", name)
    if found is None:
        return None
    depth, factor = int(found[1]), int(found[2])
    if depth < 10 or depth % 6 != 4:
        raise ValueError(
            f"the depth of a wrn must be 6n + 4 (10, 16, 22, ...), got {depth} in '{name}'"
        )
    return partial(wrn, blocks=(depth - 4) // 6, factor=factor)


FAMILIES.register("wrn")(
    Family(
        listed=(
            "wrn_10_2",
            *(f"wrn_16_{factor}" for factor in (1, 2, 3, 4, 6, 8)),
            *(f"wrn_28_{factor}" for factor in (1, 2, 3, 4, 6, 8, 10)),
            "wrn_40_1",
            "wrn_40_2",
        ),
        match=match,
    )
)
