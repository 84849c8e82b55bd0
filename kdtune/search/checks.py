"""Everything that can be known to be wrong before any work starts."""

import itertools
import os
from collections.abc import Iterator, Sequence

import numpy as np

from kdtune.config import TEACHER_AXES, ConfigError, TrialConfig, parse
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import Dataset
from kdtune.report.goals import check_goals
from kdtune.search.deciders import new_sampler, new_scheduler
from kdtune.search.request import SearchRequest
from kdtune.search.space import Space
from kdtune.storage import Location
from kdtune.training.data import load_trial_data
from kdtune.training.device import resolve_device
from kdtune.training.pairing import check_networks, check_pruning
from kdtune.training.precision import check_precision
from kdtune.training.teacher import obtain_teacher
from kdtune.training.trial import train_teacher

RESERVED = {
    "role": "it decides itself which networks are tested and published",
    "train.on": "its trials are judged on validation; use --finalists-on for the finalists",
}
"""Keys that would let a search select on what it trains on, or read the test split."""

SAMPLES = 200
"""Random configurations of a space that are parsed before it is searched, over all arms."""

FEWEST_OF_ARM = 20
"""Of each arm, where there are many."""


def check_request(request: SearchRequest, *, again: bool = False) -> None:
    """Check a search as a whole; also reads its dataset and a ready-made teacher.

    Args:
        request: The search.
        again: Whether it goes on, so that its folder is there already.

    Raises:
        ValueError: If the name is taken, a setting of the search or a configuration of the space
            is not valid, or the data, the networks, the method and ready-made teachers do not fit
            each other.
        FileNotFoundError: If the data or the weights of a ready-made teacher are not there.
    """
    if not again:
        _check_new(request)
    _check_writable(request)
    check_goals(request.objectives)
    if request.register_as and not request.finalists:
        raise ConfigError(
            f"--register '{request.register_as}' needs a finalist to register, got --finalists 0"
        )
    for key in set(RESERVED) & set(request.space.keys()):
        raise ConfigError(f"a search may not set '{key}': {RESERVED[key]}")
    probes = [(arm, parse(flat)) for arm, flat in _probes(request.space, request.seed)]
    if not request.gpus_per_trial and any(c.train.device == "cuda" for _, c in probes):
        raise ConfigError("train.device=cuda needs a GPU for each trial; give --gpus-per-trial")
    for _, config in probes if not request.address else ():  # A cluster's nodes are not this one.
        check_precision(config.train.precision, resolve_device(config.train.device))
    new_sampler(request, max_concurrent=1)
    new_scheduler(request)
    _check_probes(probes, load_trial_data(probes[0][1]), several=len(request.space.arms) > 1)


def teacher_pool(space: Space) -> list[TrialConfig]:
    """One trial for each distinct teacher that ``space`` can ask for.

    Teachers that depend on a continuous axis are no finite pool; those are trained by the first
    trial that asks.
    """
    pool: dict[str, TrialConfig] = {}
    for flat in _teacher_combinations(space):
        config = parse(flat)
        if config.teacher is not None and not config.teacher.weights:
            pool.setdefault(repr(config.teacher), config)
    return list(pool.values())


def _check_probes(
    probes: Sequence[tuple[str, TrialConfig]], dataset: Dataset, *, several: bool
) -> None:
    """Check each combination of networks and method, and each ready-made teacher, once.

    Args:
        probes: Arms and configurations of them.
        dataset: Of all of them.
        several: Whether there are other arms, so that one that cannot be served may be left out.
    """
    seen: set[object] = set()
    for arm, config in probes:
        try:
            check_parts(config, dataset, seen)
        except ValueError as error:
            if not several:
                raise
            raise ConfigError(f"arm '{arm}': {error} (--skip {arm} leaves the arm out)") from error


def check_parts(config: TrialConfig, dataset: Dataset, seen: set[object]) -> None:
    """Check that data, networks, method, pruning and a ready-made teacher fit each other.

    Args:
        config: Of one trial.
        dataset: Its data.
        seen: The combinations that were checked already; grows.

    Raises:
        ValueError: With what does not fit.
        FileNotFoundError: If the weights of a ready-made teacher are not there.
    """

    def first(*combination: object) -> bool:
        known = combination in seen
        seen.add(combination)
        return not known

    teacher = config.teacher
    model = "" if teacher is None else teacher.model
    if first(config.student, model, *_kind(config)):
        check_networks(config, dataset)
    if config.prune_ratio and first(config.student, config.prune, config.prune_ratio):
        check_pruning(config, dataset)
    if teacher is not None and teacher.weights and first(model, teacher.weights):
        obtain_teacher(config, resolve_device("auto"), train_teacher)


def _kind(config: TrialConfig) -> tuple[object, ...]:
    """What of a method and its schedule decides whether networks can serve it.

    A real number does so only by way of the traits: it need not be tried again and again.
    """
    fields = config.objective.model_dump().values()
    chosen = tuple(value for value in fields if not isinstance(value, float))
    schedule = (config.train.epochs, config.train.schedule, config.train.milestones)
    phase = config.prune.phase if config.prune_ratio else None
    return config.method, config.objective.traits, chosen, schedule, phase


def _probes(space: Space, seed: int) -> Iterator[tuple[str, FlatConfig]]:
    rng = np.random.default_rng(seed)
    yield from ((recipe.arm, space.recipe_config(recipe)) for recipe in space.recipes)
    each = max(FEWEST_OF_ARM, SAMPLES // len(space.arms))
    yield from ((arm, space.sample(rng, arm)) for arm in space.arm_names for _ in range(each))


def _teacher_combinations(space: Space) -> Iterator[dict[str, Scalar]]:
    """A full configuration for each combination of the teacher's axes, arm by arm."""
    for arm in space.arm_names:
        axes = space.active(arm)
        base = space.config(arm, {key: axis.grid(1)[0] for key, axis in axes.items()})
        taught = [key for key in axes if key in TEACHER_AXES or key.startswith("teacher.")]
        options = [axes[key].values() for key in taught]
        finite = [values for values in options if values is not None]
        if len(finite) == len(options):
            for combination in itertools.product(*finite):
                yield {**base, **dict(zip(taught, combination, strict=True))}


def _check_new(request: SearchRequest) -> None:
    """Refuse the name of a search that is there; a claim that nothing came of is none."""
    here = [path.name for path in request.folder.glob("*")] if request.remote else []
    if [name for name in (*here, *request.location.names()) if not name.startswith("driver.")]:
        raise ConfigError(
            f"there is a search called '{request.name}' in '{request.remote or request.storage}' "
            "already; give another --name, delete it, or go on with it: "
            f"kdtune resume {request.name}"
        )


def _check_writable(request: SearchRequest) -> None:
    if request.remote:
        Location.parse(request.remote).check_writable()
    storage = request.storage
    existing = next(path for path in (storage, *storage.parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise ConfigError(f"the storage folder '{request.storage}' is not writable")
