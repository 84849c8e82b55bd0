"""A search whose disk fills up: it stops in order, and goes on when there is room."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from searching import SMALL, read
from small_disk import mounted

from kdtune.search.log import FILE, Ended, read_log
from kdtune.search.session import EXIT_IO

pytestmark = [pytest.mark.ray, pytest.mark.drill]
RUN = "import sys; from kdtune.cli import main; sys.argv = sys.argv[1:]; main()"
WORDS = ("--trials", "5", "--epochs", "3", "--finalists", "0", *SMALL)


def kdtune(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "kdtune", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_full_disk_ends_the_search_in_order_and_nothing_is_lost(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", size="60m") as disk:
        storage = ("--storage", str(disk.folder))
        search = kdtune("search", *storage, "--name", "one", *WORDS)
        log = disk.folder / "one" / FILE
        while not (log.is_file() and log.read_text().count('"ended"') >= 2):
            assert search.poll() is None
            time.sleep(0.05)
        disk.fill()
        said, _ = search.communicate(timeout=120)
        assert search.returncode == EXIT_IO, said
        assert "No space left on device" in said
        assert "Traceback" not in said
        assert f"resume one --storage {disk.folder}" in said
        before = read_log(log.parent)
        assert sum(trial.end is not None for trial in before.trials.values()) >= 2

        (disk.folder / "ballast").unlink()
        resumed = kdtune("resume", *storage, "one")
        said, _ = resumed.communicate(timeout=120)
        assert resumed.returncode == 0, said
        assert "did not reach MLflow" not in said
        after = read_log(log.parent)
        assert after.events[: len(before.events)] == before.events
        ends = Counter(event.trial_id for event in after.events if isinstance(event, Ended))
        assert ends == dict.fromkeys(after.trials, 1)
        assert len(read(disk.folder, "one")) == 5
