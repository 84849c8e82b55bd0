"""MobileNetV2 for small images at half width (Sandler et al., 2018, arXiv:1801.04381).

The form of the distillation code bases: only the stem and three stages reduce the side, the first
block keeps its first conv, and ReLU stands in place of ReLU6. Blocks end in a batch norm without
activation, so the taps ``block1`` .. ``block4`` are signed, and the ``_pre`` taps read the same
maps with the last batch norm of the residual branch.
"""

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import READ_OUT
from kdtune.models.tap import PRE, Tap, declare_taps
from kdtune.models.weights import he_normal

STEM_WIDTH = 16
HEAD_WIDTH = 1280
STAGES = {
    "block1": ((1, 8, 1, 1), (6, 12, 2, 1)),
    "block2": ((6, 16, 3, 2),),
    "block3": ((6, 32, 4, 2), (6, 48, 3, 1)),
    "block4": ((6, 80, 3, 2), (6, 160, 1, 1)),
}
"""Runs of blocks in each stage: expansion, width, blocks and stride of the first."""


class InvertedResidual(nn.Module):
    """Widening, depthwise and narrowing conv: ``(B, inputs, H, W)`` to ``(B, outputs, ...)``."""

    prunable: ClassVar[tuple[str, ...]] = ("conv1",)

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = expansion * inputs
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Images' features in, features out."""
        wide = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(wide)))))
        return out + x if self.has_shortcut else out


def mobilenetv2(*, classes: int, channels: int, size: int) -> nn.Module:
    """MobileNetV2 at half width.

    Args:
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; unused, the pooling adapts.
    """
    net = OrderedDict[str, nn.Module](stem=_conv_bn_relu(channels, STEM_WIDTH, 3, 2))
    inputs = STEM_WIDTH
    for name, runs in STAGES.items():
        stage = nn.Sequential()
        for expansion, width, blocks, stride in runs:
            for number in range(blocks):
                step = stride if number == 0 else 1
                stage.append(InvertedResidual(inputs, width, step, expansion))
                inputs = width
        net[name] = stage
    net["head"] = _conv_bn_relu(inputs, HEAD_WIDTH, 1, 1)
    net["pool"] = nn.AdaptiveAvgPool2d(1)
    net["flatten"] = nn.Flatten()
    net["classifier"] = _classifier(classes)
    return declare_taps(he_normal(nn.Sequential(net)), _tap_points())


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


def _classifier(classes: int) -> nn.Linear:
    layer = nn.Linear(HEAD_WIDTH, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _tap_points() -> dict[str, Tap]:
    points = {"stem": Tap(path="stem")}
    for stage, runs in STAGES.items():
        last = sum(blocks for _, _, blocks, _ in runs) - 1
        points[stage] = Tap(path=stage, activation="pre", signed=True)
        points[stage + PRE] = Tap(
            path=stage, activation="pre", signed=True, norm=f"{stage}.{last}.bn3"
        )
    return {**points, **READ_OUT}


def match(name: str) -> Builder | None:
    """The builder of ``mobilenetv2``; see :class:`~kdtune.models.family.Family`."""
    return mobilenetv2 if name == "mobilenetv2" else None


FAMILIES.register("mobilenetv2")(Family(listed=("mobilenetv2",), match=match))
