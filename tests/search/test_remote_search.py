"""A search whose results lie in an object store: S3, as a server on this machine plays it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from object_store import ObjectStore, serving
from searching import SMALL

from kdtune.search.log import History, read_log
from kdtune.storage import Location, fetch

pytestmark = [pytest.mark.ray, pytest.mark.drill]
NAME = "one"
SIZE = ("--trials", "2", "--epochs", "2", "--finalists", "1", "--finalist-seeds", "1")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with serving(tmp_path_factory.mktemp("here")) as store:
        yield store


def kdtune(verb: str, results: Location, *words: str, env: Mapping[str, str] = os.environ) -> str:
    """What a command prints, which has a process of its own as Ray's workers need the store."""
    command = ["kdtune", verb, "--storage", results.uri, *words]
    run = "import sys; from kdtune.cli import main; sys.argv = sys.argv[1:]; main()"
    done = subprocess.run(
        [sys.executable, "-c", run, *command],
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_of_it_lies_in_the_bucket_and_another_machine_goes_on_with_it(
    store: ObjectStore, tmp_path: Path
) -> None:
    results = store.location("results of mine")
    kdtune("search", results, "--name", NAME, *SIZE, *SMALL)
    search = results.child(NAME)
    assert {"search.log", "journal", "leaderboard.json", "report.html", "students"} <= {
        *search.names()
    }
    first = fetched(search, tmp_path / "first")
    for trial in first.of("Finalists"):
        saved = trial.checkpoints[-1].checkpoint
        assert saved in search.child("tune").child(trial.trial_id).names()
    assert len(results.child("teachers").names()) == 1

    elsewhere = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "elsewhere")}
    said = kdtune("resume", results, NAME, "--trials", "+1", env=elsewhere)
    assert "Going on: 6 runs are over, 0 continue where they stood." in said
    assert str(tmp_path / "elsewhere") in said
    grown = fetched(search, tmp_path / "grown")
    assert grown.events[: len(first.events)] == first.events
    assert len(grown.of("Search")) == 3
    assert len({*grown.trials} - {*first.trials}) >= 1
    assert grown.concluded


def fetched(search: Location, local: Path) -> History:
    assert fetch(search, local)
    return read_log(local)
