"""What AutoAugment and its kin choose from: operations, and magnitudes in even steps of a range.

Operations, ranges and steps are torchvision's.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from kdtune.views.operations import NAMES

SIGNED = NAMES[: NAMES.index("Sharpness") + 1]
"""Operations that work in either direction: warps and blends."""


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """The strongest magnitude of each kind of operation; the weakest changes nothing.

    Attributes:
        shear: Slope.
        translate: In pixels.
        rotate: In degrees.
        blend: ``factor - 1`` of brightness, colour, contrast and sharpness.
        dropped_bits: By posterize.
    """

    shear: float
    translate: float
    rotate: float
    blend: float
    dropped_bits: int


def usual_ranges(size: int) -> Ranges:
    """Those of AutoAugment (Cubuk et al., 2018, arXiv:1805.09501) for images of ``size`` pixels."""
    return Ranges(shear=0.3, translate=150 / 331 * size, rotate=30, blend=0.9, dropped_bits=4)


def wide_ranges(size: int) -> Ranges:
    """Those of TrivialAugmentWide (Mueller and Hutter, 2021, arXiv:2103.10158).

    Its 32 pixels of translation are cut to ``size``, beyond which nothing is left of an image.
    """
    return Ranges(shear=0.99, translate=min(32, size), rotate=135, blend=0.99, dropped_bits=6)


@cache
def magnitude_table(ranges: Ranges, bins: int) -> Tensor:
    """The magnitudes to choose from, in the units of `kdtune.views.operations.operate`.

    Args:
        ranges: Of the operations.
        bins: Steps, at least 2; bin 0 is the weakest.

    Returns:
        ``(operations, bins)`` float64 on the CPU, rows in the order of `NAMES`, without signs.
    """
    bits = 8 - (torch.arange(bins) / ((bins - 1) / ranges.dropped_bits)).round()
    rows = dict.fromkeys(NAMES, torch.zeros(bins))
    rows |= dict.fromkeys(("ShearX", "ShearY"), torch.linspace(0, ranges.shear, bins))
    rows |= dict.fromkeys(("TranslateX", "TranslateY"), torch.linspace(0, ranges.translate, bins))
    rows |= {"Rotate": torch.linspace(0, ranges.rotate, bins)}
    blends = ("Brightness", "Color", "Contrast", "Sharpness")
    rows |= dict.fromkeys(blends, torch.linspace(0, ranges.blend, bins))
    rows |= {"Posterize": bits, "Solarize": torch.linspace(255, 0, bins)}
    return torch.stack([rows[name] for name in NAMES]).double()


def draw_kinds(count: int, stream: torch.Generator, *, without: str) -> Tensor:
    """An operation for each image, uniform over all but one.

    Args:
        count: Images.
        stream: CPU generator.
        without: The operation left out: AutoAugment knows no ``Identity``, the others no
            ``Invert``.

    Returns:
        ``(count,)`` int64, positions in `NAMES`.
    """
    kinds = torch.randint(len(NAMES) - 1, (count,), generator=stream)
    return kinds + (kinds >= NAMES.index(without))


def draw_magnitudes(
    table: Tensor, kinds: Tensor, bins: Tensor | int, stream: torch.Generator
) -> Tensor:
    """The magnitude of each image's operation; `SIGNED` ones are turned round half of the time.

    Args:
        table: See `magnitude_table`.
        kinds: ``(B,)`` int64, positions in `NAMES`.
        bins: ``(B,)`` int64, or one for all.
        stream: CPU generator; ``B`` signs are drawn, needed or not.

    Returns:
        ``(B,)`` float64.
    """
    magnitudes = table[kinds, bins]
    negative = torch.rand(len(kinds), generator=stream) < 0.5
    return torch.where(negative & (kinds < len(SIGNED)), -magnitudes, magnitudes)
