"""Every test of data starts from an empty cache."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdtune.data import forget_loaded


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """Each test looks at its files anew."""
    forget_loaded()
    yield
    forget_loaded()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """An empty cache folder, removed afterwards as a decoded dataset can be large."""
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
