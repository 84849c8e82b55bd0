"""What Optuna is told, and when."""

import warnings
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from kdtune.search.optuna_sampler import ENGINES, OptunaSampler
from kdtune.search.space import Arm, Choice, Float, Recipe, Space

SPACE = Space(
    name="toy",
    summary="Two arms.",
    axes={"augment": Choice(("none", "mixup"))},
    arms=(
        Arm(method="kd", axes={"temperature": Float(1, 16, log=True), "alpha": Float(0, 1)}),
        Arm(method="at", axes={"method.beta": Float(10, 1000, log=True)}),
    ),
    recipes=(
        Recipe(
            name="soft",
            source="a paper",
            values={"method": "kd", "augment": "none", "temperature": 4, "alpha": 0.9},
        ),
        Recipe(
            name="attention",
            source="a paper",
            values={"method": "at", "augment": "mixup", "method.beta": 1000},
        ),
    ),
)
Sampler = Callable[..., OptunaSampler]


@pytest.fixture(params=[True, False], ids=["ordered", "as-they-come"])
def make(request: pytest.FixtureRequest) -> Sampler:
    def build(**settings: Any) -> OptunaSampler:
        return OptunaSampler(SPACE, ordered=request.param, **{"max_concurrent": 1, **settings})

    return build


def report(epoch: int, value: object = 0.5, /, **more: object) -> dict[str, Any]:
    return {"training_iteration": epoch, "val/accuracy": value, **more}


def told(sampler: OptunaSampler) -> optuna.trial.FrozenTrial:
    sampler.close()
    return sampler.study.trials[0]


def test_a_trial_that_finished_is_complete_with_its_last_value(make: Sampler) -> None:
    sampler = make()
    sampler.suggest("a")
    sampler.on_trial_result("a", report(1, 0.9, finished=0))
    sampler.on_trial_complete("a", report(2, 0.4, finished=1))
    trial = told(sampler)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.4)
    assert trial.intermediate_values == {1: 0.9, 2: 0.4}


def test_a_trial_that_was_cut_is_pruned_with_all_its_values(make: Sampler) -> None:
    sampler = make()
    sampler.suggest("a")
    sampler.on_trial_result("a", report(1, 0.2, finished=0))
    sampler.on_trial_complete("a", report(2, 0.3, finished=0, done=True))
    trial = told(sampler)
    assert trial.state is TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.2, 2: 0.3}


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (None, True),
        (report(2, 0.5, finished=1), True),
        (report(2, float("nan"), finished=0), False),
        (report(2, float("inf"), finished=1), False),
        (report(2, None, finished=1), False),
        (report(2, 0.0, finished=0, diverged=1), False),
    ],
)
def test_a_trial_that_failed_or_diverged_is_failed(
    make: Sampler, last: dict[str, Any] | None, error: bool
) -> None:
    sampler = make()
    sampler.suggest("a")
    sampler.on_trial_result("a", report(1, 0.2))
    sampler.on_trial_complete("a", last, error=error)
    assert told(sampler).state is TrialState.FAIL


def test_what_is_not_finite_never_reaches_the_study(make: Sampler) -> None:
    sampler = make()
    sampler.suggest("a")
    for epoch, value in enumerate([0.1, float("nan"), "text", float("-inf"), 0.2], start=1):
        sampler.on_trial_result("a", report(epoch, value))
    sampler.on_trial_complete("a", report(6, 0.3, finished=0))
    assert told(sampler).intermediate_values == {1: 0.1, 5: 0.2, 6: 0.3}


def test_a_warm_up_tells_the_study_nothing(make: Sampler) -> None:
    sampler = make(max_t=2)
    sampler.suggest("a")
    for iteration, epoch in enumerate([0.0, 0.0, 1.0], start=1):
        sampler.on_trial_result("a", report(iteration, 0.1 * iteration, epoch=epoch))
    sampler.on_trial_complete("a", report(4, 0.4, epoch=2.0))
    trial = told(sampler)
    assert trial.state is TrialState.COMPLETE
    assert trial.intermediate_values == pytest.approx({1: 0.3, 2: 0.4})


