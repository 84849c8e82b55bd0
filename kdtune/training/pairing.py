"""What a method may know of its two networks, and whether it can serve them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import torch
from torch import nn

from kdtune import models
from kdtune.config import ConfigError, TrialConfig
from kdtune.contracts import Feature, Pair
from kdtune.data import Dataset
from kdtune.objectives import Objective
from kdtune.pruning import PruneRecord, prune
from kdtune.seeds import global_stream
from kdtune.training.initial import initial_network
from kdtune.training.plan import Phase, phases


def pair_of(
    objective: Objective, student: nn.Module, teacher: nn.Module | None, dataset: Dataset
) -> Pair:
    """The features of both networks that ``objective`` reads, and the data's facts.

    Raises:
        ValueError: If a network has no such tap.
    """
    taps = objective.traits.taps
    return Pair(
        student=_features(student, taps, dataset),
        teacher={} if teacher is None else _features(teacher, taps, dataset),
        labels=dataset.train.targets,
        classes=dataset.classes,
        mean=dataset.mean,
        std=dataset.std,
    )


def check_networks(config: TrialConfig, dataset: Dataset) -> None:
    """Whether student and teacher can serve the data and the method, tried on shapes alone.

    Raises:
        ValueError: With the reason, before any training.
    """
    shape = dataset.classes, dataset.channels, dataset.size
    student = _blueprint(config.student, *shape)
    if config.init:
        student = initial_network(config, dataset, seed=0)
    teacher = None if config.teacher is None else _blueprint(config.teacher.model, *shape)
    for phase in phases(config):
        objective = phase.objective
        for epoch in range(phase.start, phase.stop):
            if not any(objective.weights(phase.moment(epoch)).values()):
                raise ConfigError(
                    f"the weights of method '{config.method}' are all 0 in epoch {epoch}, so that "
                    "nothing would be trained; raise one of them"
                )
        _check_guidance(config, phase)
        guide = {"teacher": teacher, "unpruned": student, "nobody": None}[phase.guide]
        pair = pair_of(objective, student, guide, dataset)
        objective.check(pair)
        with global_stream(0, "check"):
            objective.assemble(lambda _: student, models.split_after)


def _check_guidance(config: TrialConfig, phase: Phase) -> None:
    """Refuse a phase of pruning that is there to distil, and would not."""
    if not (phase.prunes and config.prune.phase in ("post_distill", "self_distill")):
        return
    weights = [phase.objective.weights(phase.moment(e)) for e in range(phase.start, phase.stop)]
    if not any(w for each in weights for name, w in each.items() if name != "ce"):
        raise ConfigError(
            f"prune.phase '{config.prune.phase}' distils after pruning, and method "
            f"'{config.method}' has stopped distilling by then; use prune.phase=pre_post, a "
            "smaller prune.at or a later method.stop_epoch"
        )


def check_pruning(config: TrialConfig, dataset: Dataset) -> None:
    """Whether the student can be pruned as asked, tried on a throw-away copy.

    Raises:
        ValueError: With the reason, before any training.
    """
    student = models.build(
        config.student,
        classes=dataset.classes,
        channels=dataset.channels,
        size=dataset.size,
        seed=0,
    )
    prune_as(config, student, dataset)


def prune_as(config: TrialConfig, student: nn.Module, dataset: Dataset) -> PruneRecord:
    """Prune ``student`` in place as ``config`` says."""
    return prune(
        student,
        method=config.prune.method,
        ratio=config.prune_ratio,
        ratios=config.prune.ratios,
        skip=config.prune.skip,
        channels=dataset.channels,
        size=dataset.size,
    )


@lru_cache(maxsize=16)
def _blueprint(name: str, classes: int, channels: int, size: int) -> nn.Module:
    """The checked network without weights; a search asks for the same few again and again."""
    models.check(name, classes=classes, channels=channels, size=size)
    return models.blueprint(name, classes=classes, channels=channels, size=size)


def _features(model: nn.Module, taps: tuple[str, ...], dataset: Dataset) -> Mapping[str, Feature]:
    if not taps:
        return {}
    shapes = models.tap_shapes(model, taps, channels=dataset.channels, size=dataset.size)
    norms = {name: _affine(models.norm_of(model, name)) for name in taps}
    return {name: replace(shape, norm=norms[name]) for name, shape in shapes.items()}


def _affine(norm: nn.BatchNorm2d | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    return None if norm is None else (norm.weight.detach(), norm.bias.detach())
