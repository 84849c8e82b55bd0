"""A small dataset of random colour images, held in memory."""

import torch

from kdtune.data import Dataset, ImageSplit


def make_dataset(count: int = 23, *, size: int = 16, flip: bool = True) -> Dataset:
    """``count`` training images, as many for validation and test; every pixel from a fixed seed."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (3 * count, 3, size, size), dtype=torch.uint8, generator=draws)
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
        mean=(0.5, 0.4, 0.3),
        std=(0.25, 0.2, 0.3),
        flip=flip,
        fingerprint="0" * 16,
    )
