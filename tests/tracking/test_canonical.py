"""One text for each value, and only names that MLflow takes."""

import numpy as np
import pytest

from kdtune.tracking.canonical import (
    MAX_NAME,
    MAX_PARAM,
    canonical,
    canonical_params,
    clipped,
    entity_name,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.0, "4.0"),
        (np.float64(4), "4.0"),
        (4, "4"),
        (np.int64(4), "4"),
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (True, "true"),
        (False, "false"),
        (np.bool_(True), "true"),
        ("cutmix", "cutmix"),
    ],
)
def test_a_value_has_one_text(value: object, text: str) -> None:
    assert canonical(value) == text


def test_none_has_no_text() -> None:
    with pytest.raises(ValueError, match="must not be None"):
        canonical(None)
    assert canonical_params({"a": None, "b": 1}) == {"b": "1"}


def test_long_params_are_clipped_and_say_so() -> None:
    text = canonical_params({"p": "x" * 7000})["p"]
    assert len(text) == MAX_PARAM
    assert text.endswith("…")
    assert clipped("abc", 3) == "abc"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("val/accuracy", "val/accuracy"),
        ("method.beta", "method.beta"),
        ("top1@val (%)", "top1_val ___"),
        ("/a//b/", "a/b"),
        ("../up", "_/up"),
        ("", "_"),
        ("größe", "gr__e"),
    ],
)
def test_names_are_made_acceptable(name: str, allowed: str) -> None:
    assert entity_name(name) == allowed
    assert len(entity_name("n" * 300)) == MAX_NAME
