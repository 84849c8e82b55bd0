"""What the tests of stored teachers share."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from object_store import ObjectStore, serving

from kdtune.storage import Claim, Location


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server for all tests of a file."""
    with serving(tmp_path_factory.mktemp("cache")) as store:
        yield store


@pytest.fixture(params=["a folder", "S3"])
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Location:
    """Where teachers are stored, of each kind."""
    if request.param == "a folder":
        return Location.parse(tmp_path / "teachers")
    monkeypatch.setattr("kdtune.teachers.store.Claim", partial(Claim, settle_s=0.05))
    objects: ObjectStore = request.getfixturevalue("objects")
    return objects.location(tmp_path.name)
