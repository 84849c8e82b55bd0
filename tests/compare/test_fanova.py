"""fANOVA of our own gives Optuna's numbers."""

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from kdtune.compare.fanova import main_effects

CHOICES = ("a", "b", "c", "d")


def _one_hot(places: np.ndarray, choices: int) -> np.ndarray:
    return np.eye(choices)[places]


@pytest.mark.parametrize("n", [5, 20, 60])
@pytest.mark.parametrize("seed", range(3))
def test_shares_are_those_of_optuna(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranged, other, chosen = rng.uniform(size=n), rng.uniform(size=n), rng.integers(4, size=n)
    ranged[: n // 4] = ranged[0]  # As in a resample, which repeats trials.
    values = ranged + 0.3 * (chosen == 1) + 0.1 * rng.uniform(size=n)
    space: dict[str, BaseDistribution] = {
        "chosen": CategoricalDistribution(CHOICES),
        "other": FloatDistribution(0, 1),
        "ranged": FloatDistribution(0, 1),
    }
    study = optuna.create_study()
    for place in range(n):
        params = {
            "chosen": CHOICES[chosen[place]],
            "other": other[place],
            "ranged": ranged[place],
        }
        study.add_trial(
            optuna.create_trial(params=params, distributions=space, value=values[place])
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=8, seed=seed)
    theirs = evaluator.evaluate(study)
    axes = [_one_hot(chosen, 4), other[:, None], ranged[:, None]]
    ours = main_effects(axes, values, trees=8, seed=seed)
    assert ours == pytest.approx([theirs[axis] for axis in space], rel=1e-9, abs=1e-12)


def test_an_axis_that_nothing_depends_on_explains_nothing() -> None:
    decides, idle = np.linspace(0, 1, 30)[:, None], np.full((30, 1), 0.5)
    effects = main_effects([decides, idle], decides[:, 0], trees=4, seed=0)
    assert effects == pytest.approx([1, 0])


def test_values_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="must differ"):
        main_effects([np.linspace(0, 1, 9)[:, None]], np.ones(9), trees=2, seed=0)
