"""A dataset and its splits: views into one array of images that all processes of a node share."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Some of the images, by position; never a copy of them.

    Attributes:
        images: ``(N, C, H, W)`` uint8, memory-mapped, the same tensor in every split.
        labels: ``(N,)`` int64, the class of every image; under label noise the training split
            has its own, in which only its own images' labels are replaced.
        index: ``(n,)`` int64, the positions in ``images`` that belong to this split.
    """

    images: Tensor
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return int(self.index.shape[0])

    @property
    def targets(self) -> Tensor:
        """``(n,)`` int64, the labels of this split only, in its order."""
        return self.labels[self.index]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test images of one task.

    Attributes:
        name: As the user gave it, ``"parquet:path"``.
        train: What a trial learns from.
        val: What a search selects on, carved from the source's training images.
        test: Read once, for finalists.
        classes: Number of classes; labels are in ``[0, classes)``.
        class_names: One per class.
        mean: Per channel, of the training split's pixels, in 0..1.
        std: Per channel, population standard deviation of the same pixels, in 0..1.
        flip: Whether a horizontal flip keeps the label.
        fingerprint: Hash of the decoded pixels, the true labels and where the test images start;
            it knows nothing of path, format, split, label noise or imbalance.
    """

    name: str
    train: ImageSplit
    val: ImageSplit
    test: ImageSplit
    classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    fingerprint: str

    @property
    def true_targets(self) -> Tensor:
        """``(n_train,)`` int64, the training labels before label noise, in the split's order.

        ``dataset.train.targets == dataset.true_targets`` says which training labels are true.
        """
        return self.test.labels[self.train.index]

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self.train.images.shape[1])

    @property
    def size(self) -> int:
        """Height and width in pixels; images are square."""
        return int(self.train.images.shape[2])


def merge_train_val(dataset: Dataset) -> Dataset:
    """The same dataset with the validation images appended to the training split.

    For finalists trained on train + validation. Position ``i`` of the old training split stays
    position ``i``; ``val`` stays as it is, so its accuracy is then a training accuracy. ``mean``
    and ``std`` stay those of the old training split, so that a teacher sees the same inputs. The
    appended images are as in ``val``: balanced and truly labelled, whatever was done to the old
    training split, so the merged one is less imbalanced and less noisy.
    """
    index = torch.cat([dataset.train.index, dataset.val.index])
    return replace(dataset, train=replace(dataset.train, index=index))
