"""The ways of running one trial that benchmarks compare: keys of kdtune's configuration."""

from machine import has_native_bf16

from kdtune.config import known_keys
from kdtune.contracts import FlatConfig

LIVE, SHARED, BF16 = "live", "shared", "shared, bf16"

ARMS: dict[str, FlatConfig] = {
    LIVE: {"teacher.signals": "live"},
    SHARED: {"teacher.signals": "exact"},
    BF16: {"teacher.signals": "exact", "train.precision": "bf16"},
}
"""``live`` asks the teacher in every step; the others share what it says between trials."""


def available(arm: str, device: str) -> str:
    """Why an arm cannot be measured here; empty if it can."""
    missing = [key for key in ARMS[arm] if key not in known_keys("kd")]
    if missing and arm != LIVE:
        return f"this kdtune has no {', '.join(missing)}"
    if arm == BF16 and not has_native_bf16(device):
        return f"the {device} has no native bfloat16"
    return ""


def settings(arm: str) -> FlatConfig:
    """The keys of an arm, as far as this kdtune knows them."""
    return {key: value for key, value in ARMS[arm].items() if key in known_keys("kd")}


def measurable(device: str) -> list[str]:
    """The arms that can be measured on ``device``; says of the others why not."""
    reasons = {arm: available(arm, device) for arm in ARMS}
    for arm, reason in reasons.items():
        if reason:
            print(f"skipped: {arm} ({reason})")
    return [arm for arm, reason in reasons.items() if not reason]
