"""What the fuzz tests draw from: valid configurations, and what a slip or a stranger makes of them.

The draws are the same in every run. ``EXPLORE=1 pytest tests/fuzz`` draws anew.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from kdtune.config.keys import Chosen, routes
from kdtune.objectives import OBJECTIVES
from kdtune.search import space
from kdtune.views import AUGMENTS

FUZZ = settings(
    deadline=None,
    derandomize="EXPLORE" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextmanager
def may_be_refused(kind: type[Exception], named: object = "") -> Iterator[None]:
    """Inside, ``kind`` may be raised, none of its subclasses, by a message that has ``named``."""
    refusal: Exception | None = None
    try:
        yield
    except kind as error:
        refusal = error
    if refusal:
        assert type(refusal) is kind
        assert str(named) in str(refusal)
        str(refusal).encode()


def _valid() -> list[dict[str, Any]]:
    """A configuration of every arm of the spaces, every method and every policy."""
    rng = np.random.default_rng(0)
    spaces = map(space.load, space.names())
    arms = [each.sample(rng, arm) for each in spaces for arm in each.arm_names]
    methods = [{"method": name} for name in OBJECTIVES.names()]
    return [*arms, *methods, *({"augment": name} for name in AUGMENTS.names())]


VALID = _valid()
KEYS = sorted(routes(Chosen(None, None, None)))
LONG = "x" * 10_000
TEXTS = (
    *("", " ", "=", "\0", "ü✓", "\ud800", LONG, "0.5," * 3000, "9" * 5000, "../../x", "/etc"),
    *("nan", "inf", "-inf", "1e308", "1e309", "-0.0", "0", "-1", "1", "0.5", "0.1,0.9", "true"),
    *(str(2**62), str(2**63), str(2**64), "store:../../x", "parquet:\0", "folder:/nowhere"),
    *("kd", "scratch", "cutmix", "slimming", "resnet8", "resnet6000002", "torchvision:__init__"),
)
"""What may stand behind ``--set KEY=``."""

NESTED: list[Any] = []
for _ in range(10_000):
    NESTED = [NESTED]
EXTREME: tuple[Any, ...] = (
    *TEXTS,
    *(1e308, -1e308, 5e-324, -0.0, float("nan"), float("inf"), -float("inf")),
    *(0, 1, -1, 2**62, 2**63, -(2**63), 2**64, 10**5000, True, False, None),
    *([], {}, NESTED, b"x", 1j, object(), (1,), np.array(1), np.float64(1e308), np.str_("a")),
    *(np.bool_(True), np.datetime64("2020"), np.longdouble(1)),
)


@st.composite
def misspelled(draw: st.DrawFn, key: str) -> str:
    """A key with a slip in it."""
    place = draw(st.integers(0, len(key)))
    left_out, doubled = key[:place] + key[place + 1 :], key[:place] + key[place - 1 :]
    others = (key.upper(), f"{key} ", f"{key}.", key[::-1], "", f"{key}\0", key * 1000, "\ud800")
    return draw(st.sampled_from((left_out, doubled, *others)))


@st.composite
def near_misses(draw: st.DrawFn) -> dict[Any, Any]:
    """A valid configuration with up to three things wrong with it."""
    flat: dict[Any, Any] = dict(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 3))):
        given = [key for key in flat if isinstance(key, str)] or ["seed"]
        slip = draw(st.sampled_from(("value", "value", "value", "key", "swap", "drop", "no text")))
        key = draw(st.sampled_from(given))
        if slip == "value":
            flat[draw(st.sampled_from([key, *KEYS]))] = draw(st.sampled_from(EXTREME))
        elif slip == "key":
            flat[draw(misspelled(key))] = flat.pop(key, None)
        elif slip == "swap":
            other = draw(st.sampled_from(given))
            flat[key], flat[other] = flat.get(other), flat.get(key)
        elif slip == "drop":
            flat.pop(key, None)
        else:
            flat[draw(st.sampled_from((1, None, ("a",), b"x", 3.5)))] = draw(
                st.sampled_from(EXTREME)
            )
    return flat


@st.composite
def settings_as_typed(draw: st.DrawFn) -> list[str]:
    """Texts behind ``--set``, most of them of the form KEY=VALUE."""
    key = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS).flatmap(misspelled))
    pair = st.tuples(key, st.one_of(st.sampled_from(TEXTS), st.text(max_size=20))).map("=".join)
    return draw(st.lists(st.one_of(pair, pair, st.sampled_from(TEXTS)), max_size=3))
