"""Whether two figures may be set against each other, and if not, why."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kdtune.compare.result import Result
from kdtune.contracts import Scalar
from kdtune.papers import UNSTATED

COLUMN_KEYS = ("dataset", "teacher", "student")
"""What is solved, and by which networks: they make the columns of a comparison."""

PROTOCOL = ("data.", "train.")
"""What the keys begin with under which data and budget are set: alike for all of one column."""

SILENCE: Mapping[str, Scalar] = {
    "init": "",
    "prune_ratio": 0.0,
    "label_smoothing": 0.0,
    "method.label_smoothing": 0.0,
    "data.label_noise": 0.0,
    "data.imbalance": None,
    "data.train_limit": None,
}
"""What it means that a paper does not mention them: nobody leaves such a thing unsaid."""

PLAIN = ("none", "standard")
"""What a paper may do to images, of student or teacher, without saying so."""

ON_TEST = "test"


class Difference(NamedTuple):
    """A setting that two results state differently."""

    key: str
    measured: Scalar
    printed: Scalar


def differences(measured: Result, printed: Result) -> tuple[Difference, ...]:
    """What keeps a measured result from being compared with a printed one.

    Only what the paper states can differ; of :data:`SILENCE` also its silence says something, and
    so it does of mixed or recoloured images, and of teachers and distillation stopped early. A
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
    found += sorted(_unsaid(measured.settings, stated, str(printed.settings.get("method"))))
    if printed.selection and (measured.selection == ON_TEST) != (printed.selection == ON_TEST):
        found.append(Difference("chosen on", measured.selection or None, printed.selection))
    return tuple(found)


def _unsaid(
    measured: Mapping[str, Scalar], stated: Mapping[str, Scalar], method: str
) -> Iterator[Difference]:
    """What was done here, and would have been said had it been done there."""
    for key in ("augment", "teacher.augment"):
        if key not in stated and measured.get(key, PLAIN[0]) not in PLAIN:
            yield Difference(key, measured[key], None)
    epochs, full = measured.get("teacher_epochs"), measured.get("teacher.full_epochs")
    if "teacher_epochs" not in stated and epochs is not None and full not in (None, epochs):
        yield Difference("teacher_epochs", epochs, full)
    stop = measured.get("method.stop_epoch")
    # That it stops is what eskd is; when, its paper does not say.
    if "method.stop_epoch" not in stated and stop is not None and method != "eskd":
        yield Difference("method.stop_epoch", stop, None)


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
