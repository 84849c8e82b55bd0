"""The documentation keeps up with the code."""

from pathlib import Path

import pytest

from kdtune.config import known_keys
from kdtune.objectives import OBJECTIVES
from kdtune.views import AUGMENTS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("method", OBJECTIVES.names())
def test_every_key_is_documented(method: str) -> None:
    text = (DOCS / "configuration.md").read_text()
    assert [key for key in known_keys(method) if f"`{key}`" not in text] == []


def test_every_policy_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text()
    assert [name for name in AUGMENTS.names() if f"`{name}`" not in text] == []
