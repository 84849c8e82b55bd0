"""A trained student as something to keep: its weights, and all that is needed to use them."""

from pathlib import Path

from kdtune.contracts import Scalar
from kdtune.students import StudentCard, save_student
from kdtune.training.trial import Trial


def deliver(trial: Trial, folder: Path, scores: dict[str, float]) -> StudentCard:
    """Save the student of a finished trial, without whatever was trained beside it.

    Args:
        trial: Finished.
        folder: Made if need be; see :func:`kdtune.students.save_student`.
        scores: Kept with it, such as its accuracies.
    """
    config, dataset, record = trial.config, trial.dataset, trial.prune_record
    metadata: dict[str, Scalar] = {"dataset": dataset.name, "seed": config.seed, **scores}
    card = StudentCard(
        model=config.student,
        classes=dataset.classes,
        class_names=dataset.class_names,
        channels=dataset.channels,
        size=dataset.size,
        mean=dataset.mean,
        std=dataset.std,
        pruned=None if record is None else record.to_json(),
        method=config.method,
        metadata=metadata,
    )
    return save_student(folder, trial.student, card, program=False)
