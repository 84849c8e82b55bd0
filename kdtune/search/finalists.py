"""Who is trained again and tested once: the best configurations and their baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdtune.config import TEACHER_AXES, TeacherConfig, as_finalist, parse, without_teacher
from kdtune.contracts import FlatConfig, Scalar

ALONE, PUBLISHED = "no teacher", "published recipe"
"""The labels of the baselines."""

RECIPE: dict[str, Scalar] = {"method": "kd", "temperature": 4.0, "alpha": 0.9, "prune_ratio": 0.0}
"""What most papers start from, with a plain, fully trained teacher."""

SEARCHED = ("augment", "method", "temperature", "alpha", "prune_ratio")
SEARCHED_GROUPS = ("augment.", "method.", "prune.")
"""What a recipe has instead of the best trial's settings; all else is data, student and budget."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration of the comparison, to be run with several seeds.

    Attributes:
        kind: ``finalist`` or ``baseline``.
        label: What a person reads.
        config: Flat.
        same_as: Label of an arm with the same configuration, whose runs serve this one too.
    """

    kind: str
    label: str
    config: Mapping[str, Scalar]
    same_as: str = ""


def arms(best: Sequence[FlatConfig], *, fixed: FlatConfig) -> list[Arm]:
    """The finalists, then two baselines with the same budget, data, student and epochs.

    ``no teacher`` is the best finalist's own recipe (augmentation, pruning) on labels alone, so
    that the teacher is the only difference. ``published recipe`` is T = 4, alpha = 0.9, no
    pruning, and an unsmoothed teacher trained to the end, whose augmentation the student shares;
    it is left out where nothing says which teacher.

    Args:
        best: At least one, the best first.
        fixed: What the space fixes for its arms; names the teacher if the best has none.
    """
    found = [
        Arm(kind="finalist", label=f"finalist {rank}", config=config)
        for rank, config in enumerate(best, start=1)
    ]
    for label, config in (
        (ALONE, without_teacher(best[0])),
        (PUBLISHED, published(best[0], fixed)),
    ):
        if config is not None:
            same = next((arm.label for arm in found if _identical(arm.config, config)), "")
            found.append(Arm(kind="baseline", label=label, config=config, same_as=same))
    return found


def published(config: FlatConfig, fixed: FlatConfig) -> dict[str, Scalar] | None:
    """``config`` with the published recipe in place of what was searched; None without a teacher.

    Args:
        config: Of the best trial.
        fixed: Says what the teacher is, if ``config`` has none.
    """
    own = {key: value for key, value in config.items() if not _of_teacher(key)}
    kept = {k: v for k, v in own.items() if k not in SEARCHED and not k.startswith(SEARCHED_GROUPS)}
    source = config
    if parse(config).teacher is None:
        if "teacher" not in fixed:
            return None
        source = fixed
    trained = ("label_smoothing", "teacher_epochs")
    teacher = {k: v for k, v in source.items() if _of_teacher(k) and k not in trained}
    return {**kept, **teacher, **RECIPE, **_augment_of_teacher(source)}


def distinct(configs: Sequence[FlatConfig]) -> list[FlatConfig]:
    """Each configuration once, in their order: a sampler may draw one twice."""
    return [config for place, config in enumerate(configs) if config not in configs[:place]]


def seeded(arm: Arm, *, seeds: Sequence[int], train_on: str) -> list[dict[str, Scalar]]:
    """One complete configuration per seed; all arms share the seeds."""
    return [as_finalist(arm.config, {"seed": seed, "train.on": train_on}) for seed in seeds]


def _of_teacher(key: str) -> bool:
    return key in TEACHER_AXES or key.startswith("teacher.")


def _augment_of_teacher(config: FlatConfig) -> dict[str, Scalar]:
    """The policy that the teacher was trained with, and its options, as a student's."""
    found = {k: v for k, v in config.items() if f"{k}.".startswith("teacher.augment.")}
    default = TeacherConfig.model_fields["augment"].default
    return {"augment": default, **{k.removeprefix("teacher."): v for k, v in found.items()}}


def _identical(one: FlatConfig, other: FlatConfig) -> bool:
    """Whether two configurations are one trial, however they are written.

    The folder in which teachers are stored changes no trial.
    """
    first, second = parse(one), parse(other)
    return first == second.model_copy(update={"store": first.store})
