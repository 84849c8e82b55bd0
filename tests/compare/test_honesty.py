"""Rank correlations and regrets of searches whose answers are known."""

import numpy as np
import pytest
from made_searches import search, trial

from kdtune.compare.forecast import forecast
from kdtune.compare.halving import rungs_passed
from kdtune.compare.honesty import honesty
from kdtune.search.rungs import Bracket, milestones

EPOCHS = 9


def _straight(end: float) -> list[float]:
    return [end * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)]


def test_curves_that_never_cross_agree_at_every_rung_and_cost_nothing() -> None:
    ends = [0.5, 0.9, 0.6, 0.8, 0.7, 0.55, 0.95, 0.65]
    found = honesty(search([trial(n, _straight(e), epochs=EPOCHS) for n, e in enumerate(ends)]))
    assert [rung.epoch for rung in found.rungs] == [2, 6]
    for rung in found.rungs:
        assert rung.tau is not None
        assert rung.rho is not None
        assert rung.tau.value == pytest.approx(1)
        assert rung.rho.value == pytest.approx(1)
        assert (rung.reached, rung.place) == (8, 1)
    assert found.replay is not None
    assert found.replay.regrets == (0, 0)
    assert (found.replay.mean_regret, found.replay.harmless) == (0, 1)
    assert found.forecast is None


def test_a_late_bloomer_that_a_rung_cuts_is_the_regret() -> None:
    late = [0.1] * (EPOCHS - 1) + [0.97]
    ends = [0.9, 0.8, 0.7, 0.6, 0.5]
    runs = [trial(n, _straight(end), epochs=EPOCHS) for n, end in enumerate(ends)]
    found = honesty(search([*runs, trial(5, late, epochs=EPOCHS)]))
    assert found.replay is not None
    assert found.replay.regrets == pytest.approx((0.07, 0.07))
    assert found.best == 0.97
    assert found.rungs[0].place == 6
    # Only when it is the first of all to be judged does it go on.
    assert 0.07 * 0.7 < found.replay.mean_regret < 0.07 * 0.95
    assert found.replay.worst_regret == pytest.approx(0.07)


def test_epochs_saved_are_those_after_a_cut() -> None:
    ends = [0.9, 0.5, 0.4, 0.3, 0.2]
    found = honesty(search([trial(n, _straight(end), epochs=EPOCHS) for n, end in enumerate(ends)]))
    assert found.replay is not None
    assert found.replay.survivors == (1, 1)
    assert found.replay.epochs_saved == pytest.approx(4 * 7 / 45)


def test_rungs_are_those_that_the_search_had() -> None:
    runs = [trial(n, _straight(0.5 + n / 20), epochs=EPOCHS) for n in range(6)]
    found = honesty(search(runs, grace_period=1, reduction_factor=2, scheduler="asha"))
    assert [rung.epoch for rung in found.rungs] == [1, 2, 4, 8]
    assert (found.scheduler, found.reduction_factor) == ("asha", 2)


def test_where_less_is_better_the_lowest_value_wins() -> None:
    runs = [trial(n, [2.0 - end for end in _straight(end)], epochs=EPOCHS) for n, end in
            enumerate((0.5, 0.9, 0.6, 0.8, 0.7))]  # fmt: skip
    found = honesty(search(runs, objectives="val/accuracy:min"))
    assert found.best == pytest.approx(1.1)
    assert found.rungs[0].place == 1
    assert found.replay is not None
    assert found.replay.regrets == (0, 0)


def test_the_replay_judges_as_the_scheduler_does() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(60, 3))
    bracket = Bracket(milestones(grace_period=1, max_t=9, reduction_factor=3), keep=1 / 3)
    expected = []
    for order, row in enumerate(scores):
        passed = 0
        for rung, score in enumerate(row):
            bracket.record(rung, order, float(score))
            if not bracket.passes(rung, order, before=True):
                break
            passed += 1
        expected.append(passed)
    assert rungs_passed(scores, keep=1 / 3).tolist() == expected


def test_of_a_search_that_cut_the_survivors_are_named_as_such() -> None:
    runs = [trial(n, _straight(0.8 + n / 50), epochs=EPOCHS) for n in range(6)]
    runs += [trial(6 + n, _straight(0.5)[:2], epochs=EPOCHS) for n in range(4)]
    found = honesty(search(runs))
    assert (found.trials, found.finished, found.cut) == (10, 6, 4)
    assert found.replay is None
    assert found.forecast is not None
    assert found.forecast.chance == 0
    assert found.forecast.blind_chance == 0.4
    assert "only 6 of 10 trials were seen to the end" in found.notes[0]


def test_too_few_finished_trials_tell_nothing() -> None:
    runs = [trial(n, _straight(0.8 + n / 50), epochs=EPOCHS) for n in range(4)]
    found = honesty(search([*runs, trial(4, _straight(0.5)[:2], epochs=EPOCHS)]))
    assert (found.rungs[0].tau, found.forecast) == (None, None)
    assert found.notes[-1] == "4 trials finished; below 5, nothing is estimated"


def test_trials_of_another_length_or_without_an_end_are_left_out_aloud() -> None:
    runs = [trial(n, _straight(0.8 + n / 50), epochs=EPOCHS) for n in range(5)]
    short = trial(5, [0.5, 0.6], epochs=2)
    lost = trial(6, [], epochs=EPOCHS)
    found = honesty(search([*runs, short, lost]))
    assert found.trials == 6
    assert found.notes == (
        "1 trials of fewer than 9 epochs are left out",
        "1 trials that diverged, failed or were stopped are left out",
    )


def test_a_search_without_a_finished_trial_has_no_rungs() -> None:
    found = honesty(search([trial(0, [0.5], epochs=EPOCHS)]))
    assert (found.rungs, found.best, found.replay) == ((), None, None)


@pytest.mark.parametrize(("link", "least", "most"), [(0.95, 0.0, 0.15), (0.0, 0.4, 0.8)])
def test_a_forecast_is_as_gloomy_as_cutting_was_wrong(
    link: float, least: float, most: float
) -> None:
    """Made-up searches in which early values tell all, or nothing; the truth is known."""
    rng = np.random.default_rng(0)
    chances, wrong = [], []
    while len(chances) < 40:
        ends = rng.normal(size=40)
        early = link * ends + (1 - link**2) ** 0.5 * rng.normal(size=40)
        passed = rungs_passed(early[:, None], keep=1 / 3) > 0
        told = forecast(
            [{1: value} for value in early[passed]],
            ends[passed].tolist(),
            [{1: value} for value in early[~passed]],
            share=False,
        )
        assert told is not None
        chances.append(told.chance)
        wrong.append(bool(ends.max() > ends[passed].max()))
    assert least <= np.mean(chances) <= most
    assert abs(np.mean(chances) - np.mean(wrong)) < 0.15


def test_a_share_is_never_forecast_above_one() -> None:
    finished = [{1: 0.90 + n / 100} for n in range(6)]
    ends = [0.95, 0.999, 0.96, 0.99, 0.97, 0.98]
    told = forecast(finished, ends, [{1: 0.9}] * 30, share=True)
    assert told is not None
    assert told.chance > 0
    assert told.high_regret <= 1 - max(ends)
