"""Samplers over a :class:`~kdtune.search.space.Space`, as Ray Tune searchers.

Each runs the space's recipes first, yields complete flat configurations, and keeps at most
``max_concurrent`` trials alive. None of them passes its metric's name to Tune's own check, which
would end the whole search when one trial's report lacks it.
"""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.result import DEFAULT_METRIC
from ray.tune.search import Searcher

from kdtune.contracts import FlatConfig, Scalar
from kdtune.registry import nearest
from kdtune.report.goals import Goal, Mode
from kdtune.search.space import Space
from kdtune.search.trial_follower import GuardedCallback, guarded
from kdtune.seeds import derive

Result = dict[str, Any] | None


class SpaceSampler(Searcher, ABC):
    """What all samplers share; a subclass says which configuration comes next.

    Args:
        space: The space to draw from.
        metric: The name of the result to optimise; a list for several objectives.
        mode: ``"max"`` or ``"min"``; as many as metrics.
        seed: Fixes all draws.
        max_concurrent: How many trials may live at once. Tune's ``max_concurrent_trials``, where
            given, takes its place.

    Raises:
        ValueError: If a mode is unknown, metrics and modes are not alike in number, a metric is
            given twice, or ``max_concurrent`` is below 1.
    """

    def __init__(
        self,
        space: Space,
        *,
        metric: str | Sequence[str] = "val/accuracy",
        mode: Mode | Sequence[Mode] = "max",
        seed: int = 0,
        max_concurrent: int = 4,
    ) -> None:
        if max_concurrent < 1:
            raise ValueError(f"max_concurrent must be >= 1, got {max_concurrent}")
        self.objectives = _goals(metric, mode)
        super().__init__(metric=self.objectives[0].metric, mode=self.objectives[0].mode)
        self.space = space
        self.seed = seed
        self.max_concurrent = max_concurrent
        self._count = 0
        self._open: dict[str, int] = {}

    @property
    def metric(self) -> str:
        """What Tune should look for in every report: nothing; see ``objectives``."""
        return DEFAULT_METRIC

    @property
    def open_trials(self) -> Collection[str]:
        """Ids of the trials that were suggested and are not over."""
        return self._open.keys()

    def suggest(  # type: ignore[override]  # Ray's own type leaves out its FINISHED
        self, trial_id: str
    ) -> dict[str, Scalar] | str | None:
        """A configuration, None for "not now", or Tune's word for "no more"."""
        if not self._may_start():
            return None
        config = self._start(trial_id)
        if config is None:
            return str(self.FINISHED)
        self._count_in(trial_id)
        return config

    def suggest_again(self, trial_id: str, config: FlatConfig) -> None:
        """Repeat a suggestion of an earlier process, in the order of the first time.

        Raises:
            ValueError: If the sampler now has another in its place, and cannot be brought to this
                one.
        """
        if self._start(trial_id) != config:
            self._impose(trial_id, config)
        self._count_in(trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A running trial has reported; Tune leaves out the report that ends it."""

    def on_trial_complete(self, trial_id: str, result: Result = None, error: bool = False) -> None:
        """A trial is over, for whatever reason."""
        self._open.pop(trial_id, None)

    def close(self) -> None:
        """End the books: whatever still runs will not be heard of again."""
        for trial_id in list(self._open):
            self.on_trial_complete(trial_id)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Take over Tune's ``max_concurrent_trials``; True: no other limiter is needed."""
        self.max_concurrent = max_concurrent
        return True

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Refuse a second space beside ``self.space``, and a metric that contradicts.

        Raises:
            ValueError: If Tune was given another metric or mode than this sampler.
        """
        for kind, theirs, ours in (
            ("metric", metric, self.objectives[0].metric),
            ("mode", mode, self.objectives[0].mode),
        ):
            if theirs not in (None, ours, DEFAULT_METRIC):
                raise ValueError(
                    f"the sampler's {kind} is '{ours}' and Tune's is '{theirs}'; give both the same"
                )
        return False

    def save(self, checkpoint_path: str) -> None:
        """Write the sampler's whole state, so that :meth:`restore` continues its sequence."""
        with open(checkpoint_path, "wb") as file:
            pickle.dump(self.__dict__, file)

    def restore(self, checkpoint_path: str) -> None:
        """Continue from a file of :meth:`save`. Unpickles: trusted files only."""
        with open(checkpoint_path, "rb") as file:
            self.__dict__.update(pickle.load(file))

    def _count_in(self, trial_id: str) -> None:
        self._open[trial_id] = self._count
        self._count += 1

    def _may_start(self) -> bool:
        return len(self._open) < self.max_concurrent

    def _impose(self, trial_id: str, config: FlatConfig) -> None:
        """Take the last suggestion back, and put ``config`` in its place."""
        raise ValueError(
            f"the {type(self).__name__} suggests another configuration than in the log for trial "
            f"{self._count}: the space or the seed is not the one that the search began with"
        )

    @abstractmethod
    def _start(self, trial_id: str) -> dict[str, Scalar] | None:
        """The configuration of the next trial; None when there are no more."""


class PlannedSampler(SpaceSampler):
    """A sampler that learns nothing: recipes first, then proposals known by their number."""

    @abstractmethod
    def proposal(self, index: int) -> dict[str, Scalar] | None:
        """The configuration of trial ``index`` after the recipes; None when there are no more."""

    def _start(self, trial_id: str) -> dict[str, Scalar] | None:
        recipes = self.space.recipes
        if self._count < len(recipes):
            return self.space.recipe_config(recipes[self._count])
        return self.proposal(self._count - len(recipes))


class RandomSampler(PlannedSampler):
    """Independent draws; draw ``i`` depends on the seed and ``i`` alone."""

    def proposal(self, index: int) -> dict[str, Scalar]:
        return self.space.sample(np.random.default_rng(derive(self.seed, "random", index)))


class GridSampler(PlannedSampler):
    """Every point of a grid once, in a seeded order, so that any prefix covers all axes.

    Args:
        space: The space to draw from.
        levels: Values on each continuous range, ends included.
        **settings: As for :class:`SpaceSampler`.
    """

    def __init__(self, space: Space, *, levels: int = 3, **settings: Any) -> None:
        super().__init__(space, **settings)
        recipes = [space.recipe_config(recipe) for recipe in space.recipes]
        points = [point for point in space.grid(levels) if point not in recipes]
        order = np.random.default_rng(derive(self.seed, "grid")).permutation(len(points))
        self._points = [points[i] for i in order]

    @property
    def total(self) -> int:
        """How many trials the whole grid takes, recipes included."""
        return len(self.space.recipes) + len(self._points)

    def proposal(self, index: int) -> dict[str, Scalar] | None:
        return self._points[index] if index < len(self._points) else None


class StudyCallback(GuardedCallback):
    """Closes the books of a sampler where Tune does not.

    Tune tells its searcher nothing of trials that are stopped together (a time budget, Ctrl-C),
    nor of one whose reused actor refuses its configuration.
    """

    def __init__(self, sampler: SpaceSampler) -> None:
        self.sampler = sampler

    @guarded
    def on_step_end(self, iteration: int, trials: Sequence[Trial], **info: Any) -> None:
        """Report the trials that are over and that the sampler takes for alive."""
        alive = set(self.sampler.open_trials)
        for trial in trials if alive else ():
            if trial.trial_id in alive and trial.status in (Trial.ERROR, Trial.TERMINATED):
                self.sampler.on_trial_complete(trial.trial_id, error=trial.status == Trial.ERROR)

    @guarded
    def on_experiment_end(self, trials: Sequence[Trial], **info: Any) -> None:
        """The search is over: no trial may stay open."""
        self.sampler.close()


def make_sampler(
    name: str,
    space: Space,
    *,
    metric: str | Sequence[str] = "val/accuracy",
    mode: Mode | Sequence[Mode] = "max",
    seed: int = 0,
    max_concurrent: int = 4,
    ordered: bool = True,
    max_t: int | None = None,
) -> SpaceSampler:
    """A sampler by name: ``random``, ``grid``, ``tpe``, ``cmaes``, ``gp`` or ``nsga2``.

    Args:
        name: Which one; the last four are Optuna's.
        space: The space to draw from.
        metric: The name of the result to optimise; a list for several, of all but ``cmaes``.
        mode: ``"max"`` or ``"min"``; as many as metrics.
        seed: Fixes all draws.
        max_concurrent: How many trials may live at once.
        ordered: Whether the same seed gives the same suggestions however long trials take, at
            the price of waiting now and then. Random and grid are always so.
        max_t: Epochs of a full trial, for trainables that do not report ``finished``.

    Raises:
        ValueError: On an unknown name, which the message answers with the nearest and all
            choices, or one that takes a single objective.
    """
    from kdtune.search.optuna_sampler import ENGINES, OptunaSampler

    common: dict[str, Any] = {
        "metric": metric,
        "mode": mode,
        "seed": seed,
        "max_concurrent": max_concurrent,
    }
    plain: dict[str, type[SpaceSampler]] = {"random": RandomSampler, "grid": GridSampler}
    if name in plain:
        return plain[name](space, **common)
    if name in ENGINES:
        return OptunaSampler(space, engine=name, ordered=ordered, max_t=max_t, **common)
    raise ValueError(f"unknown sampler '{name}'{nearest(name, (*plain, *ENGINES))}")


def _goals(metric: str | Sequence[str], mode: Mode | Sequence[Mode]) -> tuple[Goal, ...]:
    metrics = [metric] if isinstance(metric, str) else list(metric)
    modes: list[Any] = [mode] if isinstance(mode, str) else list(mode)
    if not metrics or len(metrics) != len(modes):
        raise ValueError(f"each metric needs a mode, got {metrics} and {modes}")
    if len(set(metrics)) < len(metrics):
        raise ValueError(f"each objective is given once, got {metrics}")
    return tuple(Goal(name, way) for name, way in zip(metrics, modes, strict=True))