def test_a_trial_that_ends_in_its_warm_up_has_no_value(make: Sampler) -> None:
    sampler = make()
    sampler.suggest("a")
    sampler.on_trial_complete("a", report(1, 0.9, epoch=0.0, finished=0))
    trial = told(sampler)
    assert (trial.state, trial.intermediate_values) == (TrialState.FAIL, {})


def test_the_virtual_clock_counts_a_warm_up_as_the_time_that_it_takes() -> None:
    sampler = OptunaSampler(SPACE, max_concurrent=2)
    sampler.suggest("slow")
    sampler.suggest("quick")
    sampler.on_trial_complete("quick", report(2, 0.5, epoch=2.0, finished=1))
    sampler.on_trial_result("slow", report(2, 0.1, epoch=0.0))
    assert sampler.suggest("next") is None, "the slow one may end at 2 as well"
    sampler.on_trial_result("slow", report(3, 0.1, epoch=0.0))
    assert isinstance(sampler.suggest("next"), dict)


@pytest.mark.parametrize("seen", [True, False])
def test_nothing_stays_running_when_everything_is_stopped(make: Sampler, seen: bool) -> None:
    sampler = make(max_concurrent=2)
    sampler.suggest("a")
    sampler.suggest("b")
    if seen:
        sampler.on_trial_result("a", report(1, 0.3))
    sampler.close()
    sampler.close()
    expected = TrialState.PRUNED if seen else TrialState.FAIL
    assert [trial.state for trial in sampler.study.trials] == [expected, TrialState.FAIL]


def test_a_late_word_on_a_closed_or_unknown_trial_is_ignored(make: Sampler) -> None:
    sampler = make()
    sampler.suggest("a")
    sampler.close()
    for name in ("a", "stranger"):
        sampler.on_trial_result(name, report(1))
        sampler.on_trial_complete(name, report(2, finished=1))
    assert [trial.state for trial in sampler.study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_that_was_tried_again_is_told_once(make: Sampler) -> None:
    sampler = make()
    sampler.suggest("a")
    for epoch in (1, 2, 1, 2):
        sampler.on_trial_result("a", report(epoch, epoch / 10))
    sampler.on_trial_complete("a", report(3, 0.3, finished=1))
    sampler.on_trial_complete("a", report(3, 0.9, finished=1))
    assert told(sampler).intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3}


@pytest.mark.parametrize(
    ("max_t", "state"), [(None, TrialState.COMPLETE), (2, "COMPLETE"), (3, "PRUNED")]
)
def test_without_finished_the_epochs_of_a_full_trial_decide(
    make: Sampler, max_t: int | None, state: object
) -> None:
    sampler = make(max_t=max_t)
    sampler.suggest("a")
    sampler.on_trial_complete("a", report(2, done=True))
    assert told(sampler).state.name == getattr(state, "name", state)


@pytest.mark.parametrize("engine", ENGINES)
def test_recipes_reach_the_study_and_no_inactive_dimension_does(engine: str) -> None:
    sampler = OptunaSampler(SPACE, engine=engine, max_concurrent=1)
    for i in range(14):
        config = sampler.suggest(str(i))
        assert isinstance(config, dict)
        assert sampler.study.trials[i].params == {
            "arm" if key == "method" else key: value for key, value in config.items()
        }
        sampler.on_trial_complete(str(i), report(1, float(config.get("alpha", 0.5)), finished=1))
    assert [t.params for t in sampler.study.trials[:2]] == SPACE.points_to_evaluate()
    arms = [str(t.params["arm"]) for t in sampler.study.trials]
    assert set(arms) == {"kd", "at"}
    for trial, arm in zip(sampler.study.trials, arms, strict=True):
        assert set(trial.params) == {"arm", *SPACE.active(arm)}


def test_tpe_learns_from_the_better_arm() -> None:
    sampler = OptunaSampler(SPACE, max_concurrent=1, seed=3)
    configs = []
    for i in range(40):
        config = sampler.suggest(str(i))
        assert isinstance(config, dict)
        configs.append(config)
        value = float(config["alpha"]) if config["method"] == "kd" else 0.0
        sampler.on_trial_complete(str(i), report(1, value, finished=1))
    late = [float(c["alpha"]) for c in configs[20:] if c["method"] == "kd"]
    assert len(late) > 10
    assert sum(late) / len(late) > 0.7


