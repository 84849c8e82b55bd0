"""The operations of AutoAugment and its kin, on whole groups of images.

Each image has a magnitude of its own, in the unit that torchvision's operations take, and becomes
what torchvision makes of it as a uint8 tensor: nearest neighbour, black outside. Only where a pixel
comes from midway between two others does torchvision leave the choice to rounding errors in
float32; here fixed-point arithmetic decides, alike on every device.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

FRACTION_BITS = 32
"""Of the fixed-point coordinates; int64 leaves 31 bits for the pixels."""


def operate(images: Tensor, kinds: Tensor, magnitudes: Tensor) -> Tensor:
    """Apply to each image the operation it drew, all images of one operation at once.

    Args:
        images: ``(B, C, H, W)`` uint8, grey or colour; not changed.
        kinds: ``(B,)`` int64 on the CPU, positions in `NAMES`.
        magnitudes: ``(B,)`` float64 on the CPU: slope of a shear, pixels of a translation (the
            fraction is cut off), degrees counter-clockwise of a rotation, ``factor - 1`` (at least
            -1) of brightness, colour, contrast and sharpness, bits that posterize keeps, lowest
            value that solarize inverts (at most 255); the other operations have none.

    Returns:
        ``(B, C, H, W)`` uint8.
    """
    order = kinds.argsort(stable=True)
    kinds, magnitudes = kinds[order], magnitudes[order]
    images = images.index_select(0, order.to(images.device))

    def warped(group: Tensor, own: Tensor) -> Tensor:
        return warp(group, warp_maps(kinds[: len(group)], own, *group.shape[-2:]))

    counts = kinds.bincount(minlength=len(NAMES)).tolist()
    sizes = [sum(counts[: len(WARPS)]), *counts[len(WARPS) :]]
    groups = zip(
        [warped, *OPERATIONS.values()],
        torch.split(images, sizes),
        torch.split(magnitudes, sizes),
        strict=True,
    )
    changed = [operation(group, own) for operation, group, own in groups if len(group)]
    return torch.cat(changed).index_select(0, order.argsort().to(images.device))


def warp_maps(kinds: Tensor, magnitudes: Tensor, height: int, width: int) -> Tensor:
    """Where the pixels of a sheared, moved or turned image come from.

    Shears keep the upper left corner in place, rotations the centre.

    Args:
        kinds: ``(G,)`` int64, positions in `WARPS`.
        magnitudes: ``(G,)`` float64, see `operate`.
        height: Of the images, in pixels.
        width: Of the images, in pixels.

    Returns:
        ``(G, 2, 3)`` float64: source column and row of a target pixel as a linear function of
        ``(column, row, 1)``, all counted in pixels from the image's upper left corner.
    """
    shear_x, shear_y, right, down, degrees = (
        torch.where(kinds == number, magnitudes, 0.0) for number in range(len(WARPS))
    )
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    x, y = width / 2, height / 2
    columns = [cos, shear_x - sin, x - cos * x + sin * y - right.trunc()]
    rows = [shear_y + sin, cos, y - sin * x - cos * y - down.trunc()]
    return torch.stack([*columns, *rows], dim=1).view(-1, 2, 3)


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Move pixels, nearest neighbour; what comes from outside of the image is 0.

    Args:
        images: ``(G, C, H, W)`` of any type.
        maps: ``(G, 2, 3)`` float64, see `warp_maps`.

    Returns:
        ``(G, C, H, W)``, the same type.
    """
    count, channels, height, width = images.shape
    fixed = (maps * 2**FRACTION_BITS).round_().long().to(images.device)
    # A pixel stands for its middle: (column + 0.5, row + 0.5).
    across, down = (2 * torch.arange(n, device=images.device) + 1 for n in (width, height))
    along = (fixed[:, :, :1] * across + 2 * fixed[:, :, 2:])[:, :, None, :]
    places = (along + (fixed[:, :, 1:2] * down)[:, :, :, None]) >> (FRACTION_BITS + 1)
    columns, rows = places.unbind(1)
    outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    sources = rows.mul_(width).add_(columns).masked_fill_(outside, 0).view(count, 1, -1)
    moved = images.flatten(2).gather(2, sources.expand(-1, channels, -1)).view_as(images)
    return moved.masked_fill_(outside[:, None], 0)


