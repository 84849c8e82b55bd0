"""The saved students of a Tune run, under names that a person can find."""

from collections.abc import Mapping
from pathlib import Path

from trainables.distill import STUDENT

FOLDER = "students"


def keep_students(folder: Path, names: Mapping[str, str]) -> dict[str, Path]:
    """Move the students that trials saved with their checkpoints to ``folder / "students"``.

    Args:
        folder: Of the search; Tune's own files are in ``folder / "tune"``.
        names: Trial id -> name of the run, such as ``finalist 1, seed 3``.

    Returns:
        Trial id -> folder, of those that were saved.
    """
    kept = {}
    for trial_id, name in names.items():
        saved = sorted((folder / "tune" / trial_id).glob(f"checkpoint_*/{STUDENT}"))
        if not saved:
            continue
        target = folder / FOLDER / name.replace(", ", "-").replace(" ", "-")
        target.parent.mkdir(parents=True, exist_ok=True)
        kept[trial_id] = saved[-1].rename(target)
    return kept
