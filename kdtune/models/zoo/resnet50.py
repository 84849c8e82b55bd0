"""ResNet-50 for small images: bottlenecks in four stages (He et al., 2016, arXiv:1512.03385).

The stem is one 3x3 conv at full side, without max pooling, as in the distillation code bases;
``torchvision:resnet50`` is the network for large images. Taps are post-ReLU; the ``_pre`` taps read
the residual sum before it, with the last batch norm of the residual branch.
"""

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import Rectified, rectified_taps
from kdtune.models.tap import declare_taps
from kdtune.models.weights import he_normal

STEM_WIDTH = 64
EXPANSION = 4
STAGES = {"block1": (3, 64), "block2": (4, 128), "block3": (6, 256), "block4": (3, 512)}
"""Blocks of each stage and their inner width; all stages but the first halve the side."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 conv: ``(B, inputs, H, W)`` to ``(B, 4 * width, H / stride, ...)``."""

    prunable: ClassVar[tuple[str, ...]] = ("conv1", "conv2")

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu3 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        inner = self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))
        out: Tensor = self.relu3(self.bn3(self.conv3(inner)) + self.shortcut(x))
        return out


def resnet50(*, classes: int, channels: int, size: int) -> nn.Module:
    """ResNet-50 without the early reductions.

    Args:
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; unused, the pooling adapts.
    """
    stem = OrderedDict[str, nn.Module](
        conv=nn.Conv2d(channels, STEM_WIDTH, 3, padding=1, bias=False),
        bn=nn.BatchNorm2d(STEM_WIDTH),
        relu=nn.ReLU(),
    )
    net = OrderedDict[str, nn.Module](stem=nn.Sequential(stem))
    inputs = STEM_WIDTH
    for name, (blocks, width) in STAGES.items():
        outputs = EXPANSION * width
        first = Bottleneck(inputs, width, 1 if name == "block1" else 2)
        net[name] = nn.Sequential(
            first, *(Bottleneck(outputs, width, 1) for _ in range(blocks - 1))
        )
        inputs = outputs
    net["pool"] = nn.AdaptiveAvgPool2d(1)
    net["flatten"] = nn.Flatten()
    net["classifier"] = nn.Linear(inputs, classes)
    last = {stage: f"{stage}.{blocks - 1}" for stage, (blocks, _) in STAGES.items()}
    ends = {key: Rectified(relu=f"{at}.relu3", norm=f"{at}.bn3") for key, at in last.items()}
    return declare_taps(he_normal(nn.Sequential(net)), rectified_taps(ends))


def match(name: str) -> Builder | None:
    """The builder of ``resnet50``; see :class:`~kdtune.models.family.Family`."""
    return resnet50 if name == "resnet50" else None


FAMILIES.register("resnet50")(Family(listed=("resnet50",), match=match))
