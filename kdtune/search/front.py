"""The Pareto front of a search with several objectives: the trials that no other one dominates."""

import math
from collections.abc import Sequence
from typing import TypeVar

import optuna

from kdtune.report.goals import Goal
from kdtune.search.optuna_sampler import quiet
from kdtune.search.outcomes import Outcome
from kdtune.search.trial_follower import number

T = TypeVar("T")


def values_of(outcome: Outcome, goals: Sequence[Goal]) -> tuple[float | None, ...]:
    """A trial's objectives in its last report; None where it has no finite one.

    The first is the outcome's own value, which a report of a warm-up is not.
    """
    further = [number(outcome.result.get(goal.metric)) for goal in goals[1:]]
    return tuple(
        v if v is not None and math.isfinite(v) else None for v in (outcome.value, *further)
    )


def front(trials: Sequence[Outcome], goals: Sequence[Goal]) -> list[int]:
    """Places in ``trials`` of the finished trials that no finished trial dominates.

    Sorted by the first objective, the best first; ties go to the earlier trial. Of one objective
    that is all trials with the best value.
    """
    scored = {
        place: tuple(value for value in values_of(trial, goals) if value is not None)
        for place, trial in enumerate(trials)
        if trial.kind == "finished"
    }
    whole = {place: values for place, values in scored.items() if len(values) == len(goals)}
    places = list(whole)
    members = [places[member] for member in nondominated(list(whole.values()), goals)]
    return sorted(members, key=lambda place: (goals[0].cost(whole[place][0]), place))


def nondominated(values: Sequence[Sequence[float]], goals: Sequence[Goal]) -> list[int]:
    """The places of the points that no other is at least as good as in all goals, better in one.

    Args:
        values: Points, each with one finite value per goal.
        goals: Which way is better.

    Returns:
        Rising; equal points are all in, or none.
    """
    with quiet():
        study = optuna.create_study(directions=[goal.direction for goal in goals])
        study.add_trials([optuna.create_trial(values=list(map(float, each))) for each in values])
        return sorted(trial.number for trial in study.best_trials)


def spread(members: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of ``members``, evenly along them: the first, the last, some between."""
    if count >= len(members):
        return list(members)
    if count < 2:
        return list(members[:count])
    step = (len(members) - 1) / (count - 1)
    return [members[round(place * step)] for place in range(count)]
