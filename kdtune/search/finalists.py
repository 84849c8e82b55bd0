"""Who is trained again and tested once: the best configurations and their baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdtune.config import TeacherConfig, without_teacher
from kdtune.contracts import FlatConfig, Scalar

PUBLISHED: dict[str, Scalar] = {"method": "kd", "temperature": 4.0, "alpha": 0.9}
"""The recipe that most papers start from, with a plain, fully trained teacher."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration of the comparison, to be run with several seeds."""

    kind: str
    label: str
    config: Mapping[str, Scalar]


def arms(best: Sequence[FlatConfig]) -> list[Arm]:
    """The finalists, then two baselines with the same budget, data, student and epochs.

    ``no teacher`` is the best finalist's own recipe (augmentation, pruning) on labels alone, so
    that the teacher is the only difference. ``published recipe`` is T = 4, alpha = 0.9, no
    pruning, and an unsmoothed teacher trained to the end, whose augmentation the student shares.
    """
    finalists = [
        Arm(kind="finalist", label=f"finalist {rank}", config=config)
        for rank, config in enumerate(best, start=1)
    ]
    baselines = [
        Arm(kind="baseline", label="no teacher", config=without_teacher(best[0])),
        Arm(kind="baseline", label="published recipe", config=published(best[0])),
    ]
    return [*finalists, *baselines]


def published(config: FlatConfig) -> dict[str, Scalar]:
    """``config`` with the published recipe in place of what was searched."""
    given = {"label_smoothing", "teacher_epochs", "temperature", "alpha", "method"}
    kept = {k: v for k, v in config.items() if k not in given and not k.startswith("method.")}
    augment = config.get("teacher.augment", TeacherConfig.model_fields["augment"].default)
    return {**kept, **PUBLISHED, "augment": augment, "prune_ratio": 0.0}


def seeded(arm: Arm, *, seeds: Sequence[int], train_on: str) -> list[dict[str, Scalar]]:
    """One complete configuration per seed; all arms share the seeds."""
    return [
        {**arm.config, "role": "finalist", "seed": seed, "train.on": train_on} for seed in seeds
    ]
