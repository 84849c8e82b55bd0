"""What tests of whole searches share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from kdtune.cli import RAY_ENVIRONMENT
from kdtune.search import launch as launching


@pytest.fixture(scope="module")
def from_the_shell(ray_session: None) -> Iterator[None]:
    """The environment that the console script sets, and a terminal of the usual width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("COLUMNS", "100")
        for key, value in RAY_ENVIRONMENT.items():
            patch.setenv(key, value)
        yield


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, from_the_shell: None) -> Path:
    """Where the searches of one file leave their results."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reaches Ray fails the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("Ray was asked for")

    monkeypatch.setattr(launching, "connected", refuse)
    monkeypatch.setattr(ray, "init", refuse)
