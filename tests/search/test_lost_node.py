"""Nodes die in the middle of a search, which ends as it would have ended without."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import dying_nodes
import pytest
from accounting import account
from searching import read

from kdtune.search.log import read_log
from kdtune.teachers.inventory import keys
from kdtune.teachers.store import TeacherStore
from kdtune.tracking import default_tracking_uri

pytestmark = [pytest.mark.ray, pytest.mark.drill]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the two searches of ``dying_nodes`` left behind."""
    place = tmp_path_factory.mktemp("results")
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    sockets = tempfile.mkdtemp(prefix="kd-")  # short: the paths of sockets are limited
    own = {"RAY_TMPDIR": sockets, "RAY_AUTH_MODE": "disabled", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, dying_nodes.__file__, str(place)],
        env={**outside, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    shutil.rmtree(sockets, ignore_errors=True)
    assert done.returncode == 0, done.stdout[-5000:]
    return place


def test_the_trials_of_killed_nodes_go_on_elsewhere_and_everything_happens_once(
    storage: Path,
) -> None:
    assert json.loads((storage / "killed.json").read_text()) == ["Teachers", "Search"]
    uri = default_tracking_uri(storage / "disturbed")
    found = account(
        storage / "disturbed" / "disturbed", tracking_uri=uri, trials=dying_nodes.TRIALS
    )
    assert not found.faults
    assert set(found.ends) == {"finished", "cut"}


def test_the_results_are_those_of_the_search_that_lost_no_node(storage: Path) -> None:
    calm, disturbed = (
        [
            [{**row, "teacher.store": None} for row in read(storage / name, name, what)]
            for what in ("leaderboard", "finalists")
        ]
        for name in ("calm", "disturbed")
    )
    assert disturbed == calm


def test_a_teacher_whose_node_was_killed_is_in_the_store_once(storage: Path) -> None:
    stored = [keys(TeacherStore(storage / name / "teachers")) for name in ("calm", "disturbed")]
    assert stored[0] == stored[1]
    assert len(stored[1]) == 1
    (teacher,) = read_log(storage / "disturbed" / "disturbed").of("Teachers")
    assert teacher.end is not None
    assert (teacher.end.kind, len(teacher.reports)) == ("finished", dying_nodes.TEACHER_EPOCHS)
