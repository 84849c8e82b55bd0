"""AutoAugment (Cubuk et al., 2018, arXiv:1805.09501): learned pairs of operations, or random ones.

park2020 trains with the random policy (3.0 % error with WRN-28-10 on CIFAR-10, the learned one has
2.6 %) and does not say how it is drawn; here every choice is uniform.
"""

from functools import cache
from typing import Literal

import torch
from torch import Tensor

from kdtune.views.operation_space import (
    draw_kinds,
    draw_magnitudes,
    magnitude_table,
    usual_ranges,
)
from kdtune.views.operations import NAMES, operate
from kdtune.views.policies.standard import crop_and_flip
from kdtune.views.policy import AUGMENTS, Augment, Draws, RawBatch

BINS = 10
IDENTITY = NAMES.index("Identity")


@AUGMENTS.register("autoaugment")
class AutoAugment(Augment):
    """Two operations, each applied with a probability, for each image.

    ``random`` draws operations, their magnitudes (of 10) and their probabilities; the others draw
    one of the 25 pairs that were learned on the dataset of that name.
    """

    policy: Literal["random", "cifar10", "svhn", "imagenet"] = "random"

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """Cropped and flipped images after the operations."""
        images = crop_and_flip(raw, draws)
        count = len(images)
        table = magnitude_table(usual_ranges(images.shape[-1]), BINS)
        for turn in range(2):
            stream = draws(f"operation {turn}")
            luck = torch.rand(count, generator=stream)
            if self.policy == "random":
                chance = torch.rand(count, generator=stream)
                kinds = draw_kinds(count, stream, without="Identity")
                bins = torch.randint(BINS, (count,), generator=stream)
            else:
                # A named stream starts anew: the same pairs in both turns.
                pairs = torch.randint(25, (count,), generator=draws("pair of operations"))
                chance, kinds, bins = (column[pairs, turn] for column in learned_pairs(self.policy))
            kinds = torch.where(luck <= chance, kinds, IDENTITY)
            images = operate(images, kinds, draw_magnitudes(table, kinds, bins, stream))
        return raw.normalise(images)


@cache
def learned_pairs(policy: str) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of operations learned on a dataset, as torchvision lists them.

    Args:
        policy: ``cifar10``, ``svhn`` or ``imagenet``.

    Returns:
        Probabilities (float32), operations (int64, positions in `NAMES`) and magnitudes (int64, of
        10; 0 where there is none), each ``(25, 2)``.
    """
    from torchvision import transforms

    pairs = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy)).policies
    chances = torch.tensor([[chance for _, chance, _ in pair] for pair in pairs])
    kinds = torch.tensor([[NAMES.index(name) for name, _, _ in pair] for pair in pairs])
    bins = torch.tensor([[number or 0 for _, _, number in pair] for pair in pairs])
    return chances, kinds, bins
