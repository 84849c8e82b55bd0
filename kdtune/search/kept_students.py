"""The saved students of a Tune run, under names that a person can find."""

import json
from collections.abc import Mapping
from pathlib import Path

from kdtune.replacing import replace_file
from kdtune.search.tuning import FOLDER as TUNE
from kdtune.storage import Location, download
from trainables.distill import STUDENT

FOLDER, INDEX = "students", "students.json"


def keep_students(search: Location, names: Mapping[str, str]) -> dict[str, Path]:
    """Move the students that trials saved with their checkpoints to ``students/``.

    A folder keeps its name for ever, as MLflow was told of it: in a search that grew, another
    finalist of the same rank gets its trial's id behind the name. ``students.json`` beside
    them says which trial each folder is of.

    Args:
        search: Its folder, in which Tune's own files are in ``tune/``.
        names: Trial id -> name of the run, such as ``finalist 1, seed 3``.

    Returns:
        Trial id -> folder, of those that were saved.
    """
    kept = search.local / FOLDER
    places = _index(kept)
    for id_ in [id_ for id_ in names if id_ not in places]:
        saved = _saved(search, id_)
        if saved is not None:
            kept.mkdir(exist_ok=True)
            name = names[id_].replace(", ", "-").replace(" ", "-")
            free = not (kept / name).exists()
            places[id_] = saved.rename(kept / (name if free else f"{name}-{id_}"))
            index = {place.name: id_ for id_, place in places.items()}
            replace_file(search.local / INDEX, (json.dumps(index, indent=2) + "\n").encode())
    return {id_: places[id_] for id_ in names if id_ in places}


def _index(kept: Path) -> dict[str, Path]:
    """Trial id -> folder, of those that are there already."""
    index = kept.parent / INDEX
    places = json.loads(index.read_text()) if index.is_file() else {}
    return {id_: kept / name for name, id_ in places.items() if (kept / name).is_dir()}


def _saved(search: Location, trial_id: str) -> Path | None:
    """What the last checkpoint of a trial that has a student holds, on this machine."""
    trial = search.child(TUNE).child(trial_id)
    for name in reversed(trial.names()):
        if name.startswith("checkpoint_") and STUDENT in trial.child(name).names():
            student = trial.child(name).child(STUDENT)
            aside = search.local / FOLDER / f".{trial_id}"
            aside.parent.mkdir(exist_ok=True)
            return student.local if student.is_local else download(student, aside)
    return None
