"""The taps of a network of the zoo: stem, stages, and the end, its ``pool`` and ``classifier``."""

from collections.abc import Mapping
from dataclasses import dataclass

from kdtune.models.tap import PRE, Tap

READ_OUT: Mapping[str, Tap] = {
    "last_map": Tap(path="pool", side="input"),
    "pooled": Tap(path="classifier", side="input"),
}


@dataclass(frozen=True, kw_only=True)
class Rectified:
    """How a stage ends: the paths of its last ReLU and of the last batch norm before that."""

    relu: str
    norm: str


def rectified_taps(ends: Mapping[str, Rectified]) -> dict[str, Tap]:
    """Taps of a network whose stem and stages end in a ReLU.

    Args:
        ends: The stages in forward order and how each ends.
    """
    points = {"stem": Tap(path="stem")}
    for stage, end in ends.items():
        points[stage + PRE] = Tap(
            path=end.relu, side="input", activation="pre", signed=True, norm=end.norm
        )
        points[stage] = Tap(path=stage)
    return {**points, **READ_OUT}


def signed_taps(norms: Mapping[str, str]) -> dict[str, Tap]:
    """Taps of a pre-activated network: its stem and stages end without activation.

    Args:
        norms: The stages in forward order, each with the path of the batch norm between it and
            the ReLU that follows.
    """
    points = {"stem": Tap(path="stem", activation="pre", signed=True)}
    for stage, norm in norms.items():
        points[stage] = Tap(path=stage, activation="pre", signed=True)
        points[stage + PRE] = Tap(path=norm, activation="pre", signed=True, norm=norm)
    return {**points, **READ_OUT}
