"""Who decides on the trials of a search: its sampler and its scheduler."""

import math

from kdtune.config import TrainSettings
from kdtune.search.asha import ASHA
from kdtune.search.request import SearchRequest
from kdtune.search.samplers import SpaceSampler, make_sampler
from kdtune.search.schedulers import FIFO, SCHEDULERS, make_scheduler
from kdtune.search.space import Space


def new_sampler(request: SearchRequest, *, max_concurrent: int) -> SpaceSampler:
    """The sampler that ``request`` names.

    Raises:
        ValueError: If there is none of that name, or it takes a single objective.
    """
    return make_sampler(
        request.sampler,
        request.space,
        metric=[goal.metric for goal in request.objectives],
        mode=[goal.mode for goal in request.objectives],
        seed=request.seed,
        max_concurrent=max_concurrent,
        ordered=request.ordered,
    )


def new_scheduler(request: SearchRequest) -> ASHA | FIFO:
    """The scheduler that ``request`` names, for the longest trials of its space.

    Raises:
        ValueError: If there is none of that name, its settings do not fit the trials, or it would
            cut trials of a search with several objectives.
    """
    name, goals = request.scheduler, request.objectives
    if len(goals) > 1 and name in SCHEDULERS and name != "none":
        raise ValueError(
            f"scheduler '{name}' cuts trials by one metric, which takes away parts of the front; "
            f"with {len(goals)} objectives use --scheduler none"
        )
    return make_scheduler(
        name,
        metric=request.goal.metric,
        mode=request.goal.mode,
        max_t=full_epochs(request.space),
        grace_period=grace_period(request),
        reduction_factor=request.reduction_factor,
        brackets=request.brackets,
        seed=request.seed,
        ordered=request.ordered,
    )


def grace_period(request: SearchRequest) -> int:
    """Epochs before any trial is cut, with the default filled in."""
    return request.grace_period or math.ceil(full_epochs(request.space) / 5)


def cutting(request: SearchRequest) -> dict[str, int]:
    """What says when trials are cut, for the record: defaults filled in, idle settings left out."""
    scheduler = new_scheduler(request)
    found = {"epochs": full_epochs(request.space)}
    if request.scheduler != "none":
        found["grace_period"] = grace_period(request)
    if isinstance(scheduler, ASHA):
        found["reduction_factor"] = request.reduction_factor
        found["brackets"] = len(scheduler.rungs)
    return found


def full_epochs(space: Space) -> int:
    """Epochs of the longest trial of ``space``."""
    if "train.epochs" not in {row.key for row in space.table()}:
        return int(TrainSettings.model_fields["epochs"].default)
    return max(int(str(each)) for each in space.values("train.epochs"))
