"""A small dataset of random images, held in memory."""

import torch

from kdtune.data import Dataset, ImageSplit


def make_dataset(
    count: int = 23, *, channels: int = 3, size: int = 16, flip: bool = True
) -> Dataset:
    """``count`` training images, as many for validation and test; every pixel from a fixed seed."""
    draws = torch.Generator().manual_seed(0)
    shape = (3 * count, channels, size, size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=draws)
    labels = torch.arange(3 * count) % 5
    # Interleaved, so that a position in a split is never the position in the array.
    train, val, test = (
        ImageSplit(images, labels, torch.arange(start, 3 * count, 3)) for start in range(3)
    )
    return Dataset(
        name="made up",
        train=train,
        val=val,
        test=test,
        classes=5,
        class_names=tuple("abcde"),
        mean=(0.5, 0.4, 0.3)[:channels],
        std=(0.25, 0.2, 0.3)[:channels],
        flip=flip,
        fingerprint="0" * 16,
    )
