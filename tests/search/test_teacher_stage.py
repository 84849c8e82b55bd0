"""Which teachers a search trains, and in how many trainings."""

from pathlib import Path
from typing import Any

import pytest

from kdtune.config import parse, publishing, teacher_trial, together
from kdtune.contracts import FlatConfig
from kdtune.search.legs import Leg
from kdtune.search.log import Ended, Event, Suggested, history_of
from kdtune.search.request import SearchRequest
from kdtune.search.space import Arm, Choice, Float, Space
from kdtune.search.stages import TEACHERS, TRIALS, Stages
from kdtune.teachers.inventory import remove_teacher
from kdtune.teachers.store import TeacherStore, key_of
from kdtune.training.teacher import identity_of
from kdtune.training.trial import train_teacher

EPOCHS = (1, 2, 3)
SMOOTHINGS = (0.0, 0.1)


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """Snapshots of two long runs, which differ in smoothing."""
    return Space(
        name="toy",
        summary="A toy.",
        fixed={
            **{"dataset": "digits", "teacher": "resnet8x0.125", "student": "resnet8x0.125"},
            **{"teacher.full_epochs": 4, "teacher.early_stop": "snapshot", "train.epochs": 2},
            **{"data.train_limit": 100, "train.device": "cpu"},
            "teacher.store": str(tmp_path / "teachers"),
        },
        axes={"label_smoothing": Choice(SMOOTHINGS), "teacher_epochs": Choice(EPOCHS)},
        arms=(Arm(method="kd", axes={"alpha": Float(0, 1), "temperature": Float(1, 16)}),),
    )


def run_of(space: Space, smoothing: float, *epochs: int) -> FlatConfig:
    flat = {**space.fixed, "label_smoothing": smoothing, "method": "kd"}
    asked = (teacher_trial(parse({**flat, "teacher_epochs": each})) for each in epochs)
    (run,) = together(asked)
    return run.flat()


def stages(space: Space, tmp_path: Path, *events: Event) -> Stages:
    places: dict[str, Any] = {"storage": tmp_path, "tracking_uri": "sqlite:///x.db"}
    request = SearchRequest(space=space, experiment="e", name="n", trials=2, **places)
    return Stages(request, history_of(events), workers=1)


def first_leg(of: Stages) -> Leg:
    return next(of.legs())


def suggested(leg: Leg) -> list[FlatConfig]:
    wanted = leg.trials - len(leg.recalled)
    return [leg.searcher.suggest(f"new-{number}") for number in range(wanted)]


def begun(config: FlatConfig, trial_id: str = "t1") -> Suggested:
    return Suggested(trial_id=trial_id, leg=TEACHERS, config=dict(config), at_s=0.0)


def test_every_long_run_is_one_trial(space: Space, tmp_path: Path) -> None:
    leg = first_leg(stages(space, tmp_path))
    assert leg.title == TEACHERS
    assert suggested(leg) == [run_of(space, smoothing, *EPOCHS) for smoothing in SMOOTHINGS]


def test_a_run_trains_only_as_far_as_what_is_not_stored(space: Space, tmp_path: Path) -> None:
    train_teacher(parse(run_of(space, 0.0, 1, 3)))
    train_teacher(parse(run_of(space, 0.1, *EPOCHS)))
    found = stages(space, tmp_path)
    assert suggested(first_leg(found)) == [run_of(space, 0.0, 2)]
    assert found.result().teachers_reused == 5


def test_without_a_missing_teacher_the_trials_come_first(space: Space, tmp_path: Path) -> None:
    for smoothing in SMOOTHINGS:
        train_teacher(parse(run_of(space, smoothing, *EPOCHS)))
    assert first_leg(stages(space, tmp_path)).title == TRIALS


def test_a_run_that_was_under_way_goes_on_and_none_of_it_is_begun_again(
    space: Space, tmp_path: Path
) -> None:
    whole = run_of(space, 0.0, *EPOCHS)
    train_teacher(parse(run_of(space, 0.0, 1)))
    leg = first_leg(stages(space, tmp_path, begun(whole)))
    assert [trial.config for trial in leg.recalled] == [whole]
    assert suggested(leg) == [run_of(space, 0.1, *EPOCHS)]


def test_a_snapshot_that_was_deleted_is_trained_alone(space: Space, tmp_path: Path) -> None:
    events: list[Event] = []
    for number, smoothing in enumerate(SMOOTHINGS):
        run = run_of(space, smoothing, *EPOCHS)
        train_teacher(parse(run))
        events.append(begun(run, f"t{number}"))
        events.append(ended(f"t{number}"))
    two = publishing(parse(run_of(space, 0.0, *EPOCHS)), (2,))
    remove_teacher(TeacherStore(two.store), key_of(identity_of(two, "cpu")))
    leg = first_leg(stages(space, tmp_path, *events))
    assert len(leg.recalled) == 2
    assert suggested(leg) == [two.flat()]


def ended(trial_id: str) -> Ended:
    return Ended(trial_id=trial_id, kind="finished", at_s=1.0, result={}, error="")
