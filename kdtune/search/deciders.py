"""Who decides on the trials of a search: its sampler and its scheduler."""

import math

from ray.tune.schedulers import TrialScheduler

from kdtune.config import TrainSettings
from kdtune.search.request import METRIC, MODE, SearchRequest
from kdtune.search.samplers import SpaceSampler, make_sampler
from kdtune.search.schedulers import make_scheduler
from kdtune.search.space import Space


def new_sampler(request: SearchRequest, *, max_concurrent: int) -> SpaceSampler:
    """The sampler that ``request`` names.

    Raises:
        ValueError: If there is none of that name.
    """
    return make_sampler(
        request.sampler,
        request.space,
        metric=METRIC,
        mode=MODE,
        seed=request.seed,
        max_concurrent=max_concurrent,
        ordered=request.ordered,
    )


def new_scheduler(request: SearchRequest) -> TrialScheduler:
    """The scheduler that ``request`` names, for the longest trials of its space.

    Raises:
        ValueError: If there is none of that name, or its settings do not fit the trials.
    """
    epochs = _full_epochs(request.space)
    return make_scheduler(
        request.scheduler,
        metric=METRIC,
        mode=MODE,
        max_t=epochs,
        grace_period=request.grace_period or math.ceil(epochs / 5),
        reduction_factor=request.reduction_factor,
        brackets=request.brackets,
        seed=request.seed,
        ordered=request.ordered,
    )


def _full_epochs(space: Space) -> int:
    """Epochs of the longest trial of ``space``."""
    if "train.epochs" not in {row.key for row in space.table()}:
        return int(TrainSettings.model_fields["epochs"].default)
    return max(int(str(each)) for each in space.values("train.epochs"))
