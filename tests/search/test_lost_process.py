"""The processes of trials die or misbehave; each time it is that trial's affair."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import eager_search
import pytest
from accounting import account
from eager_search import Eager
from ray import cloudpickle
from searching import SMALL, named, of_kind, one_line, read, runs_in, search
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.search import launch as launching
from kdtune.search.callbacks import ProgressCallback
from kdtune.search.log import read_log
from kdtune.tracking import default_tracking_uri

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIALS, EPOCHS = 3, 5
ASKED = (
    *("--trials", str(TRIALS), "--epochs", str(EPOCHS), "--scheduler", "none"),
    *("--finalists", "0", *SMALL),
)


@pytest.fixture(scope="module", autouse=True)
def sent_by_value() -> Iterator[None]:
    """The workers lack what is in the tests."""
    modules = (eager_search, sys.modules[__name__])
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> Path:
    done = search(storage, *named("undisturbed"), *ASKED)
    assert done.exit_code == 0, done.output
    return storage / "undisturbed"


def assert_everything_happened_once(folder: Path) -> None:
    uri = default_tracking_uri(folder.parent)
    assert not account(folder, tracking_uri=uri, trials=TRIALS).faults


def is_first(file: Path, trial_id: str) -> bool:
    """Whether of all trials this one came first."""
    with suppress(FileExistsError):
        file.symlink_to(trial_id)
    return os.readlink(file) == trial_id


def fragile(folder: Path, *, epoch: int, deaths: int, one: bool = False) -> type[Eager]:
    """A trainable whose process is killed after an epoch is trained, before it is reported.

    Args:
        folder: Takes a note of every epoch that is trained, and of every death.
        epoch: In which the process dies.
        deaths: How often, for each trial.
        one: Whether that happens to one trial alone.
    """

    class Fragile(Eager):
        def report(self) -> dict[str, Any]:
            done = super().report()
            with (folder / f"{self.trial_id}.trained").open("a") as file:
                file.write(f"{done['epoch']:.0f} ")
            mine = list(folder.glob(f"{self.trial_id}.killed*"))
            is_due = done["epoch"] == epoch and len(mine) < deaths
            if is_due and self._flat.get("role") != "teacher" and self._is_victim():
                (folder / f"{self.trial_id}.killed{len(mine)}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        def _is_victim(self) -> bool:
            return not one or is_first(folder / "victim", self.trial_id)

    return Fragile


def deaths_in(folder: Path) -> Counter[str]:
    return Counter(file.name.partition(".")[0] for file in folder.glob("*.killed*"))


def test_a_killed_trial_goes_on_from_its_checkpoint_in_the_same_run(
    undisturbed: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainable = fragile(tmp_path, epoch=3, deaths=1)
    monkeypatch.setattr(launching, "Distill", trainable)
    done = search(storage, *named("killed"), *ASKED)
    assert done.exit_code == 0, done.output
    assert list(deaths_in(tmp_path).values()) == [1] * TRIALS
    for trial_id in deaths_in(tmp_path):
        # Only what was trained after the last checkpoint is trained again.
        assert (tmp_path / f"{trial_id}.trained").read_text().split() == [*"123345"]
    assert read(storage, "killed") == read(storage, "undisturbed")
    assert_everything_happened_once(storage / "killed")


@pytest.mark.drill
def test_a_trial_that_is_given_the_process_of_another_and_finds_it_dead_is_retried(
    undisturbed: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may die between two trials, with its node for one."""

    class Gone(Eager):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            with suppress(FileExistsError):
                (tmp_path / "gone").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
            return super().reset_config(new_config)

    monkeypatch.setattr(launching, "Distill", Gone)
    done = search(storage, *named("gone"), *ASKED, "--retries", "1")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "gone").exists()
    assert read(storage, "gone") == read(storage, "undisturbed")
    assert_everything_happened_once(storage / "gone")


@pytest.mark.drill
def test_a_trial_that_dies_again_and_again_fails_and_the_others_go_on(
    undisturbed: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainable = fragile(tmp_path, epoch=2, deaths=9, one=True)
    monkeypatch.setattr(launching, "Distill", trainable)
    done = search(storage, *named("doomed"), *ASKED, "--retries", "1")
    assert done.exit_code == 0, done.output
    ((victim, deaths),) = deaths_in(tmp_path).items()
    assert deaths == 2
    outcomes = [row["outcome"] for row in read(storage, "doomed")]
    assert sorted(outcomes) == ["failed", *["finished"] * (TRIALS - 1)]
    (failed,) = [run for run in runs_in(storage, "doomed") if run.info.status == "FAILED"]
    assert (failed.data.tags["trial_id"], failed.data.tags["outcome"]) == (victim, "failed")
    assert "The actor died unexpectedly" in failed.data.tags["error"]
    assert "1 runs failed; the first said" in one_line(done.output)
    assert_everything_happened_once(storage / "doomed")


def test_what_a_trial_reports_and_what_looks_at_it_never_ends_the_search(
    undisturbed: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trial never reports its score; one has a metric that MLflow takes under no such name."""

    class Odd(Eager):
        def report(self) -> dict[str, Any]:
            done = super().report()
            if self._flat.get("role") != "teacher":
                done["val/top1@val (%)"] = 1.0
                if is_first(tmp_path / "mute", self.trial_id):
                    del done["val/accuracy"]
            return done

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("this display is broken")

    monkeypatch.setattr(launching, "Distill", Odd)
    monkeypatch.setattr(ProgressCallback, "reported", broken)
    done = search(storage, *named("odd"), *ASKED)
    assert done.exit_code == 0, done.output
    rows = {row["trial"]: row for row in read(storage, "odd")}
    others = {row["trial"]: row for row in read(storage, "undisturbed")}
    logged = [trial.trial_id for trial in read_log(storage / "odd").of("Search")]
    number = logged.index(os.readlink(tmp_path / "mute"))
    assert rows[number]["val/accuracy"] in ("", None)
    for place in rows.keys() - {number}:
        assert rows[place]["val/accuracy"] == others[place]["val/accuracy"]
    runs = of_kind(runs_in(storage, "odd"), "trial").values()
    assert [run.data.metrics["val/top1_val ___"] for run in runs] == [1.0] * TRIALS


@pytest.mark.drill
def test_a_search_whose_trials_all_failed_says_what_to_do_and_that_helps(
    undisturbed: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Eager):
        def report(self) -> dict[str, Any]:
            raise RuntimeError("no such device")

    with monkeypatch.context() as patch:
        patch.setattr(launching, "Distill", Broken)
        done = search(storage, *named("broken"), *ASKED, "--retries", "0")
    assert done.exit_code == 1
    text = one_line(done.output)
    assert f"{TRIALS} runs failed; the first said: RuntimeError: no such device" in text
    assert "Every trial failed. Once the cause is dealt with, --retry-failed" in text
    assert {row["outcome"] for row in read(storage, "broken")} == {"failed"}

    words = ["resume", "broken", "--storage", str(storage), "--retry-failed"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert read(storage, "broken") == read(storage, "undisturbed")
