"""ShuffleNet for small images, 3 groups (Zhang et al., 2018, arXiv:1707.01083).

The form of the distillation code bases: the stem is a 1x1 conv at full side, weights start as
torch's layers do. Taps are post-ReLU; the ``_pre`` taps read the residual sum before it, with the
last batch norm of the residual branch. Grouped convs and the shuffle between them tie all filters
together, so none may be pruned.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import Rectified, rectified_taps
from kdtune.models.tap import declare_taps

STEM_WIDTH = 24
GROUPS = 3
STAGES = {"block1": (4, 240), "block2": (8, 480), "block3": (4, 960)}
"""Blocks of each stage and their width; every stage halves the side."""


class ShuffleBlock(nn.Module):
    """Grouped 1x1, depthwise and grouped 1x1 conv: ``(B, inputs, H, W)`` to ``(B, outputs, ...)``.

    A block that halves the side appends its pooled input instead of adding it.
    """

    def __init__(self, inputs: int, outputs: int, *, groups: int, halve: bool) -> None:
        super().__init__()
        branch = outputs - inputs if halve else outputs
        width = branch // 4
        self.conv1 = nn.Conv2d(inputs, width, 1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.shuffle = nn.ChannelShuffle(groups)
        self.conv2 = nn.Conv2d(width, width, 3, 1 + halve, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, branch, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(branch)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if halve else None
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        mixed = self.shuffle(self.relu1(self.bn1(self.conv1(x))))
        residual = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(mixed)))))
        whole = residual + x if self.pool is None else torch.cat((residual, self.pool(x)), dim=1)
        out: Tensor = self.relu3(whole)
        return out


def shufflenetv1(*, classes: int, channels: int, size: int) -> nn.Module:
    """ShuffleNet with 3 groups.

    Args:
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; unused, the pooling adapts.
    """
    stem = OrderedDict[str, nn.Module](
        conv=nn.Conv2d(channels, STEM_WIDTH, 1, bias=False),
        bn=nn.BatchNorm2d(STEM_WIDTH),
        relu=nn.ReLU(),
    )
    net = OrderedDict[str, nn.Module](stem=nn.Sequential(stem))
    inputs = STEM_WIDTH
    for name, (blocks, width) in STAGES.items():
        # The stem is too narrow for the first conv to be grouped (section 3.2 of the paper).
        first = ShuffleBlock(inputs, width, groups=1 if name == "block1" else GROUPS, halve=True)
        rest = [ShuffleBlock(width, width, groups=GROUPS, halve=False) for _ in range(blocks - 1)]
        net[name] = nn.Sequential(first, *rest)
        inputs = width
    net["pool"] = nn.AdaptiveAvgPool2d(1)
    net["flatten"] = nn.Flatten()
    net["classifier"] = nn.Linear(inputs, classes)
    last = {stage: f"{stage}.{blocks - 1}" for stage, (blocks, _) in STAGES.items()}
    ends = {key: Rectified(relu=f"{at}.relu3", norm=f"{at}.bn3") for key, at in last.items()}
    return declare_taps(nn.Sequential(net), rectified_taps(ends))


def match(name: str) -> Builder | None:
    """The builder of ``shufflenetv1``; see :class:`~kdtune.models.family.Family`."""
    return shufflenetv1 if name == "shufflenetv1" else None


FAMILIES.register("shufflenetv1")(Family(listed=("shufflenetv1",), match=match))
