"""From a dataset's name to its splits."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from kdtune.data import sources  # noqa: F401  (fills the registry)
from kdtune.data.cache import Stored, open_or_decode
from kdtune.data.corruption import (
    count_range,
    imbalanced_counts,
    imbalanced_subset,
    noisy_labels,
)
from kdtune.data.dataset import Dataset, ImageSplit
from kdtune.data.errors import DataError
from kdtune.data.source import SOURCES, DatasetInfo, Request, Source
from kdtune.data.splits import stratified_pick


def load_dataset(
    name: str,
    *,
    root: str | None = None,
    seed: int = 0,
    val_fraction: float | None = None,
    train_limit: int | None = None,
    label_noise: float = 0.0,
    imbalance: float | None = None,
    flip: bool | None = None,
    image_column: str = "",
    label_column: str = "",
    cache_dir: Path | None = None,
) -> Dataset:
    """Load a dataset, decoding it first if this machine has not done so before.

    Validation is carved from the source's training images, from all of them, stratified. Then
    ``imbalance`` takes a subset of the training split, ``train_limit`` shrinks both splits by the
    same factor, and ``label_noise`` replaces labels of the training images that are left.
    Validation and test keep their true labels and their balance. Every class is in train and
    validation, judged by the true labels. What an image's label is replaced by depends on ``seed``,
    ``label_noise`` and its position in the source, not on which other images are kept. All draws
    depend on ``seed`` alone. A repeated call in one process returns the same object; it does not
    look at the files again.

    Args:
        name: ``digits``, ``cifar10``, ``cifar100``, ``parquet:URI`` or ``folder:PATH``.
        root: Folder that holds ``cifar10`` and ``cifar100``, and from which a relative PATH or
            local URI counts; None counts from the working directory.
        seed: Of the split, the subsets and the label noise, and of nothing else.
        val_fraction: In (0, 1); None is the source's default, 0.25 for digits, otherwise 0.1.
        train_limit: Most training images to keep, a stratified subset; None keeps all.
        label_noise: Probability in [0, 1] that a training label is replaced by one drawn from all
            classes, see `kdtune.data.corruption.noisy_labels`.
        imbalance: The exponent gamma > 0 of a power law of the classes' training images, smaller
            is more imbalanced, see `kdtune.data.corruption.imbalanced_counts`; None keeps all
            images. The law runs from 250 to 5,000 images; where a class has fewer left after
            validation, both ends are scaled together to the fewest that any class has.
        flip: Whether a horizontal flip keeps the label; None is the source's default, False for
            digits, otherwise True.
        image_column: Parquet only; empty means to detect it.
        label_column: Parquet only; empty means to detect it.
        cache_dir: Where decoded images are kept; None is the user's cache folder.

    Raises:
        ValueError: If an argument is out of range or the name is unknown.
        DataError: If the data breaks a rule; names file and row.
        FileNotFoundError: If the data is not there.
    """
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be in (0, 1), got {val_fraction}")
    if train_limit is not None and train_limit < 1:
        raise ValueError(f"train_limit must be >= 1, got {train_limit}; None keeps all images")
    if not 0 <= label_noise <= 1:
        raise ValueError(f"label_noise must be in [0, 1], got {label_noise}")
    if imbalance is not None and not 0 < imbalance < math.inf:
        raise ValueError(
            f"imbalance must be finite and > 0, got {imbalance}; None keeps all images"
        )
    source, location = _find(name)
    if source.location == "root" and not root:
        raise ValueError(
            f"dataset '{name}' needs a data root, got none; it takes {source.info.needs}"
        )
    request = Request(
        location=_absolute(location, root),
        root=str(Path(root).absolute()) if root else "",
        image_column=image_column,
        label_column=label_column,
    )
    choice = Choice(
        seed=seed,
        val_fraction=val_fraction,
        train_limit=train_limit,
        label_noise=label_noise,
        imbalance=imbalance,
        flip=flip,
    )
    folder = cache_dir or Path(platformdirs.user_cache_dir("kdtune")) / "datasets"
    return _load(name, request, choice, folder.absolute())


def download(name: str, root: str) -> None:
    """Fetch a dataset into ``root``; the only function here that uses the network by itself.

    Raises:
        ValueError: If the dataset is not one that can be downloaded.
        DataError: If the download failed.
    """
    source, _ = _find(name)
    if source.fetch is None:
        choices = ", ".join(each for each in SOURCES.names() if SOURCES.get(each).fetch)
        raise ValueError(f"dataset '{name}' cannot be downloaded; these can: {choices}")
    try:
        source.fetch(root)
    except (OSError, RuntimeError) as error:
        raise DataError(f"download of '{name}' into '{root}' failed ({error})") from error


def describe() -> list[DatasetInfo]:
    """One row per kind of dataset, sorted by name."""
    return [SOURCES.get(name).info for name in SOURCES.names()]


def absolute_name(name: str, *, root: str | None = None) -> str:
    """The same dataset under a name that holds in every working directory of this machine.

    Raises:
        ValueError: If the name is unknown.
    """
    _, location = _find(name)
    return f"{name.partition(':')[0]}:{_absolute(location, root)}" if location else name


def forget_loaded() -> None:
    """Drop the datasets that this process remembers; the next load looks at the files again."""
    _load.cache_clear()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How to split and corrupt what a source holds; see `load_dataset`."""

    seed: int
    val_fraction: float | None
    train_limit: int | None
    label_noise: float
    imbalance: float | None
    flip: bool | None


