"""The training split as a stream of named batches, and plain batches for evaluation."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from kdtune.contracts import Batch
from kdtune.data import Dataset, ImageSplit
from kdtune.seeds import generator
from kdtune.views.policy import AUGMENTS, Augment, Mixing, RawBatch

RESIDENT_SHARE = 0.125
"""Of a GPU's free memory, what images may take: several trials may share the GPU."""


class ViewStream:
    """Augmented batches of the training split; each a pure function of (seed, epoch, step).

    The numbers are drawn by CPU generators that start anew for every batch, so neither the order
    of calls, nor the process, nor the device changes them. The last batch of an epoch may be
    smaller; one image alone is dropped, as batch statistics and mixing need two (the shuffle
    drops another one each epoch).

    Args:
        dataset: Its training split is what is streamed.
        policy: How the images are augmented.
        batch_size: Images a step, at least 2.
        seed: Of the stream; trials that share it see the same batches.
        device: Where the batches end up; augmentation runs there.
        plain_too: Whether a batch holds the views as they were before mixing, and the mixed ones
            as its ``mixed`` (wang2020's x and x'), instead of the mixed ones alone.

    Raises:
        ValueError: If ``batch_size < 2``, there are fewer than 2 images, or ``plain_too`` is asked
            of a policy that does not mix.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        policy: Augment,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        plain_too: bool = False,
    ) -> None:
        if batch_size < 2:
            raise ValueError(f"batch_size must be >= 2 for training, got {batch_size}")
        if len(dataset.train) < 2:
            raise ValueError(f"a training split must hold >= 2 images, got {len(dataset.train)}")
        if plain_too and not policy.mixes:
            mixing = ", ".join(name for name in AUGMENTS.names() if AUGMENTS.get(name).mixes)
            raise ValueError(
                f"plain_too needs a policy that mixes images ({mixing}), "
                f"got {type(policy).__name__}"
            )
        self._split = dataset.train
        self._statistics = [list(dataset.mean), list(dataset.std)]
        self._fingerprint = dataset.fingerprint
        self._flip = dataset.flip
        self._policy = policy
        self._plain_too = plain_too
        self._batch_size = batch_size
        self._seed = seed
        self._device = torch.device(device)
        self._normalise = _Normaliser(dataset, self._device)
        self._last_order: tuple[int, Tensor] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the same in every epoch."""
        full, rest = divmod(len(self._split), self._batch_size)
        return full + (rest > 1)

    @property
    def device(self) -> torch.device:
        """Where the batches end up."""
        return self._device

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that fixes the images of every batch, as JSON; labels are not part of it.

        The first batch itself is, so that another version's views are another stream.
        """
        first = self.batch(0, 0)
        return {
            "fingerprint": self._fingerprint,
            "index": _digest(self._split.index),
            "first": [_digest(each.images) for each in (first, first.mixed) if each is not None],
            "statistics": self._statistics,
            "flip": self._flip,
            "policy": [type(self._policy).__name__, self._policy.model_dump()],
            "plain_too": self._plain_too,
            "batch_size": self._batch_size,
            "seed": self._seed,
        }

    @property
    def policy(self) -> Augment:
        """How the images are augmented."""
        return self._policy

    @property
    def plain_too(self) -> bool:
        """Whether a batch holds the views before mixing, and the mixed ones besides."""
        return self._plain_too

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others of their batch."""
        return self._policy.mixes

    def batch(self, epoch: int, step: int) -> Batch:
        """The batch of that name; ``index`` counts positions within the training split.

        A mixed batch to pick from (``policy.picks``) holds every image twice, in the same order.

        Args:
            epoch: From 0.
            step: In ``[0, steps_per_epoch)``.

        Raises:
            ValueError: If ``step`` or ``epoch`` is out of range.
        """
        if epoch < 0:
            raise ValueError(f"epoch must be >= 0, got {epoch}")
        if not 0 <= step < self.steps_per_epoch:
            raise ValueError(f"step must be in [0, {self.steps_per_epoch}), got {step}")
        start = step * self._batch_size
        index = self._order(epoch)[start : start + self._batch_size]
        images, labels = _gather(self._split, index, self._device)
        raw = RawBatch(images=images, flip=self._flip, normalise=self._normalise)
        draws = partial(generator, self._seed, "views", epoch, step)
        views = self._policy.views(raw, draws)
        batch = Batch(index=index.to(self._device), images=views, labels=labels)
        if not isinstance(self._policy, Mixing):
            return batch
        mixed = self._policy.mix(batch, draws)
        return replace(batch, mixed=mixed) if self._plain_too else mixed

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """All batches of an epoch, in order."""
        return (self.batch(epoch, step) for step in range(self.steps_per_epoch))

    def _order(self, epoch: int) -> Tensor:
        """``(n,)`` int64, the epoch's shuffle; the last one is kept, as steps ask in turn."""
        if self._last_order is None or self._last_order[0] != epoch:
            draws = generator(self._seed, "order", epoch)
            self._last_order = epoch, torch.randperm(len(self._split), generator=draws)
        return self._last_order[1]


def _digest(tensor: Tensor) -> str:
    """16 hexadecimal digits of SHA-256 over the bytes."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def plain_batches(
    split: ImageSplit,
    dataset: Dataset,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Every image of a split once, in order, normalised and not augmented.

    Args:
        split: What is read; ``index`` counts positions within it.
        dataset: Where the statistics come from.
        batch_size: Images a batch, at least 1; the last batch may be smaller.
        device: Where the batches end up.

    Raises:
        ValueError: If ``batch_size < 1``.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    return _plain_batches(split, dataset, batch_size, torch.device(device))


def _plain_batches(
    split: ImageSplit, dataset: Dataset, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    normalise = _Normaliser(dataset, device)
    for start in range(0, len(split), batch_size):
        index = torch.arange(start, min(start + batch_size, len(split)))
        images, labels = _gather(split, index, device)
        yield Batch(index=index.to(device), images=normalise(images), labels=labels)


@lru_cache(maxsize=1)
def resident(images: Tensor, device: torch.device) -> Tensor:
    """All images in the memory of a GPU, if they fit there well; else where they are.

    The last ones stay there, so that the next trial of this process finds them.
    """
    if device.type != "cuda":
        return images
    free, _ = torch.cuda.mem_get_info(device)
    return images.to(device) if images.nbytes <= RESIDENT_SHARE * free else images


def _gather(split: ImageSplit, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Raw uint8 images and labels at positions within the split."""
    rows = split.index[index]
    images = resident(split.images, device)
    picked = images.index_select(0, rows.to(images.device))
    return picked.to(device), split.labels[rows].to(device)


class _Normaliser:
    """``(pixel / 255 - mean) / std`` as one multiplication and one addition per pixel."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        mean = torch.tensor(dataset.mean, dtype=torch.float64)[:, None, None]
        std = torch.tensor(dataset.std, dtype=torch.float64)[:, None, None]
        self._scale = (1 / (255 * std)).to(device, torch.float32)
        self._shift = (-mean / std).to(device, torch.float32)

    def __call__(self, images: Tensor) -> Tensor:
        return torch.mul(images, self._scale).add_(self._shift)
