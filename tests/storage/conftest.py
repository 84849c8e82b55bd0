"""What the tests of storage share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import ObjectStore, serving

from kdtune.storage import Location


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server for all tests of a file."""
    with serving(tmp_path_factory.mktemp("cache")) as store:
        yield store


@pytest.fixture(params=["a folder", "S3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty place of each kind, under a name that needs care."""
    name = "Prüfung 100% ?&#"
    if request.param == "a folder":
        return Location.parse(tmp_path).child(name)
    objects: ObjectStore = request.getfixturevalue("objects")
    return objects.location(tmp_path.name).child(name)