def grey(images: Tensor) -> Tensor:
    """Luma of colour images as torchvision rounds it, down; grey images as they are.

    Returns:
        ``(G, 1, H, W)`` uint8.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(torch.uint8)[:, None]


def blurred(images: Tensor) -> Tensor:
    """Means over 3x3 pixels, the middle one counted five times; the border as it is.

    Returns:
        ``(G, C, H, W)`` uint8.
    """
    pixels = images.short()
    threes = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    nines = threes[..., :-2] + threes[..., 1:-1] + threes[..., 2:]
    sums = nines.add_(pixels[..., 1:-1, 1:-1], alpha=4)
    result = images.clone()
    result[..., 1:-1, 1:-1] = sums.div(13).round_()
    return result


def blend(images: Tensor, others: Tensor, magnitudes: Tensor) -> Tensor:
    """``factor * images + (1 - factor) * others``, cut to 0..255, rounded down.

    Args:
        images: ``(G, C, H, W)`` uint8.
        others: What it is broadcast with, uint8 or float32: the image of factor 0.
        magnitudes: ``(G,)`` float64, ``factor - 1``; above 0, the blend leads away from ``others``.

    Returns:
        ``(G, C, H, W)`` uint8.
    """
    factors = 1 + magnitudes.view(-1, 1, 1, 1)
    own, rest = torch.stack([factors, 1 - factors]).to(images.device, torch.float32).unbind()
    return (images * own).add_(others * rest).clamp_(0, 255).to(torch.uint8)


def brightness(images: Tensor, magnitudes: Tensor) -> Tensor:
    """A blend with black."""
    return blend(images, images.new_zeros(1), magnitudes)


def color(images: Tensor, magnitudes: Tensor) -> Tensor:
    """A blend with the image's grey version; nothing for grey images."""
    return images if images.shape[1] == 1 else blend(images, grey(images), magnitudes)


def contrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """A blend with the image's mean grey value."""
    # Whole numbers and float64 give the same mean on every device.
    mean = grey(images).sum((1, 2, 3)).double() / images[0, 0].numel()
    return blend(images, mean.float().view(-1, 1, 1, 1), magnitudes)


def sharpness(images: Tensor, magnitudes: Tensor) -> Tensor:
    """A blend with the blurred image; nothing for images of at most two pixels a side."""
    return images if min(images.shape[-2:]) <= 2 else blend(images, blurred(images), magnitudes)


def posterize(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Keep the ``magnitude`` highest of 8 bits."""
    masks = 256 - 2 ** (8 - magnitudes.int())
    return images & masks.to(torch.uint8).to(images.device).view(-1, 1, 1, 1)


def solarize(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Invert values of at least ``magnitude``."""
    thresholds = magnitudes.ceil().to(torch.uint8).to(images.device).view(-1, 1, 1, 1)
    return torch.where(images >= thresholds, 255 - images, images)


def autocontrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Stretch each channel to 0..255; a channel of one value stays as it is."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = low == high
    scale = torch.where(flat, 1.0, 255 / (high - low))
    return ((images - torch.where(flat, 0, low)) * scale).clamp_(0, 255).to(torch.uint8)


def equalize(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Make the histogram of each channel as flat as a table of values can."""
    values = images.flatten(2).flatten(0, 1).long()
    counts = values.new_zeros(len(values), 256).scatter_add_(1, values, torch.ones_like(values))
    # All pixels but those of the highest value, spread over 255 steps.
    highest = values.amax(1, keepdim=True)
    step = (values.shape[1] - counts.gather(1, highest)) // 255
    below = functional.pad(counts.cumsum(1)[:, :-1], (1, 0))
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    levelled = torch.where(step == 0, values, table.gather(1, values))
    return levelled.to(torch.uint8).view_as(images)


def invert(images: Tensor, magnitudes: Tensor) -> Tensor:
    """The negative."""
    return 255 - images


def identity(images: Tensor, magnitudes: Tensor) -> Tensor:
    """The images as they are."""
    return images


WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
"""Operations that move pixels; all images that drew any of them are warped at once."""

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": brightness,
    "Color": color,
    "Contrast": contrast,
    "Sharpness": sharpness,
    "Posterize": posterize,
    "Solarize": solarize,
    "AutoContrast": autocontrast,
    "Equalize": equalize,
    "Invert": invert,
    "Identity": identity,
}
"""Operations on values: from a group of images and their magnitudes to new images."""

NAMES = (*WARPS, *OPERATIONS)
"""All operations, by torchvision's names; drawn as positions in this tuple."""
