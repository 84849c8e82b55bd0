"""What a search logs, on disk before it goes anywhere else: Arrow streams, one a writing process.

A segment is an ordinary Arrow IPC stream with one record batch an event, each handed to the
operating system in one piece: a process that is killed loses nothing that it logged, and at most
the last batch of a segment is cut short. A sum over each event tells damage from data.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa

from kdtune.tracking.events import Attached, DatasetUse, Ended, Event, Measured, Started, Tagged
from kdtune.tracking.record import SearchRecord, search_record

FOLDER = "journal"
"""Where a search keeps its journal, in its own folder."""
SUFFIX = ".arrows"
FORMAT_KEY, FORMAT = "kdtune.journal", "1"
"""Entry of a segment's schema that names the version of what is described here."""
MARK = b"\xff\xff\xff\xff"
"""What every message of an Arrow stream begins with."""
END = MARK + bytes(4)

_TEXT = pa.string()
_TEXTS = pa.map_(_TEXT, _TEXT)
_DATASETS = pa.list_(pa.struct([(field.name, _TEXT) for field in fields(DatasetUse)]))
_COLUMNS: dict[str, tuple[Any, object]] = {
    "event": (_TEXT, None),
    "check": (pa.uint32(), None),
    "key": (_TEXT, None),
    "time_ms": (pa.int64(), None),
    "epoch": (pa.int64(), None),
    "name": (_TEXT, None),
    "params": (_TEXTS, {}),
    "tags": (_TEXTS, {}),
    "metrics": (pa.map_(_TEXT, pa.float64()), {}),
    "inputs": (_DATASETS, []),
    "outcome": (_TEXT, None),
    "path": (_TEXT, None),
    "kind": (_TEXT, None),
    "place": (_TEXT, None),
    "register": (_TEXT, None),
}
"""Type of each column, and what stands in it for an event that has no such field."""
_SCHEMA = pa.schema([(name, type) for name, (type, _) in _COLUMNS.items()])
_ABSENT = {name: pa.array([absent], type) for name, (type, absent) in _COLUMNS.items()}
_EVENTS: dict[str, type[Event]] = {
    kind.__name__.lower(): kind for kind in (Started, Measured, Ended, Tagged, Attached)
}


class JournalDamaged(ValueError):
    """A part of a journal that is not the very end of a segment cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What every segment says of its search.

    Attributes:
        search_id: Tells the search from all others.
        experiment: Name of the MLflow experiment.
        tracking_uri: Where MLflow is; user and password blanked out.
        run_name: Of the search's own run.
    """

    search_id: str
    experiment: str
    tracking_uri: str
    run_name: str


@dataclass(frozen=True)
class Contents:
    """A journal as far as it can be read; ``damage`` says what cannot, one text each."""

    header: Header
    events: list[Event]
    damage: list[str]


class Journal:
    """Appends events to a segment of its own, which the first one makes.

    Args:
        folder: Of the journal; made if need be.
        header: Of the search.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder = folder
        self._header = header
        self._file: FileIO | None = None
        self._size = 0

    def put(self, event: Event) -> None:
        """Hand one event to the operating system.

        Raises:
            OSError: If it does not take it; the segment is then as it was.
            ValueError: If a text is not Unicode.
        """
        data = _batch(event).serialize().to_pybytes()
        if self._file is None:
            self._file, self._size = _new_segment(self.folder), 0
        if not self._size:
            data = _schema(self._header).serialize().to_pybytes() + data
        self._append(self._file, data)

    def close(self) -> None:
        """End the segment; a later :meth:`put` begins another.

        Raises:
            OSError: If its end cannot be written; no event is lost by that.
        """
        if self._file:
            file, self._file = self._file, None
            with file:
                file.write(END)

    def _append(self, file: FileIO, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(self._size)
            file.seek(self._size)
            raise
        self._size += len(data)


def read_events(folder: Path) -> list[Event]:
    """All events of a journal, in the order in which they were logged.

    Args:
        folder: Of a journal, or of the search that it is in; it may be written to meanwhile.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If another version wrote it.
        JournalDamaged: If something else than the very end of a segment cannot be read.
    """
    return _undamaged(folder).events


def read_journal(folder: Path) -> SearchRecord:
    """A search as its journal tells it; arguments and errors as of :func:`read_events`."""
    found = _undamaged(folder)
    return search_record(
        found.events,
        experiment=found.header.experiment,
        tracking_uri=found.header.tracking_uri,
    )


def read_contents(folder: Path) -> Contents:
    """What can be read of a journal, damaged or not.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If another version wrote it.
        JournalDamaged: If nothing can be read.
    """
    return read_segments(segments(journal_folder(folder)))


def read_segments(files: Sequence[Path]) -> Contents:
    """The same of some segments of a journal."""
    header: Header | None = None
    events: list[Event] = []
    damage: list[str] = []
    for file in files:
        data = file.read_bytes()
        for item in _items(data):
            match item:
                case Header():
                    header = header or item
                case int():
                    damage.append(f"'{file}' is damaged at byte {item} of {len(data)}")
                case _:
                    events.append(item)
    if header is None:
        raise JournalDamaged(f"nothing can be read of {', '.join(map(str, files))}")
    return Contents(header, events, damage)


def _undamaged(folder: Path) -> Contents:
    found = read_contents(folder)
    if found.damage:
        remedy = f"'kdtune sync {folder}' brings to MLflow what can be read"
        raise JournalDamaged("; ".join([*found.damage, remedy]))
    return found


def journal_folder(folder: Path) -> Path:
    """Where the segments are: ``folder`` itself, or the journal of the search that it is of.

    Raises:
        FileNotFoundError: If there is no journal.
    """
    for place in (folder, folder / FOLDER):
        if segments(place):
            return place.absolute()
    raise FileNotFoundError(f"no journal in '{folder}': no file like 00000{SUFFIX} there")


def segments(folder: Path) -> list[Path]:
    """The files of the journal in ``folder``, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def _new_segment(folder: Path) -> FileIO:
    folder.mkdir(parents=True, exist_ok=True)
    number = len(segments(folder))
    while True:  # Another process may take a number first.
        try:
            return FileIO(folder / f"{number:05d}{SUFFIX}", "x")
        except FileExistsError:
            number += 1


