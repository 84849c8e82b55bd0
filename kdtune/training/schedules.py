"""Learning rates as pure functions of the fractional epoch: a restored trial needs no state."""

import math

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
        case "cosine":
            start = train.warmup_epochs
            return _cosine((epoch - start) / (train.epochs - start))
        case "cosine_restarts":
            ends = cycle_ends(train.first_cycle, train.cycle_factor, train.epochs)
            end = next(e for e in ends if epoch < e)
            start = max([0, *(e for e in ends if e <= epoch)])
            return _cosine((epoch - start) / (end - start))
    return train.lr_factor ** sum(epoch >= drop for drop in _drops(train))


def first_drop(train: TrainSettings) -> int | None:
    """The epoch at which the rate first drops; None for a schedule without steps."""
    drops = _drops(train)
    return drops[0] if drops else None


def _drops(train: TrainSettings) -> tuple[int, ...]:
    """The epochs at which the rate is multiplied by ``train.lr_factor``."""
    match train.schedule:
        case "step":
            return tuple(round(share * train.epochs) for share in train.milestone_fractions)
        case "early_stop":
            return early_stop_drops(train.epochs)
    return ()


def early_stop_drops(epochs: int) -> tuple[int, ...]:
    """Epochs at which an early-stopped teacher's rate drops (cho2019, section 5.5).

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
