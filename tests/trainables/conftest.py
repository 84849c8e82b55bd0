"""What the tests of the trainables share."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def trainables_leave_the_home_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainable without a cluster makes a folder, by default in the user's home."""
    folder = str(tmp_path / "ray_results")
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", folder)
