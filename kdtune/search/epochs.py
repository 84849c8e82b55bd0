"""What counts as an epoch where trials are compared: one of the schedule, not of a warm-up."""

from collections.abc import Mapping
from typing import Any

from ray.air.constants import TRAINING_ITERATION

EPOCH = "epoch"
"""The result that counts the finished epochs of a trial's schedule: 0.0 during a warm-up."""


def epoch_of(result: Mapping[str, Any], name: str = EPOCH) -> float | None:
    """The finished epochs that a report stands for; reports of trainables without are counted.

    None if the report holds neither number. What was measured at epoch 0 compares with nothing.
    """
    epoch = result.get(name, result.get(TRAINING_ITERATION))
    return epoch if isinstance(epoch, int | float) else None
