"""Random crops of the padded image and horizontal flips, the usual CIFAR augmentation.

Padding is zero in raw pixels, before normalisation, as in RepDistiller (black, not the mean
colour). The published padding of 4 belongs to 32x32 images; other sizes get the same share.
"""

import torch
from torch import Tensor
from torch.nn import functional

from kdtune.views.policy import AUGMENTS, Augment, Draws, RawBatch


@AUGMENTS.register("standard")
class Standard(Augment):
    """Crop and, where the dataset allows it, flip with probability 0.5; each image by itself."""

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """Cropped and flipped images."""
        return standard_views(raw, draws)


def standard_views(raw: RawBatch, draws: Draws) -> Tensor:
    """Cropped and flipped images, normalised; what mixing policies mix.

    Returns:
        ``(B, C, S, S)`` float32.
    """
    return raw.normalise(crop_and_flip(raw, draws))


def crop_and_flip(raw: RawBatch, draws: Draws) -> Tensor:
    """The standard views before normalisation, for policies that go on from them.

    Returns:
        ``(B, C, S, S)`` uint8.
    """
    images = raw.images
    count, size, device = len(images), images.shape[-1], images.device
    pad = default_pad(size)
    stream = draws("crop and flip")
    offsets = torch.randint(2 * pad + 1, (2, count), generator=stream)
    mask = torch.rand(count, generator=stream) < 0.5
    tops, lefts = offsets.to(device)
    images = random_crop(images, tops, lefts, pad)
    return horizontal_flip(images, mask.to(device)) if raw.flip else images


def default_pad(size: int) -> int:
    """Pixels of padding on each side for images of ``size``: an eighth, 4 for 32 and 1 for 8."""
    return max(1, size // 8)


def random_crop(images: Tensor, tops: Tensor, lefts: Tensor, pad: int) -> Tensor:
    """Cut each image at its own place out of its zero-padded self.

    Args:
        images: ``(B, C, H, W)`` of any type.
        tops: ``(B,)`` int64 in ``[0, 2 * pad]``, rows above the cut; ``pad`` changes nothing.
        lefts: ``(B,)`` int64 in ``[0, 2 * pad]``, columns left of the cut.
        pad: Zeros added on each side, in pixels.

    Returns:
        ``(B, C, H, W)``, the same type.
    """
    count, channels, height, width = images.shape
    wide = width + 2 * pad
    padded = functional.pad(images, (pad, pad, pad, pad)).view(count, channels, -1)
    rows = tops[:, None] + torch.arange(height, device=images.device)
    columns = lefts[:, None] + torch.arange(width, device=images.device)
    places = (rows[:, :, None] * wide + columns[:, None, :]).view(count, 1, -1)
    return padded.gather(2, places.expand(-1, channels, -1)).view_as(images)


def horizontal_flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images where ``mask`` says so.

    Args:
        images: ``(B, C, H, W)`` of any type.
        mask: ``(B,)`` bool.

    Returns:
        ``(B, C, H, W)``, the same type.
    """
    width = images.shape[-1]
    columns = torch.arange(width, device=images.device)
    places = torch.where(mask[:, None], width - 1 - columns, columns)
    return images.gather(3, places[:, None, None, :].expand_as(images))
