"""Teachers that are snapshots of one long run."""

from pathlib import Path
from typing import Any

import pytest
from lessons import same
from runs import advance, rest

from kdtune.config import ConfigError, TrialConfig, parse, publishing, teacher_trial, together
from kdtune.teachers.store import TeacherStore, key_of
from kdtune.training.plan import phases
from kdtune.training.teacher import identity_of, obtain_teacher
from kdtune.training.trial import Trial, train_teacher

FULL = 6


@pytest.fixture
def flat(base: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A distillation from snapshots, with a store of its own."""
    return {**base, "teacher.store": str(tmp_path), "teacher.early_stop": "snapshot"}


def asking(flat: dict[str, Any], epochs: int) -> TrialConfig:
    return parse({**flat, "teacher_epochs": epochs})


def long_run(flat: dict[str, Any], *epochs: int) -> TrialConfig:
    (run,) = together(teacher_trial(asking(flat, each)) for each in epochs)
    return run


def stored(flat: dict[str, Any]) -> set[str]:
    return {path.parent.name for path in Path(flat["teacher.store"]).glob("*/teacher.json")}


def keys(flat: dict[str, Any], *epochs: int) -> set[str]:
    return {key_of(identity_of(teacher_trial(asking(flat, each)), "cpu")) for each in epochs}


def untaught(config: TrialConfig) -> None:
    pytest.fail(f"{config.student} was trained again")


def test_a_snapshot_is_the_full_run_after_so_many_epochs(flat: dict[str, Any]) -> None:
    run = advance(Trial(teacher_trial(asking(flat, FULL))), 2)
    teacher = Trial(asking(flat, 2)).teacher
    assert teacher is not None
    assert same(teacher.model.state_dict(), run.student.state_dict())
    assert stored(flat) == keys(flat, 2)


def test_a_snapshot_is_not_the_short_run_with_its_own_schedule(flat: dict[str, Any]) -> None:
    snapshot = Trial(asking(flat, 2)).teacher
    short = Trial(asking({**flat, "teacher.early_stop": "schedule"}, 2)).teacher
    assert snapshot is not None
    assert short is not None
    assert snapshot.key != short.key
    assert not same(snapshot.model.state_dict(), short.model.state_dict())


def test_after_all_epochs_both_are_one_teacher(flat: dict[str, Any]) -> None:
    schedule = asking({**flat, "teacher.early_stop": "schedule"}, FULL)
    assert asking(flat, FULL) == schedule == parse({**flat, "teacher.early_stop": None})
    assert teacher_trial(schedule).train.snapshots == ""


def test_one_training_serves_every_number_of_epochs(flat: dict[str, Any]) -> None:
    run = long_run(flat, 4, 2, FULL)
    assert (run.train.snapshots, phases(run)[-1].stop) == ("2,4,6", FULL)
    train_teacher(run)
    assert stored(flat) == keys(flat, 2, 4, FULL)
    alone = [obtain_teacher(asking(flat, n), Trial(run).device, untaught) for n in (2, 4, FULL)]
    assert len({teacher.key for teacher in alone}) == 3


def test_a_snapshot_of_many_is_the_one_that_a_trial_trains_alone(
    flat: dict[str, Any], tmp_path: Path
) -> None:
    other = {**flat, "teacher.store": str(tmp_path / "other")}
    train_teacher(long_run(flat, 2, 3))
    alone = Trial(asking(other, 2)).teacher
    assert alone is not None
    weights, _ = TeacherStore(flat["teacher.store"]).read(alone.key)
    assert same(weights, alone.model.state_dict())


def test_the_training_ends_with_the_largest_that_is_asked_for(flat: dict[str, Any]) -> None:
    run = Trial(long_run(flat, 1, 3))
    reports = rest(run)
    assert [report["epoch"] for report in reports] == [1, 2, 3]
    assert [report["finished"] for report in reports] == [0, 0, 1]


def test_runs_that_differ_share_nothing(flat: dict[str, Any]) -> None:
    asked = [asking({**flat, "label_smoothing": s}, n) for s in (0.0, 0.1) for n in (2, 3)]
    asked.append(asking({**flat, "teacher.early_stop": "schedule"}, 2))
    runs = together(map(teacher_trial, asked))
    assert [(run.train.epochs, run.train.snapshots) for run in runs] == [
        *((FULL, "2,3"), (FULL, "2,3")),
        (2, ""),
    ]


@pytest.mark.parametrize("saved", [1, 2, 3])
def test_a_restored_run_publishes_every_snapshot(
    flat: dict[str, Any], tmp_path: Path, saved: int
) -> None:
    """It was killed in the epoch after the checkpoint, before anything of it was published."""
    run = long_run(flat, 2, 4)
    killed = Trial(run)
    while killed.epoch < saved:
        killed.next_epoch()
        if killed.at_teacher:
            killed.publish()
    killed.save(tmp_path)
    killed.next_epoch()
    restored = Trial(run)
    restored.load(tmp_path)
    while not restored.finished:
        restored.next_epoch()
        if restored.at_teacher:
            restored.publish()
    assert stored(flat) == keys(flat, 2, 4)
    train_teacher(long_run({**flat, "teacher.store": str(tmp_path / "other")}, 4))
    (key,) = keys(flat, 4)
    undisturbed, _ = TeacherStore(tmp_path / "other").read(key)
    assert same(TeacherStore(tmp_path).read(key)[0], undisturbed)


def test_a_run_that_diverges_says_so(flat: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="diverged in epoch 1; lower its learning rate"):
        train_teacher(long_run({**flat, "teacher.lr": 1e30}, 2, 4))
    assert stored(flat) == set()


def test_publishing_all_epochs_needs_no_word(flat: dict[str, Any]) -> None:
    full = teacher_trial(asking(flat, FULL))
    assert publishing(publishing(full, (2,)), (FULL,)) == full


REFUSED = {
    "of a trial": ({"role": "trial"}, "role 'trial' publishes nothing"),
    "falling": ({"train.snapshots": "3,2"}, "rising whole numbers of epochs"),
    "after the end": ({"train.snapshots": "9"}, "must end at train.epochs = 6 or before"),
    "words": ({"train.snapshots": "two"}, "rising whole numbers of epochs"),
    "of a pruned network": ({"prune_ratio": 0.5}, "prune_ratio must be 0 with train.snapshots"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_snapshots_that_cannot_be_are_refused(case: str) -> None:
    change, why = REFUSED[case]
    flat = {"role": "teacher", "method": "scratch", "train.epochs": 6, "train.snapshots": "2"}
    with pytest.raises(ConfigError, match=why):
        parse({**flat, **change})
