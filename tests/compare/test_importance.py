"""Importances of searches in which one axis decides, or none does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made_searches import search, trial

from kdtune.compare import importance as module
from kdtune.compare.importance import MEASURES, importance
from kdtune.compare.trials import ARM, axes_of, trials_of
from kdtune.tracking.record import RunRecord

POLICIES = ("none", "standard", "mixup", "cutmix")
Score = Callable[[dict[str, Any], np.random.Generator], float]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 10)


def _settings(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "temperature": float(rng.uniform(1, 16)),
        "alpha": float(rng.uniform(0, 1)),
        "augment": POLICIES[rng.integers(4)],
        "label_smoothing": [0.0, 0.1][rng.integers(2)],
    }


def _drawn(n: int, score: Score, *, lengths: tuple[int, ...] = (3,), seed: int = 0) -> list[Any]:
    """Trials of 3 epochs, the longest of ``lengths``, cut after the others in turn."""
    rng = np.random.default_rng(seed)
    runs: list[RunRecord] = []
    for number in range(n):
        own = _settings(rng)
        curve = [score(own, rng)] * lengths[number % len(lengths)]
        runs.append(trial(number, curve, epochs=3, **own))
    return runs


def _noise(own: dict[str, Any], rng: np.random.Generator) -> float:
    return float(rng.uniform(0.4, 0.6))


def _by_policy(own: dict[str, Any], rng: np.random.Generator) -> float:
    return 0.5 + 0.4 * (own["augment"] == "cutmix") + 0.02 * float(rng.uniform())


def _by_temperature(own: dict[str, Any], rng: np.random.Generator) -> float:
    return 0.9 - 0.05 * abs(own["temperature"] - 8) + 0.01 * float(rng.uniform())


@pytest.mark.parametrize(
    ("score", "axis"), [(_by_policy, "augment"), (_by_temperature, "temperature")]
)
def test_the_axis_that_decides_comes_first_and_stands_out(score: Score, axis: str) -> None:
    (found,) = importance(search(_drawn(40, score)))
    assert (found.n, found.epoch, found.refused) == (40, 0, "")
    for measure in MEASURES:
        own = [each for each in found.axes if each.measure == measure]
        assert own[0].axis == axis
        assert sum(each.share for each in own) == pytest.approx(1)
        assert all(0 <= each.low <= each.high <= 1 for each in own)
    assert found.axes[0].clear


def test_where_nothing_matters_nothing_stands_out() -> None:
    (found,) = importance(search(_drawn(24, _noise)))
    assert not any(each.clear for each in found.axes)


def test_too_few_trials_have_no_numbers() -> None:
    (found,) = importance(search(_drawn(12, _by_policy)))
    assert found.axes == ()
    assert found.refused == "12 trials can be compared, and importances need 20"


def test_equal_results_have_no_numbers() -> None:
    (found,) = importance(search(_drawn(24, lambda own, rng: 0.5)))
    assert found.refused == "all trials have the same result"


def test_one_result_that_differs_is_enough() -> None:
    """Many resamples miss it, and have no differences to explain."""
    results = iter([0.2, *[0.1] * 19])
    (found,) = importance(search(_drawn(20, lambda own, rng: next(results))))
    assert not found.refused
    for measure in MEASURES:
        shares = [axis.share for axis in found.axes if axis.measure == measure]
        assert sum(shares) == pytest.approx(1)


def test_where_few_finished_all_that_came_far_enough_are_compared_there() -> None:
    (found,) = importance(search(_drawn(45, _by_policy, lengths=(1, 2, 3))))
    assert (found.epoch, found.n) == (2, 30)
    assert "all that reached epoch 2 are compared there" in found.notes[0]
    assert found.notes[1] == "15 of 45 trials are not among them"


def test_arms_are_an_axis_and_each_is_judged_by_itself() -> None:
    rng = np.random.default_rng(1)
    runs = []
    for number in range(60):
        arm = ("kd", "sp")[number % 2]
        own = {"method.beta": float(rng.uniform(1, 9))} if arm == "sp" else {}
        augment = POLICIES[rng.integers(4)]
        end = 0.5 + 0.2 * (arm == "sp") + 0.03 * own.get("method.beta", 0.0)
        settings = {"method": arm, "augment": augment, "arm": arm, **own}
        runs.append(trial(number, [end + 0.01 * float(rng.uniform())] * 2, epochs=2, **settings))
    together, kd, sp = importance(search(runs))
    assert {each.axis for each in together.axes} == {ARM, "augment"}
    assert together.axes[0].axis == ARM
    assert together.notes == ("not all of them have, and so are left out: method.beta",)
    assert (kd.arm, kd.n, sp.arm, sp.n) == ("kd", 30, "sp", 30)
    assert sp.axes[0].axis == "method.beta"


def test_a_key_that_follows_from_another_is_no_axis() -> None:
    stages = {"0.6,0.3,0.1": 0.333333, "0.5,0.4,0.3": 0.4}
    runs = [
        trial(n, [0.5], epochs=1, prune__stages=text, prune_ratio=stages[text], alpha=n / 10)
        for n, text in enumerate([*stages] * 4)
    ]
    assert axes_of(trials_of(search(runs))) == ["prune_ratio", "alpha"]
