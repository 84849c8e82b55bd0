"""The ways of running one trial that benchmarks compare: keys of kdtune's configuration."""

from machine import has_native_bf16

from kdtune.contracts import FlatConfig

LIVE, SHARED, BF16 = "live", "shared", "shared, bf16"

ARMS: dict[str, FlatConfig] = {
    LIVE: {"teacher.signals": "live"},
    SHARED: {"teacher.signals": "exact"},
    BF16: {"teacher.signals": "exact", "train.precision": "bf16"},
}
"""``live`` asks the teacher in every step; the others share what it says between trials."""


def measurable(device: str) -> list[str]:
    """The arms that can be measured on ``device``; says of the other one why not."""
    if has_native_bf16(device):
        return list(ARMS)
    print(f"skipped: {BF16} (the {device} has no native bfloat16)")
    return [arm for arm in ARMS if arm != BF16]
