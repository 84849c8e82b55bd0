"""Teachers as trials of a search: one training each, whoever else asks; without Ray."""

import threading
from pathlib import Path
from typing import Any

import pytest

from kdtune.config import parse, publishing, teacher_trial
from kdtune.teachers.store import TeacherStore, key_of
from kdtune.training.teacher import identity_of
from kdtune.training.turn import Turn
from trainables import Distill

Flat = dict[str, Any]
FULL = 4


@pytest.fixture
def run(tmp_path: Path) -> Flat:
    """A long run of a teacher with two snapshots."""
    flat = {
        **{"teacher": "resnet8x0.25", "teacher.full_epochs": FULL, "data.train_limit": 100},
        **{"teacher.store": str(tmp_path / "teachers"), "train.device": "cpu"},
    }
    return publishing(teacher_trial(parse(flat)), (2, 3)).flat()


def keys(run: Flat, *epochs: int) -> list[str]:
    trials = [publishing(parse(run), (each,)) for each in epochs]
    return [key_of(identity_of(trial, "cpu")) for trial in trials]


def stored(run: Flat) -> set[str]:
    return {path.parent.name for path in Path(run["teacher.store"]).glob("*/teacher.json")}


def rest(trainable: Distill) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = []
    while not (reports and reports[-1]["done"]):
        reports.append(trainable.train())
    return reports


def test_one_trial_publishes_all_snapshots_and_ends_with_the_last(run: Flat) -> None:
    reports = rest(Distill(run))
    assert [report["epoch"] for report in reports] == [1, 2, 3]
    assert stored(run) == set(keys(run, 2, 3))
    assert reports[-1]["teacher_key"] == keys(run, 3)[0]


@pytest.mark.parametrize("saved", [1, 2])
def test_a_trial_that_is_restored_publishes_them_all(run: Flat, tmp_path: Path, saved: int) -> None:
    first = Distill(run)
    for _ in range(saved):
        first.train()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    first.save(str(folder))
    first.stop()
    second = Distill(run)
    second.restore(str(folder))
    assert rest(second)[-1]["epoch"] == 3
    assert stored(run) == set(keys(run, 2, 3))


def test_a_teacher_that_another_trial_trained_meanwhile_is_reported_and_not_trained(
    run: Flat,
) -> None:
    (trained,) = rest(Distill(run))[-1:]
    (report,) = rest(Distill(run))
    assert report["from_store"] == 1
    assert (report["finished"], report["epoch"], report["diverged"]) == (1, 3, 0)
    assert report["teacher_key"] == trained["teacher_key"]
    assert report["val/accuracy"] == trained["val/accuracy"]


def ready_at_once(store: TeacherStore, key: str) -> bool:
    """Whether another thread, as another process, gets the lock of a teacher without waiting."""
    found: list[bool] = []

    def ask() -> None:
        try:
            with store.lock(key, wait=False):
                found.append(True)
        except ValueError:
            found.append(False)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    return found[0]


def test_a_trial_holds_each_of_its_teachers_until_it_is_stored(run: Flat) -> None:
    store = TeacherStore(run["teacher.store"])
    early, late = keys(run, 2, 3)
    trial = Distill(run)
    trial.train()
    assert [ready_at_once(store, key) for key in (early, late)] == [False, False]
    trial.train()
    assert [ready_at_once(store, key) for key in (early, late)] == [True, False]
    trial.train()
    assert ready_at_once(store, late)


@pytest.mark.parametrize("leave", ["stop", "cleanup", "another trial"])
def test_a_trial_that_is_over_before_its_end_holds_no_teacher(run: Flat, leave: str) -> None:
    trial = Distill(run)
    trial.train()
    if leave == "another trial":
        trial.reset_config({**run, "seed": 1})
    else:
        getattr(trial, leave)()
    store = TeacherStore(run["teacher.store"])
    assert all(ready_at_once(store, key) for key in keys(run, 2, 3))


def test_turns_of_overlapping_runs_never_wait_for_each_other(run: Flat) -> None:
    """Each takes its latest first, so whoever has that one gets the rest."""
    runs = [publishing(parse(run), epochs) for epochs in ((1, 2, 3), (2, 3), (1, 3), (1, 2))]
    done: list[int] = []

    def take(number: int) -> None:
        for _ in range(5):
            turn = Turn(runs[number])
            turn.close()
        done.append(number)

    threads = [threading.Thread(target=take, args=(n,), daemon=True) for n in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(done) == [0, 1, 2, 3]
