"""What lies in a teacher store: listed, verified, and cleared of what nobody needs."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from kdtune.storage import Location
from kdtune.teachers.signals import FOLDER as SIGNALS
from kdtune.teachers.store import (
    LOCK,
    RECORD,
    SCHEMA,
    DamagedTeacher,
    TeacherRecord,
    TeacherStore,
)

KEY = re.compile(r"[0-9a-f]{16}")
CLAIM = ".json"
"""How the name of a lock in an object store ends."""

PREFIX = "store:"
"""What may stand before a key, as in ``teacher.weights``."""
MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A folder of a store that is named by a key.

    Attributes:
        key: Its name.
        record: None if there is none that can be read.
        problem: What is wrong with the record; empty if nothing is. The weights are not read.
        bytes: Of all its files.
        stored_s: When the teacher was stored, in seconds since 1970.
    """

    key: str
    record: TeacherRecord | None
    problem: str
    bytes: int
    stored_s: float

    @property
    def outdated(self) -> bool:
        """Whether it is of another version of kdtune, so that no trial of this one asks for it."""
        return self.record is not None and self.record.identity.get("schema") != SCHEMA


@dataclass(frozen=True)
class Leftover:
    """A file of a store that belongs to no teacher, and the key under whose lock it was made."""

    location: Location
    name: str
    key: str


def entries(store: TeacherStore) -> list[Entry]:
    """All teachers of a store, the latest first; whatever has another name than a key is no entry.

    Raises:
        StorageError: If the store cannot be read.
    """
    found = [_entry(store, key) for key in keys(store)]
    return sorted(found, key=lambda entry: (-entry.stored_s, entry.key))


def keys(store: TeacherStore) -> list[str]:
    """The names in a store that are keys, sorted."""
    return [name for name in store.location.names() if KEY.fullmatch(name)]


def find_key(store: TeacherStore, text: str) -> str:
    """The one key that ``text`` begins, ``store:`` before it or not.

    Raises:
        ValueError: If there is none, or several.
    """
    begin, known = text.removeprefix(PREFIX), keys(store)
    found = [key for key in known if key.startswith(begin)]
    if begin and len(found) == 1:
        return found[0]
    if begin and found:
        shown = ", ".join(found[:MOST_NAMED]) + (", ..." if len(found) > MOST_NAMED else "")
        raise ValueError(f"'{begin}' begins {len(found)} keys: {shown}; give more of it")
    near = difflib.get_close_matches(begin, known, n=3, cutoff=0.0)
    hint = f"; the nearest are {', '.join(near)}" if near else ", which has no teachers"
    raise ValueError(f"no teacher '{begin}' in '{store.root}'{hint}")


def problem_of(store: TeacherStore, key: str) -> str:
    """What is wrong with a stored teacher, all of which is read; empty if nothing is.

    Raises:
        StorageError: If the storage cannot be read.
    """
    try:
        store.read_bytes(key)
    except KeyError:
        return "it has no record: its writing was cut short"
    except DamagedTeacher as damage:
        return damage.how
    return ""


def leftovers(store: TeacherStore) -> list[Leftover]:
    """Locks of teachers that are not there, and files that a writer left behind when it died."""
    known = keys(store)
    places = [] if store.location.is_local else [(store.location, CLAIM)]
    places.append((Location.parse(store.location.local), LOCK))
    locks = [
        Leftover(place, name, name.removesuffix(ending))
        for place, ending in places
        for name in place.names()
        if name.endswith(ending) and KEY.fullmatch(name.removesuffix(ending))
    ]
    drafts = (each for key in known for each in _drafts(store, key))
    return [*(lock for lock in locks if lock.key not in known), *drafts]


def remove_leftover(store: TeacherStore, leftover: Leftover) -> bool:
    """Delete a leftover, unless it has become part of a teacher meanwhile; whether it is gone.

    Raises:
        Claimed: If its teacher is being trained, so that it is none.
        StorageError: If it cannot be deleted.
    """
    beside_weights = leftover.location == store.location.child(leftover.key)
    with store.lock(leftover.key, wait=False):
        if beside_weights and leftover not in _drafts(store, leftover.key):
            return False
        leftover.location.remove(leftover.name)
    return True


def remove_teacher(store: TeacherStore, key: str, *, if_damaged: bool = False) -> bool:
    """Delete a teacher and its signals on this machine.

    Args:
        store: Where it is.
        key: Its own.
        if_damaged: Let it be if it is sound, since another may have trained it again meanwhile.

    Returns:
        Whether it is gone.

    Raises:
        Claimed: If it is being trained.
        StorageError: If it cannot be deleted.
    """
    here = Location.parse(store.location.local)
    with store.lock(key, wait=False):
        if if_damaged and not problem_of(store, key):
            return False
        folder = store.location.child(key)
        folder.remove(RECORD)  # First, so that no reader takes what is left for a teacher.
        folder.remove_all()
        here.child(SIGNALS).child(key).remove_all()
        here.remove(f"{key}{LOCK}")
    return True


def _entry(store: TeacherStore, key: str) -> Entry:
    files = store.location.child(key).files()
    record, problem = None, ""
    try:
        record = store.record(key)
    except KeyError:
        problem = "no record"
    except DamagedTeacher as damage:
        problem = damage.how
    times = [facts.changed_s for name, facts in files.items() if name == RECORD or not record]
    return Entry(
        key=key,
        record=record,
        problem=problem,
        bytes=sum(facts.bytes for facts in files.values()),
        stored_s=max(times, default=0.0),
    )


def _drafts(store: TeacherStore, key: str) -> Iterator[Leftover]:
    """Half-written files beside a record that names its weights."""
    folder = store.location.child(key)
    try:
        kept = {RECORD, store.record(key).file}
    except (KeyError, DamagedTeacher):
        return
    names = (name for name in folder.names() if name not in kept)
    yield from (Leftover(folder, name, key) for name in names)
