"""Images a second of each augmentation policy, against torchvision's transforms image by image.

One batch of 64 colour images of 32x32 pixels on one thread, from bytes to normalised float32.
The baseline is what a data loader does: torchvision's transforms on one image after the other (PIL
images, as its datasets give them, or uint8 tensors), stacked; mixing is torchvision's own, on the
batch. All ways take turns, so that a busy machine hurts them alike; medians.

    python benchmarks/augmentation.py [--repeats 50] [--json FILE]
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import torchvision
from rich.console import Console
from rich.table import Table
from torchvision import transforms
from torchvision.transforms import v2

from kdtune.data import Dataset, ImageSplit
from kdtune.tracking import versions
from kdtune.views import AUGMENTS, ViewStream

COUNT, SIZE, CLASSES = 64, 32, 10
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)

OPERATIONS = {
    "autoaugment": [transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)],
    "randaugment": [transforms.RandAugment(num_ops=2, magnitude=9)],
    "trivialaugment": [transforms.TrivialAugmentWide()],
}
ERASE = transforms.RandomErasing(p=1, scale=(0.25, 0.25), ratio=(1, 1))
MIX = {
    "mixup": [v2.MixUp(num_classes=CLASSES)],
    "cutmix": [v2.CutMix(num_classes=CLASSES)],
    "cutmix_pick": [v2.CutMix(num_classes=CLASSES), v2.CutMix(num_classes=CLASSES)],
}
"""The nearest thing torchvision has; its Cutout never reaches over the border."""

Run = Callable[[], Any]


def made_up_dataset() -> Dataset:
    """Smooth random images: noise alone would be an easy case for no operation."""
    draws = torch.Generator().manual_seed(0)
    coarse = torch.rand(COUNT, 3, 8, 8, generator=draws)
    images = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic")
    images = (255 * images).clamp(0, 255).to(torch.uint8)
    labels = torch.arange(COUNT) % CLASSES
    split = ImageSplit(images, labels, torch.arange(COUNT))
    return Dataset(
        name="made up",
        train=split,
        val=split,
        test=split,
        classes=CLASSES,
        class_names=tuple("abcdefghij"),
        mean=MEAN,
        std=STD,
        flip=True,
        fingerprint="0" * 16,
    )


def ours(dataset: Dataset, name: str) -> Run:
    """The next batch of the stream."""
    options = {"policy": "cifar10"} if name == "autoaugment" else {}
    policy = AUGMENTS.get(name)(**options)
    stream = ViewStream(dataset, policy=policy, batch_size=COUNT, seed=0)
    epochs: Iterator[int] = cycle(range(1000))
    return lambda: stream.batch(next(epochs), 0)


def torchvisions(images: list[Any], labels: torch.Tensor, name: str) -> Run:
    """Transforms on each image, then mixing on the stacked batch."""
    standard = [transforms.RandomCrop(SIZE, padding=SIZE // 8), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose(
        [
            *([] if name == "none" else standard),
            *OPERATIONS.get(name, []),
            _to_float if isinstance(images[0], torch.Tensor) else transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
            *([ERASE] if name == "cutout" else []),
        ]
    )

    def run() -> list[Any]:
        batch = torch.stack([transform(image) for image in images])
        return [mix(batch, labels) for mix in MIX.get(name, [])] or [batch]

    return run


def _to_float(image: torch.Tensor) -> torch.Tensor:
    return image.float().div_(255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dataset = made_up_dataset()
    tensors = list(dataset.train.images)
    pictures = [transforms.functional.to_pil_image(image) for image in tensors]
    baseline = partial(torchvisions, labels=dataset.train.labels)
    figures = {
        name: measure(
            {
                "kdtune": ours(dataset, name),
                "torchvision, PIL": baseline(pictures, name=name),
                "torchvision, tensors": baseline(tensors, name=name),
            },
            options.repeats,
        )
        for name in AUGMENTS.names()
    }
    Console().print(as_table(figures))
    if options.json:
        report = {
            "images_per_second": figures,
            "batch": [COUNT, 3, SIZE, SIZE],
            "threads": 1,
            "repeats": options.repeats,
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "versions": versions() | {"torchvision": torchvision.__version__},
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(ways: dict[str, Run], repeats: int) -> dict[str, float]:
    """Images a second of each way: the batch over the median time, the ways taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 3):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if turn >= 3:  # the first calls import and allocate
                seconds[name].append(time.perf_counter() - start)
    return {name: COUNT / statistics.median(taken) for name, taken in seconds.items()}


def as_table(figures: dict[str, dict[str, float]]) -> Table:
    """One row a policy, in images a second; last, how much faster than the faster baseline."""
    table = Table("images/s", *next(iter(figures.values())), "times faster")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, speeds in figures.items():
        own, *others = speeds.values()
        listed = (f"{speed:,.0f}" for speed in (own, *others))
        table.add_row(name, *listed, f"{own / max(others):.1f}")
    return table


if __name__ == "__main__":
    main()
