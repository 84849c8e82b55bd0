"""The saved students of a Tune run, under names that a person can find."""

import json
from collections.abc import Mapping
from pathlib import Path

from kdtune.search.tuning import FOLDER as TUNE
from kdtune.storage import Location, download
from trainables.distill import STUDENT

FOLDER, INDEX = "students", "trials.json"


def keep_students(search: Location, names: Mapping[str, str]) -> dict[str, Path]:
    """Move the students that trials saved with their checkpoints to ``students/``.

    One that was moved there before gets the name that it has now: a search that grew may rank it
    elsewhere. ``students/trials.json`` says which trial each folder is of.

    Args:
        search: Its folder, in which Tune's own files are in ``tune/``.
        names: Trial id -> name of the run, such as ``finalist 1, seed 3``.

    Returns:
        Trial id -> folder, of those that were saved.
    """
    kept = search.local / FOLDER
    before = _index(kept)
    places = {id_: kept / name.replace(", ", "-").replace(" ", "-") for id_, name in names.items()}
    # Aside first, as one may have to go where another still lies.
    aside = {id_: place.rename(kept / f".{id_}") for id_, place in before.items()}
    found = {id_: saved for id_ in names if (saved := aside.get(id_) or _saved(search, id_))}
    if found:
        kept.mkdir(exist_ok=True)
    moved = {id_: saved.rename(places[id_]) for id_, saved in found.items()}
    for id_ in aside.keys() - moved.keys():
        moved[id_] = aside[id_].rename(kept / f"{before[id_].name}-of-{id_}")
    if moved:
        index = {place.name: id_ for id_, place in moved.items()}
        (kept / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return {id_: moved[id_] for id_ in found}


def _index(kept: Path) -> dict[str, Path]:
    """Trial id -> folder, of those that are there already."""
    index = kept / INDEX
    places = json.loads(index.read_text()) if index.is_file() else {}
    here = {id_: kept / name for name, id_ in places.items() if (kept / name).is_dir()}
    # What a process that was killed in between left aside.
    return here | {place.name[1:]: place for place in kept.glob(".*")}


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
