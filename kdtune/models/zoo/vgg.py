"""VGG with batch norm and a single linear layer (Simonyan and Zisserman, 2015, arXiv:1409.1556).

Five stages of 3x3 convs with biases. The first is tapped as ``stem``, as the distillation code
bases do, the others as ``block1`` .. ``block4``, each post-ReLU and before its pooling; the
``_pre`` taps read the last batch norm, before that ReLU. A stage is followed by a 2x2 max pooling
while the map is wider than 4 pixels: three of them at 32x32, four at 64x64, one at 8x8.
"""

import re
from collections import OrderedDict
from functools import partial

from torch import nn

from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.stage_taps import Rectified, rectified_taps
from kdtune.models.tap import declare_taps
from kdtune.models.weights import he_normal

DEPTHS: dict[int, tuple[int, ...]] = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""Convs in each stage by the number in the name (vgg8 is the code bases' own, with 5 convs)."""

WIDTHS = (64, 128, 256, 512, 512)
STAGES = ("stem", "block1", "block2", "block3", "block4")
SMALLEST_POOLED = 4


class Stage(nn.Sequential):
    """``convs`` times conv-BN-ReLU: ``(B, inputs, H, W)`` to ``(B, outputs, H, W)``.

    All its filters may be pruned; those of the last stage's last conv narrow the pooled vector.
    """

    prunable: tuple[str, ...]

    def __init__(self, convs: int, inputs: int, outputs: int) -> None:
        layers = OrderedDict[str, nn.Module]()
        for number in range(1, convs + 1):
            layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers[f"bn{number}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{number}"] = nn.ReLU()
            inputs = outputs
        super().__init__(layers)
        self.prunable = tuple(f"conv{number + 1}" for number in range(convs))


def vgg(*, convs: tuple[int, ...], classes: int, channels: int, size: int) -> nn.Module:
    """A VGG of ``sum(convs)`` convs.

    Args:
        convs: Convs in each of the five stages.
        classes: Number of logits.
        channels: Channels of the images.
        size: Side of the images; decides how many of the stages are followed by pooling.
    """
    layers = OrderedDict[str, nn.Module]()
    for name, count, width in zip(STAGES, convs, WIDTHS, strict=True):
        layers[name] = Stage(count, channels, width)
        channels = width
        if size > SMALLEST_POOLED and name != STAGES[-1]:
            layers[f"{name}_pool"] = nn.MaxPool2d(2)
            size //= 2
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = _classifier(WIDTHS[-1], classes)
    ends = {
        name: Rectified(relu=f"{name}.relu{count}", norm=f"{name}.bn{count}")
        for name, count in zip(STAGES, convs, strict=True)
        if name != "stem"
    }
    return declare_taps(he_normal(nn.Sequential(layers)), rectified_taps(ends))


def _classifier(width: int, classes: int) -> nn.Linear:
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def match(name: str) -> Builder | None:
    """The builder of ``vggN``; see :class:`~kdtune.models.family.Family`."""
    found = re.fullmatch(r"vgg(\d+)", name)
    if found is None:
        return None
    depth = int(found[1])
    if depth not in DEPTHS:
        choices = ", ".join(str(key) for key in DEPTHS)
        raise ValueError(f"the depth of a vgg must be one of {choices}, got {depth} in '{name}'")
    return partial(vgg, convs=DEPTHS[depth])


FAMILIES.register("vgg")(Family(listed=tuple(f"vgg{depth}" for depth in DEPTHS), match=match))
