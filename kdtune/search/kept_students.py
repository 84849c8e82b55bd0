"""The saved students of a Tune run, under names that a person can find."""

import json
from collections.abc import Mapping
from pathlib import Path

from trainables.distill import STUDENT

FOLDER, INDEX = "students", "trials.json"


def keep_students(folder: Path, names: Mapping[str, str]) -> dict[str, Path]:
    """Move the students that trials saved with their checkpoints to ``folder / "students"``.

    One that was moved there before gets the name that it has now: a search that grew may rank it
    elsewhere. ``students/trials.json`` says which trial each folder is of.

    Args:
        folder: Of the search; Tune's own files are in ``folder / "tune"``.
        names: Trial id -> name of the run, such as ``finalist 1, seed 3``.

    Returns:
        Trial id -> folder, of those that were saved.
    """
    kept = folder / FOLDER
    before = _index(kept)
    places = {id_: kept / name.replace(", ", "-").replace(" ", "-") for id_, name in names.items()}
    # Aside first, as one may have to go where another still lies.
    aside = {id_: place.rename(kept / f".{id_}") for id_, place in before.items()}
    found = {id_: saved for id_ in names if (saved := aside.get(id_) or _saved(folder, id_))}
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


def _saved(folder: Path, trial_id: str) -> Path | None:
    """What the last checkpoint of a trial holds."""
    found = sorted((folder / "tune" / trial_id).glob(f"checkpoint_*/{STUDENT}"))
    return found[-1] if found else None
