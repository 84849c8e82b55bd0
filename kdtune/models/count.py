"""What a network costs: parameters and multiply-adds."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from kdtune.models.catalog import blueprint, locate, zoo_names
from kdtune.models.tap import PRE, taps
from kdtune.multiply_adds import multiply_adds


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Trainable parameters, and multiply-adds of one image through the convs and linear layers."""

    params: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the list of models; ``taps`` leaves out those before a ReLU."""

    name: str
    family: str
    params: int
    macs: int
    taps: tuple[str, ...]


def cost(model: nn.Module, *, channels: int, size: int) -> Cost:
    """Count ``model`` by one forward pass of one image on its own device (meta is fine).

    The model, its mode and its buffers stay as they are.

    Args:
        model: Any network.
        channels: Channels of the image.
        size: Side of the square image in pixels.
    """
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Cost(params=params, macs=multiply_adds(model, channels=channels, size=size))


def describe(
    size: int = 32, channels: int = 3, classes: int = 10, only: Collection[str] | None = None
) -> list[Row]:
    """Cost and taps of models by name, counted on the meta device.

    Args:
        size: Side of the square images in pixels.
        channels: Channels of the images.
        classes: Number of logits.
        only: Names, also of torchvision; by default the listed names of the zoo.

    Raises:
        ValueError: If a name is unknown or its network cannot be built for such images.
    """
    rows = []
    for name in zoo_names() if only is None else only:
        model = blueprint(name, classes=classes, channels=channels, size=size)
        counted = cost(model, channels=channels, size=size)
        rows.append(
            Row(
                name=name,
                family=locate(name)[0],
                params=counted.params,
                macs=counted.macs,
                taps=tuple(tap for tap in taps(model) if not tap.endswith(PRE)),
            )
        )
    return rows
