"""Learning rates as pure functions of the fractional epoch: a restored trial needs no state."""

import math
from collections.abc import Sequence

from kdtune.config import TrainSettings


def learning_rate(train: TrainSettings, epoch: float) -> float:
    """The learning rate at a point of training.

    Args:
        train: Its ``schedule`` scales with ``epochs``: milestones are shares of them.
        epoch: Epochs done, fractional within an epoch, in [0, ``train.epochs``).

    Returns:
        ``train.lr`` times the schedule's factor; rises linearly over ``warmup_epochs``.
    """
    if epoch < train.warmup_epochs:
        return train.lr * (epoch + 1) / (train.warmup_epochs + 1)
    return train.lr * _factor(train, epoch)


def _factor(train: TrainSettings, epoch: float) -> float:
    match train.schedule:
        case "constant":
            return 1.0
        case "step":
            drops = tuple(round(share * train.epochs) for share in train.milestone_fractions)
        case "early_stop":
            drops = early_stop_drops(train.epochs)
        case "cosine":
            start = train.warmup_epochs
            return _cosine((epoch - start) / (train.epochs - start))
        case "cosine_restarts":
            ends = cycle_ends(train.first_cycle, train.cycle_factor, train.epochs)
            end = next(e for e in ends if epoch < e)
            start = max([0, *(e for e in ends if e <= epoch)])
            return _cosine((epoch - start) / (end - start))
    return train.lr_factor ** _passed(drops, epoch)


def early_stop_drops(epochs: int) -> tuple[int, ...]:
    """Epochs at which an early-stopped teacher's rate drops (cho2019, section 5.3).

    The printed runs of n = 35, 50, 65 and 80 epochs drop every ``floor((n - 5) / 3)`` epochs,
    three times. Runs below 8 epochs, which the paper does not have, drop every epoch.
    """
    step = max(1, (epochs - 5) // 3)
    return (step, 2 * step, 3 * step)


def cycle_ends(first: int, factor: int, epochs: int) -> list[int]:
    """Where the cycles of a schedule with warm restarts end: ASHA's rungs, then the last epoch.

    A trial that is judged at a rung ``first * factor ** k`` has then just finished a cycle, so its
    score is that of an annealed network.
    """
    ends = []
    end = first
    while end < epochs:
        ends.append(end)
        end *= factor
    return [*ends, epochs]


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def _passed(drops: Sequence[int], epoch: float) -> int:
    return sum(epoch >= drop for drop in drops)
