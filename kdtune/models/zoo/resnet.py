"""CIFAR residual networks (He et al., 2016, arXiv:1512.03385, section 4.2).

Three stages of basic blocks. Where a stage changes the shape, its shortcut is a 1x1 conv with batch
norm, as in the distillation code bases (the paper pads with zeros: 2,752 parameters fewer).
Taps are post-ReLU; the ``_pre`` taps read the residual sum before it, with the last batch norm of
the residual branch.
"""

import re
from collections import OrderedDict
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import Rectified, rectified_taps
from kdtune.models.tap import declare_taps
from kdtune.models.weights import he_normal

WIDTHS: dict[str | None, tuple[int, int, int, int]] = {
    None: (16, 16, 32, 64),
    "0.125": (2, 2, 4, 8),
    "0.25": (4, 4, 8, 16),
    "0.5": (8, 8, 16, 32),
    "4": (32, 64, 128, 256),
}
"""Channels of the stem and the three stages by the ``xK`` of the name."""


class BasicBlock(nn.Module):
    """Two 3x3 convs and a shortcut: ``(B, inputs, H, W)`` to ``(B, outputs, H / stride, ...)``."""

    prunable: ClassVar[tuple[str, ...]] = ("conv1",)

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(residual + self.shortcut(x))
        return out


def resnet(
    *, blocks: int, widths: tuple[int, int, int, int], classes: int, channels: int, size: int
) -> nn.Module:
    """A residual network of ``6 * blocks + 2`` layers.

    Args:
        blocks: Basic blocks in each of the three stages.
        widths: Channels of the stem and the stages.
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; unused, the pooling adapts.
    """
    stem = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
            bn=nn.BatchNorm2d(widths[0]),
            relu=nn.ReLU(),
        )
    )
    net = nn.Sequential(
        OrderedDict[str, nn.Module](
            stem=stem,
            block1=_stage(blocks, widths[0], widths[1], stride=1),
            block2=_stage(blocks, widths[1], widths[2], stride=2),
            block3=_stage(blocks, widths[2], widths[3], stride=2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(widths[3], classes),
        )
    )
    last = {stage: f"{stage}.{blocks - 1}" for stage in ("block1", "block2", "block3")}
    ends = {key: Rectified(relu=f"{at}.relu2", norm=f"{at}.bn2") for key, at in last.items()}
    return declare_taps(he_normal(net), rectified_taps(ends))


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


def match(name: str) -> Builder | None:
    """The builder of ``resnetN`` or ``resnetNxK``; see :class:`~kdtune.models.family.Family`."""
    found = re.fullmatch(r"resnet([1-9]\d*)(?:x([\d.]+))?", name)
    if found is None:
        return None
    depth, width = int(found[1]), found[2]
    if depth < 8 or depth % 6 != 2:
        raise ValueError(
            f"the depth of a CIFAR resnet must be 6n + 2 (8, 14, 20, ...), got {depth} in '{name}'"
        )
    if width not in WIDTHS:
        choices = ", ".join(key for key in WIDTHS if key)
        raise ValueError(
            f"the width of a CIFAR resnet must be one of {choices}, got {width} in '{name}'"
        )
    return partial(resnet, blocks=(depth - 2) // 6, widths=WIDTHS[width])


FAMILIES.register("resnet")(
    Family(
        listed=(
            *(f"resnet{depth}" for depth in (8, 14, 20, 26, 32, 44, 56, 110)),
            "resnet8x4",
            "resnet32x4",
            *(f"resnet8x{width}" for width in ("0.5", "0.25", "0.125")),
        ),
        match=match,
    )
)