def _schema(header: Header) -> Any:
    about = {FORMAT_KEY: FORMAT, **asdict(header)}
    return _SCHEMA.with_metadata({**about, "check": str(_checksum(about))})


def _batch(event: Event) -> Any:
    kind, values = type(event).__name__.lower(), vars(event)
    given = {
        **values,
        "inputs": [vars(each) for each in values.get("inputs", ())],
        "event": kind,
        "check": _checksum([kind, values]),
    }
    columns = [
        _ABSENT[name] if given.get(name, absent) == absent else pa.array([given[name]], type)
        for name, (type, absent) in _COLUMNS.items()
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _checksum(content: object) -> int:
    """A sum over plain values; floats count bit for bit, as JSON writes them in full."""
    return zlib.crc32(json.dumps(content, default=vars).encode())


def _items(data: bytes) -> Iterator[Header | Event | int]:
    """What is in a segment; a number is the place of something that cannot be read.

    After one the next mark is tried. What is cut short at the end of the segment is left out: that
    is how a process dies, not damage.
    """
    position = 0
    bad: _Unreadable | None = None
    while 0 <= position < len(data):
        try:
            item, following = _item(data, position)
        except _Unreadable as error:
            bad = bad or error
            position = data.find(MARK, position + 1)
            continue
        if bad:
            yield bad.position
            bad = None
        position = following
        if item:
            yield item
    if bad and not bad.cut_short:
        yield bad.position


class _Unreadable(Exception):
    """No message can be read at ``position``; ``cut_short`` if the data end before it does."""

    def __init__(self, position: int, *, cut_short: bool = False) -> None:
        self.position = position
        self.cut_short = cut_short


def _item(data: bytes, position: int) -> tuple[Header | Event | None, int]:
    """What the message at ``position`` says, and where the next one is."""
    frame = data[position : position + len(END)]
    if frame == END:
        return None, position + len(END)
    if frame[: len(MARK)] != MARK[: len(frame)]:
        raise _Unreadable(position)
    size = int.from_bytes(frame[len(MARK) :], "little", signed=True)
    if len(frame) < len(END) or position + len(END) + size > len(data):
        raise _Unreadable(position, cut_short=True)
    source = pa.BufferReader(pa.py_buffer(data)[position:])
    try:
        message = pa.ipc.read_message(source)
    except OSError:
        raise _Unreadable(position, cut_short=True) from None
    except (pa.ArrowException, EOFError):
        raise _Unreadable(position) from None
    try:
        item = _header(message) if message.type == "schema" else _event(message)
    except (pa.ArrowException, OSError, KeyError, TypeError, UnicodeError):
        item = None
    if item is None:
        raise _Unreadable(position)
    return item, position + source.tell()


def _header(message: Any) -> Header | None:
    """The header in a segment's schema; None if its sum does not fit.

    Raises:
        ValueError: If another version of kdtune wrote it.
    """
    metadata = pa.ipc.read_schema(message).metadata or {}
    about = {key.decode(): value.decode() for key, value in metadata.items()}
    if about.pop("check", "") != str(_checksum(about)):
        return None
    found = about.pop(FORMAT_KEY)
    if found != FORMAT:
        raise ValueError(f"the journal has format {found}, this kdtune reads {FORMAT}; update it")
    return Header(**about)


def _event(message: Any) -> Event | None:
    """The event in a record batch; None if its sum does not fit."""
    batch = pa.ipc.read_record_batch(message, _SCHEMA)
    batch.validate(full=True)
    row = batch.to_pylist(maps_as_pydicts="strict")[0]
    row["inputs"] = tuple(DatasetUse(**each) for each in row["inputs"])
    kind = _EVENTS[row["event"]]
    values = {field.name: row[field.name] for field in fields(kind)}
    return kind(**values) if row["check"] == _checksum([row["event"], values]) else None
