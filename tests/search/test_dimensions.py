"""One axis in the words of Tune, Optuna and numpy."""

import numpy as np
import optuna
import pytest

from kdtune.search.dimensions import Choice, Dimension, Float, Int, scalars

AXES: list[Dimension] = [
    Choice(("none", "mixup")),
    Choice((0.0, 0.1, True, None)),
    Int(2, 9),
    Int(1, 1000, log=True),
    Float(-1, 1),
    Float(1, 16, log=True),
]


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_whatever_an_axis_yields_lies_on_it(axis: Dimension) -> None:
    rng = np.random.default_rng(0)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    drawn = [axis.draw(rng) for _ in range(200)]
    tuned = [axis.tune().sample() for _ in range(50)]
    for value in [*drawn, *tuned, *axis.grid(4), axis.suggest("x", trial)]:
        assert axis.contains(value)
        assert axis.clean(value) == value
    assert trial.distributions["x"] == axis.optuna()


@pytest.mark.parametrize("axis", [Int(1, 3), Int(1, 3, log=True), Choice((1, 2, 3))], ids=str)
def test_a_finite_axis_draws_all_its_values(axis: Dimension) -> None:
    rng = np.random.default_rng(0)
    assert {axis.draw(rng) for _ in range(100)} == set(axis.values() or ()) == {1, 2, 3}


def test_a_grid_holds_both_ends_and_at_most_its_levels() -> None:
    assert Float(1, 16, log=True).grid(3) == pytest.approx((1.0, 4.0, 16.0))
    assert Float(0, 1).grid(1) == (0.5,)
    assert Int(1, 3).grid(9) == (1, 2, 3)
    assert Choice(("a", "b", "c")).grid(2) == ("a", "b", "c")


def test_types_are_told_apart() -> None:
    assert Float(0, 5).contains(4)
    assert isinstance(Float(0, 5).clean(4), float)
    assert not Int(0, 5).contains(4.0)
    assert not Int(0, 5).contains(True)
    assert not Choice((0, 1)).contains(True)
    assert not Float(0, 5).contains("4")
    assert not Float(0, 5).contains(float("nan"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Float(1, 1), "low < high, got 1.0 and 1.0"),
        (lambda: Int(3, 2), "low < high"),
        (lambda: Float(0, 1, log=True), "low > 0, got 0.0"),
        (lambda: Float(0, float("inf")), "finite"),
        (lambda: Int(0, 1.5), "must be int, got 1.5"),  # type: ignore[arg-type]
        (lambda: Choice(()), "at least one value"),
        (lambda: Choice((1, 1.0)), "got 1.0 twice"),
        (lambda: Choice(([1],)), "JSON scalars"),  # type: ignore[list-item]
        (lambda: Float(0, 1).grid(0), "at least 1 level, got 0"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]


def test_numpy_scalars_become_plain_ones() -> None:
    flat = scalars({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)})
    assert [type(value) for value in flat.values()] == [float, int, bool]
    with pytest.raises(ValueError, match="'d' must be a finite JSON scalar"):
        scalars({"d": [1]})


def test_a_value_with_a_comma_of_its_own_is_quoted_in_a_list() -> None:
    assert Choice(("0.6,0.3", "none", 1)).text() == "{'0.6,0.3', none, 1}"
