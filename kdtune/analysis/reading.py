"""What networks say of a split: logits and features of plain images."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from kdtune import models
from kdtune.analysis.base import Subject
from kdtune.data import Dataset, ImageSplit
from kdtune.seeds import generator
from kdtune.training.teacher import EVAL_BATCH
from kdtune.views import plain_batches

SplitName = Literal["train", "val", "test"]
FEATURES = "pooled"
"""The tap that the classifier reads."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Of one network to all images of a split, in its order, on the CPU.

    Attributes:
        logits: ``(n, C)`` float32.
        labels: ``(n,)`` int64, as the split has them: noisy where the run's training labels were.
        features: ``(n, D)`` float32, what the classifier read; ``(n, 0)`` if not asked for.
    """

    logits: Tensor
    labels: Tensor
    features: Tensor

    @property
    def top1(self) -> Tensor:
        """``(n,)`` int64, the class of the largest logit."""
        return self.logits.argmax(dim=1)


def split_of(dataset: Dataset, name: SplitName) -> ImageSplit:
    """The split called ``name``."""
    split: ImageSplit = getattr(dataset, name)
    return split


@torch.no_grad()
def answers(
    model: nn.Module, subject: Subject, split: ImageSplit, *, features: bool = False
) -> Answers:
    """One pass over plain images, without augmentation, the model as it is: in eval mode.

    Args:
        model: The subject's student or teacher, or another network for its data.
        subject: Says how images are normalised, and where the model is.
        split: Of the subject's dataset, or a part of one.
        features: Whether to keep what the classifier reads.

    Raises:
        ValueError: If features are asked of a network that has no such tap.
    """
    wanted = [FEATURES] if features else []
    said, labels, read = [], [], []
    batches = plain_batches(split, subject.dataset, batch_size=EVAL_BATCH, device=subject.device)
    for batch in batches:
        outputs = models.run(model, batch.images, wanted)
        said.append(outputs.logits.float().cpu())
        labels.append(batch.labels.cpu())
        read.append(outputs.taps[FEATURES].float().cpu() if features else said[-1][:, :0])
    return Answers(logits=torch.cat(said), labels=torch.cat(labels), features=torch.cat(read))


def classifier(model: nn.Module) -> nn.Linear:
    """The last layer, which reads the features.

    Raises:
        ValueError: If the network declares no features, or another kind of layer reads them.
    """
    points = models.taps(model)
    module = model.get_submodule(points[FEATURES].path) if FEATURES in points else None
    if not isinstance(module, nn.Linear):
        raise ValueError(
            f"the analysis needs a network whose '{FEATURES}' features are read by a linear layer, "
            f"got {type(model).__name__}"
        )
    return module


def sample(split: ImageSplit, count: int, seed: int) -> ImageSplit:
    """``count`` images of a split drawn without replacement, in its order; all if it has fewer.

    Args:
        split: Drawn from.
        count: At least 1.
        seed: Of the draw, which depends on it and on the size of the split.
    """
    chosen = torch.randperm(len(split), generator=generator(seed, "analysis sample"))[:count]
    return ImageSplit(split.images, split.labels, split.index[chosen.sort().values])


def pixels(split: ImageSplit) -> Tensor:
    """The images as ``(n, C, H, W)`` float32 in 0..1, on the CPU."""
    return split.images[split.index].float() / 255


class InPixels(nn.Module):
    """A network that takes pixels in 0..1 and normalises them itself.

    Args:
        model: Takes normalised images.
        dataset: Whose mean and standard deviation normalise.
        device: Of the model.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, dataset: Dataset, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(dataset.mean, device=device)[:, None, None])
        self.register_buffer("std", torch.tensor(dataset.std, device=device)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` in 0..1 to logits ``(B, classes)``."""
        logits: Tensor = self.model((images - self.mean) / self.std)
        return logits
