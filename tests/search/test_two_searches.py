"""Two searches that want the same teachers at once: each is trained by one of them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdtune.search.log import read_log
from kdtune.search.stages import TEACHERS
from kdtune.teachers.inventory import keys, problem_of
from kdtune.teachers.store import TeacherStore

pytestmark = [pytest.mark.ray, pytest.mark.drill]
RUN = "import sys; from kdtune.cli import main; sys.argv = sys.argv[1:]; main()"
WORDS = (
    *("--trials", "1", "--epochs", "1", "--finalists", "0", "--gpus-per-trial", "0"),
    *("--set", "data.train_limit=400", "--set", "teacher.early_stop=snapshot"),
    *("--set", "label_smoothing=0.1"),
)


def search(storage: Path, name: str) -> subprocess.Popen[str]:
    command = ["kdtune", "search", "--storage", str(storage), "--name", name, *WORDS]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trained(storage: Path, name: str) -> list[dict[str, Any]]:
    """The last reports of the teachers that a search trained itself."""
    ends = [trial.end for trial in read_log(storage / name).of(TEACHERS)]
    assert all(end is not None and end.kind == "finished" for end in ends)
    return [dict(end.result) for end in ends if end and not end.result.get("from_store")]


def test_each_run_of_a_teacher_is_trained_by_one_search(tmp_path: Path) -> None:
    searches = {name: search(tmp_path, name) for name in ("one", "two")}
    for process in searches.values():
        said, _ = process.communicate(timeout=280)
        assert process.returncode == 0, said
    found = [result for name in searches for result in trained(tmp_path, name)]
    assert len(found) == 1
    store = TeacherStore(tmp_path / "teachers")
    assert len(keys(store)) == 2
    assert [problem_of(store, key) for key in keys(store)] == ["", ""]
