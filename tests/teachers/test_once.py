"""One training of each teacher, whoever asks and whatever dies, over several processes."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from object_store import ObjectStore
from small_disk import mounted
from stored import flip_a_bit, weights_file

from kdtune.config import TrialConfig, parse, teacher_trial
from kdtune.storage import Location, StorageError
from kdtune.teachers.inventory import keys, problem_of, remove_teacher
from kdtune.teachers.store import RECORD, TeacherStore
from kdtune.training.teacher import obtain_teacher, stored_teacher
from kdtune.training.trial import Trial, train_teacher
from trainables import Distill

TRAINER = Path(__file__).with_name("trainer.py")
CPU = torch.device("cpu")


def flat(root: Location, **changes: Any) -> dict[str, Any]:
    return {
        **{"student": "resnet8x0.125", "teacher": "resnet8x0.125", "teacher.full_epochs": 2},
        **{"data.train_limit": 100, "train.epochs": 1, "train.device": "cpu"},
        **{"teacher.store": root.uri, **changes},
    }


def ask(root: Location, *words: str, **changes: Any) -> subprocess.Popen[str]:
    """A process that makes a trial whose teacher is in ``root``."""
    given = json.dumps(flat(root, **changes))
    command = [sys.executable, str(TRAINER), given, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def heard(process: subprocess.Popen[str]) -> list[str]:
    lines = process.communicate(timeout=200)[0].split()
    assert process.returncode == 0
    return lines


def trained_here(config: TrialConfig) -> list[str]:
    """What was trained in this process to obtain the teacher."""
    stored_teacher.cache_clear()
    done: list[str] = []

    def train(trial: TrialConfig) -> None:
        done.append(trial.student)
        train_teacher(trial)

    obtain_teacher(config, CPU, train)
    return done


@pytest.mark.slow
def test_trials_of_several_processes_train_their_teacher_once(tmp_path: Path) -> None:
    """They share nothing but the store, as trials of two searches do; each has but one slot."""
    root = Location.parse(tmp_path / "teachers")
    said = [heard(process) for process in [ask(root, alpha=a) for a in (0.1, 0.5, 0.9)]]
    (key,) = keys(TeacherStore(root.uri))
    assert sorted(said, key=len) == [[key], [key], ["training", key]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a folder", pytest.param("S3", marks=pytest.mark.drill)])
def test_a_trainer_that_is_killed_is_followed_by_one_that_waits(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    root = Location.parse(tmp_path / "teachers")
    if kind == "S3":
        # There the dead one counts as alive for another minute and a half.
        objects: ObjectStore = request.getfixturevalue("objects")
        root = objects.location(tmp_path.name)
    killed = ask(root, "forever")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "training\n"
    waiting = ask(root)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=8)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert heard(waiting) == ["training", *keys(TeacherStore(root.uri))]
    assert all(
        problem_of(TeacherStore(root.uri), key) == "" for key in keys(TeacherStore(root.uri))
    )


DAMAGE = {"weights": weights_file, "record": lambda folder: RECORD}


@pytest.mark.parametrize("part", DAMAGE)
def test_a_flipped_bit_makes_the_next_trial_train_again(tmp_path: Path, part: str) -> None:
    root = Location.parse(tmp_path)
    config = parse(flat(root))
    assert trained_here(config) == ["resnet8x0.125"]
    (key,) = keys(store := TeacherStore(tmp_path))
    sound, _ = store.read_bytes(key)
    folder = root.child(key)
    flip_a_bit(folder, DAMAGE[part](folder))
    assert problem_of(store, key)
    assert trained_here(config) == ["resnet8x0.125"]
    assert store.read_bytes(key)[0] == sound
    assert trained_here(config) == []


def test_a_full_disk_is_named_and_the_teacher_is_trained_when_there_is_room(
    tmp_path: Path,
) -> None:
    with mounted(tmp_path / "disk") as disk:
        config = parse(flat(Location.parse(disk.folder)))
        disk.fill()
        with pytest.raises(StorageError, match=f"cannot write '{disk.folder}.*No space left.*free"):
            trained_here(config)
        (disk.folder / "ballast").unlink()
        assert trained_here(config) == ["resnet8x0.125"]


def test_a_read_only_store_serves_what_it_has_and_names_what_it_cannot_take(
    tmp_path: Path,
) -> None:
    with mounted(tmp_path / "disk") as disk:
        root = Location.parse(disk.folder)
        trained_here(parse(flat(root)))
        disk.make_read_only()
        assert trained_here(parse(flat(root))) == []
        with pytest.raises(StorageError, match=f"cannot write '{disk.folder}.*Read-only"):
            trained_here(parse(flat(root, **{"teacher.seed": 1})))


@pytest.mark.slow
def test_a_search_waits_for_the_teacher_that_a_trial_elsewhere_trains(tmp_path: Path) -> None:
    root = Location.parse(tmp_path)
    elsewhere = ask(root)
    assert elsewhere.stdout is not None
    assert elsewhere.stdout.readline() == "training\n"
    report = Distill(teacher_trial(parse(flat(root))).flat()).train()
    assert (report["from_store"], report["done"]) == (1, True)
    assert heard(elsewhere) == [report["teacher_key"]]


def test_trials_in_every_slot_that_ask_for_one_missing_teacher_all_end(tmp_path: Path) -> None:
    """No slot is kept free for the training: the first trains in its own, the others wait."""
    root = Location.parse(tmp_path)
    trained: list[str] = []
    ends: list[str] = []

    def slot(alpha: float) -> None:
        def train(trial: TrialConfig) -> None:
            trained.append(trial.student)
            train_teacher(trial)

        ends.append(obtain_teacher(parse(flat(root, alpha=alpha)), CPU, train).key)

    slots = [threading.Thread(target=slot, args=(alpha,)) for alpha in (0.1, 0.3, 0.5, 0.7)]
    for each in slots:
        each.start()
    for each in slots:
        each.join(timeout=120)
    assert trained == ["resnet8x0.125"]
    assert ends == [*keys(TeacherStore(tmp_path))] * 4


def test_who_deletes_a_teacher_in_use_costs_a_training_and_nothing_else(tmp_path: Path) -> None:
    config = parse(flat(Location.parse(tmp_path)))
    trial = Trial(config)
    assert trial.teacher is not None
    remove_teacher(TeacherStore(tmp_path), trial.teacher.key)
    trial.next_epoch()
    assert trained_here(config) == ["resnet8x0.125"]
