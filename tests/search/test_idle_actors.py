"""Idle actors live as long as trials may still come."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.utils.object_cache import _ObjectCache

from kdtune.search.idle_actors import IdleActors


class _Trial(SimpleNamespace):
    __hash__ = object.__hash__


def controller(*kinds: str) -> Any:
    trials = [_Trial(placement_group_factory=kind, status=Trial.RUNNING) for kind in kinds]
    return SimpleNamespace(
        get_live_trials=lambda: trials,
        search_alg=SimpleNamespace(is_finished=lambda: False),
        _actor_cache=_ObjectCache(),
        _actor_manager=SimpleNamespace(is_actor_started=lambda actor: actor == "granted"),
        _trial_to_actor={},
        _resetting_trials=set(),
    )


def limits(runner: Any) -> Counter[str]:
    return +runner._actor_cache._max_num_objects


def test_idle_actors_are_kept_until_no_more_trials_come() -> None:
    runner, idle = controller("cpu", "cpu"), IdleActors()
    idle.update(runner)
    assert all(runner._actor_cache.cache_object("cpu", name) for name in "abc")
    runner.get_live_trials = lambda: []
    idle.update(runner)
    assert not list(runner._actor_cache.flush_cached_objects())
    runner.search_alg.is_finished = lambda: True
    idle.update(runner)
    assert not limits(runner)
    assert set(runner._actor_cache.flush_cached_objects()) >= {"a", "b"}


def test_actors_of_one_kind_do_not_block_another() -> None:
    runner, idle = controller("cpu"), IdleActors()
    idle.update(runner)
    idle.update(SimpleNamespace(_tune_controller=runner))
    assert set(limits(runner)) == {"cpu"}
    runner.get_live_trials = controller("cpu", "gpu").get_live_trials
    idle.update(runner)
    assert not limits(runner)


def test_a_trial_whose_own_actor_is_starting_takes_no_idle_one() -> None:
    runner, idle = controller("cpu", "cpu"), IdleActors()
    cache, trial = runner._actor_cache, runner.get_live_trials()[1]
    idle.update(runner)
    for name in "ab":
        cache.cache_object("cpu", name)
    trial.status = Trial.PENDING
    runner._trial_to_actor[trial] = "granted"
    idle.update(runner)
    assert not cache.has_cached_object("cpu")
    trial.status = Trial.RUNNING
    idle.update(runner)
    assert cache.pop_cached_object("cpu") == "a"
    assert cache.pop_cached_object("cpu") == "b"


def test_a_trial_that_waits_for_resources_may_take_an_idle_actor() -> None:
    runner, idle = controller("cpu"), IdleActors()
    trial = runner.get_live_trials()[0]
    trial.status = Trial.PENDING
    runner._trial_to_actor[trial] = "queued"
    idle.update(runner)
    runner._actor_cache.cache_object("cpu", "a")
    idle.update(runner)
    assert runner._actor_cache.has_cached_object("cpu")


def test_nothing_stays_aside_when_no_more_trials_come() -> None:
    runner, idle = controller("cpu"), IdleActors()
    idle.update(runner)
    runner._actor_cache.cache_object("cpu", "a")
    trial = runner.get_live_trials()[0]
    trial.status = Trial.PENDING
    runner._trial_to_actor[trial] = "granted"
    idle.update(runner)
    runner.search_alg.is_finished = lambda: True
    idle.update(runner)
    assert runner._actor_cache.has_cached_object("cpu")
    assert not limits(runner)