@pytest.mark.parametrize("engine", ENGINES)
def test_the_console_stays_quiet(engine: str, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler = OptunaSampler(SPACE, engine=engine, max_concurrent=1)
        for i in range(12):
            sampler.suggest(str(i))
            sampler.on_trial_complete(str(i), report(1, 0.1 * i, finished=1))
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_suggestions_do_not_depend_on_which_trial_is_faster() -> None:
    def search(first: str, second: str) -> list[object]:
        sampler = OptunaSampler(SPACE, max_concurrent=2, seed=1)
        configs: list[object] = [sampler.suggest("a"), sampler.suggest("b")]
        values = {"a": 0.2, "b": 0.8}
        for name in (first, second):
            assert sampler.suggest("c") is None
            sampler.on_trial_result(name, report(1, values[name]))
            sampler.on_trial_complete(name, report(2, values[name], finished=1))
        configs += [sampler.suggest("c"), sampler.suggest("d")]
        sampler.close()
        states = [(trial.params, trial.value, trial.state) for trial in sampler.study.trials]
        return [configs, states]

    assert search("a", "b") == search("b", "a")


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'cmaes'"):
        OptunaSampler(SPACE, engine="cma")


BOTH: dict[str, Any] = {"metric": ["val/accuracy", "student/params"], "mode": ["max", "min"]}
SEVERAL = [name for name in ENGINES if name != "cmaes"]


def sized(epoch: int, value: object, params: object, /, **more: object) -> dict[str, Any]:
    return {**report(epoch, value, **more), "student/params": params}


@pytest.mark.parametrize("engine", SEVERAL)
def test_several_objectives_are_told_together(engine: str) -> None:
    sampler = OptunaSampler(SPACE, engine=engine, max_concurrent=1, **BOTH)
    assert [direction.name for direction in sampler.study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for i in range(26):
        config = sampler.suggest(str(i))
        assert isinstance(config, dict)
        alpha = float(config.get("alpha", 0.5))
        sampler.on_trial_result(str(i), sized(1, 0.1, 999.0, finished=0))
        sampler.on_trial_complete(str(i), sized(2, alpha, 100 * alpha, finished=1))
    sampler.close()
    for trial in sampler.study.trials:
        assert trial.state is TrialState.COMPLETE
        assert trial.values == pytest.approx([trial.values[0], 100 * trial.values[0]])
        assert trial.intermediate_values == {}
    assert [t.params for t in sampler.study.trials[:2]] == SPACE.points_to_evaluate()


@pytest.mark.parametrize(
    "last",
    [
        sized(2, 0.5, 10.0, finished=0),
        sized(2, 0.5, None, finished=1),
        sized(2, None, 10.0, finished=1),
        sized(2, 0.5, float("nan"), finished=1),
        sized(2, 0.0, 10.0, finished=1, diverged=1),
        None,
    ],
)
def test_of_several_objectives_only_a_whole_result_counts(
    make: Sampler, last: dict[str, Any] | None
) -> None:
    sampler = make(**BOTH)
    sampler.suggest("a")
    sampler.on_trial_result("a", sized(1, 0.3, 10.0, finished=0))
    sampler.on_trial_complete("a", last)
    trial = told(sampler)
    assert (trial.state, trial.values) == (TrialState.FAIL, None)


def test_an_engine_for_one_objective_refuses_several() -> None:
    with pytest.raises(ValueError, match=r"'cmaes' takes one objective, .* use tpe, nsga2"):
        OptunaSampler(SPACE, engine="cmaes", **BOTH)


@pytest.mark.parametrize("engine", ["tpe", "nsga2"])
def test_a_sampler_approaches_the_front(engine: str) -> None:
    """Accuracy and size both follow alpha; temperature only costs, and 1 is the best."""
    sampler = OptunaSampler(SPACE.with_overrides({"method": "kd"}), engine=engine, seed=1, **BOTH)
    for i in range(100):
        config: Any = sampler.suggest(str(i))
        heat = float(config["temperature"]) - 1
        good, size = float(config["alpha"]) - 0.1 * heat, float(config["alpha"]) + heat
        sampler.on_trial_complete(str(i), sized(1, good, size, finished=1))
    heats = [float(trial.params["temperature"]) for trial in sampler.study.trials[2:]]
    assert sum(heats[60:]) / len(heats[60:]) < 0.7 * sum(heats[:20]) / 20