@lru_cache(maxsize=8)
def _load(name: str, request: Request, choice: Choice, folder: Path) -> Dataset:
    plan = SOURCES.get(name.partition(":")[0]).plan(request)
    stored = open_or_decode(plan, folder)
    _check_classes(name, stored)
    fraction = plan.val_fraction if choice.val_fraction is None else choice.val_fraction
    train, val = _split(name, stored, fraction, choice)
    mean, std = _statistics(name, stored.sums[train], stored.images.shape[2:].numel())
    test = torch.arange(stored.train_count, len(stored.labels))
    return Dataset(
        name=name,
        train=ImageSplit(stored.images, _train_labels(stored, train, choice), train),
        val=ImageSplit(stored.images, stored.labels, val),
        test=ImageSplit(stored.images, stored.labels, test),
        classes=len(stored.class_names),
        class_names=stored.class_names,
        mean=mean,
        std=std,
        flip=plan.flip if choice.flip is None else choice.flip,
        fingerprint=stored.fingerprint,
    )


def _find(name: str) -> tuple[Source, str]:
    kind, _, location = name.partition(":")
    source = SOURCES.get(kind)
    if source.location == "path" and not location:
        raise ValueError(
            f"dataset '{kind}' needs a location, got '{name}'; write {source.info.name}"
        )
    if source.location != "path" and location:
        raise ValueError(f"dataset '{kind}' takes no location, got '{name}'; write '{kind}'")
    return source, location


def _absolute(location: str, root: str | None) -> str:
    if not location or "://" in location:
        return location
    return str((Path(root or ".") / Path(location).expanduser()).resolve())


def _check_classes(name: str, stored: Stored) -> None:
    counts = torch.bincount(
        stored.labels[: stored.train_count], minlength=len(stored.class_names)
    ).tolist()
    for label, count in enumerate(counts):
        if count < 2:
            raise DataError(
                f"dataset '{name}': every class needs at least 2 training images, one to train "
                f"on and one to validate on; class {label} ('{stored.class_names[label]}') "
                f"has {count}"
            )


def _split(name: str, stored: Stored, fraction: float, choice: Choice) -> tuple[Tensor, Tensor]:
    """Positions of the training and the validation images."""
    labels, classes = stored.labels[: stored.train_count], len(stored.class_names)
    total = math.floor(len(labels) * fraction + 0.5)
    val, train = stratified_pick(labels, total, choice.seed, "validation split", leave=1)
    if choice.imbalance is not None:
        n_min, n_max = count_range(int(torch.bincount(labels[train]).min()))
        counts = imbalanced_counts(classes, gamma=choice.imbalance, n_min=n_min, n_max=n_max)
        train = train[imbalanced_subset(labels[train], counts, choice.seed)]
    limit = choice.train_limit
    if limit is None or limit >= len(train):
        return train, val
    if limit < classes:
        raise ValueError(
            f"train_limit must be at least the number of classes of '{name}', "
            f"{classes}, got {limit}"
        )
    val_limit = math.floor(len(val) * limit / len(train) + 0.5)
    kept, _ = stratified_pick(labels[train], limit, choice.seed, "train limit")
    kept_val, _ = stratified_pick(labels[val], val_limit, choice.seed, "validation limit")
    return train[kept], val[kept_val]


def _train_labels(stored: Stored, train: Tensor, choice: Choice) -> Tensor:
    """The label of every image as the training split has them: others than its own stay true.

    Noise is drawn for all images of the source, so that it does not depend on which are kept.
    """
    if choice.label_noise == 0:
        return stored.labels
    true = stored.labels[: stored.train_count]
    classes = len(stored.class_names)
    noisy = noisy_labels(true, rate=choice.label_noise, classes=classes, seed=choice.seed)
    labels = stored.labels.clone()
    labels[train] = noisy[train]
    return labels


def _statistics(name: str, sums: Tensor, area: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel in 0..1, from exact integer sums.

    Args:
        name: The dataset, for the message.
        sums: ``(n, C, 2)`` int64, see `Stored`.
        area: Pixels of one channel of one image.
    """
    count = len(sums) * area
    totals: list[list[int]] = sums.sum(0).tolist()
    means = tuple(total / count / 255 for total, _ in totals)
    variances = [square * count - total * total for total, square in totals]
    if 0 in variances:
        raise DataError(
            f"dataset '{name}': channel {variances.index(0)} of the training images is constant, "
            "so it cannot be normalised; check the images"
        )
    return means, tuple(math.sqrt(variance) / count / 255 for variance in variances)
