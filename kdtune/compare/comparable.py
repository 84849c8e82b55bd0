"""Whether two figures may be set against each other, and if not, why."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from kdtune.compare.result import Result
from kdtune.contracts import Scalar
from kdtune.papers import UNSTATED

COLUMN_KEYS = ("dataset", "teacher", "student")
"""What is solved, and by which networks: they make the columns of a comparison."""

PROTOCOL = ("data.", "train.")
"""What the keys begin with under which data and budget are set: alike for all of one column."""

SILENCE: Mapping[str, Scalar] = {
    "prune_ratio": 0.0,
    "label_smoothing": 0.0,
    "data.label_noise": 0.0,
    "data.imbalance": None,
    "data.train_limit": None,
}
"""What it means that a paper does not mention them: nobody leaves such a thing unsaid."""

ON_TEST = "test"


class Difference(NamedTuple):
    """A setting that two results state differently."""

    key: str
    measured: Scalar
    printed: Scalar


def differences(measured: Result, printed: Result) -> tuple[Difference, ...]:
    """What keeps a measured result from being compared with a printed one.

    Only what the paper states can differ; of :data:`SILENCE` also its silence says something. A
    figure chosen on test differs from any that was not; other rules of selection do not, since
    none of them has seen the test set.
    """
    stated = {**SILENCE, **printed.settings}
    found = [
        Difference(key, here, there)
        for key, there in sorted(stated.items())
        if key not in (*COLUMN_KEYS, "method")
        and there != UNSTATED
        and not alike(here := setting(measured.settings, key), there)
    ]
    if printed.selection and (measured.selection == ON_TEST) != (printed.selection == ON_TEST):
        found.append(Difference("chosen on", measured.selection or None, printed.selection))
    return tuple(found)


def setting(settings: Mapping[str, Scalar], key: str) -> Scalar:
    """A setting, or what its absence means; None if it means nothing."""
    return settings.get(key, SILENCE.get(key))


def alike(one: Scalar, other: Scalar) -> bool:
    """Whether two settings are the same value, rounding aside."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def in_protocol(key: str) -> bool:
    """Whether a key belongs to data or budget."""
    return key.startswith(PROTOCOL)
