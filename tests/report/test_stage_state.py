"""What is known of a running stage."""

import math

import pytest

from kdtune.report.stage_state import StageState


@pytest.fixture
def state() -> StageState:
    return StageState("Search", 4, began=0.0)


def run(state: StageState, trial: str, epochs: int, value: float | None, outcome: str) -> None:
    state.started(trial, f"trial {trial}", 10)
    state.reported(trial, epochs, value)
    if outcome:
        state.ended(trial, outcome, None)


def test_trials_are_counted_by_how_they_ended(state: StageState) -> None:
    run(state, "a", 10, 0.9, "finished")
    run(state, "b", 3, 0.5, "cut")
    run(state, "c", 1, 0.4, "")
    assert state.counts() == {"running": 1, "finished": 1, "cut": 1}
    assert state.over == 2


def test_a_trial_that_starts_again_is_the_same_trial(state: StageState) -> None:
    run(state, "a", 3, 0.5, "")
    state.started("a", "trial a", 10)
    assert state.trials["a"].epoch == 3
    assert len(state.trials) == 1


def test_the_best_is_a_number_of_a_sound_trial_and_the_earliest_of_equals(
    state: StageState,
) -> None:
    assert state.best() is None
    run(state, "a", 1, math.nan, "")
    run(state, "b", 1, 0.99, "diverged")
    run(state, "c", 1, 0.7, "cut")
    run(state, "d", 1, 0.7, "")
    best = state.best()
    assert best is not None
    assert best.label == "trial c"


def test_no_time_is_guessed_too_early_or_without_a_total(state: StageState) -> None:
    run(state, "a", 1, 0.1, "")
    assert state.time_left(5.0) is None
    assert StageState("Search", None, 0.0).time_left(5.0) is None


def test_the_time_left_is_epochs_to_come_at_the_pace_so_far(state: StageState) -> None:
    run(state, "a", 10, 0.9, "finished")
    run(state, "b", 2, 0.5, "cut")
    # 12 epochs in 24 s; two trials to come, expected to take 6 epochs each.
    assert state.time_left(24.0) == pytest.approx(24.0)
    run(state, "c", 4, 0.5, "")
    # 16 epochs in 24 s; the running one expects 3 more, the last (10 + 2 + 7) / 3.
    assert state.time_left(24.0) == pytest.approx((3 + 19 / 3) * 24 / 16)


def test_nothing_is_left_when_all_are_over(state: StageState) -> None:
    for trial in "abcd":
        run(state, trial, 10, 0.9, "finished")
    assert state.time_left(40.0) == 0


def test_reports_of_a_trial_that_was_never_announced_are_kept(state: StageState) -> None:
    state.reported("x", 2, 0.5)
    state.ended("y", "failed", None)
    assert state.counts() == {"running": 1, "failed": 1}
