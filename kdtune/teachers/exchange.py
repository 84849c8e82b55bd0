"""A stored teacher as one file: a safetensors file whose metadata is its record."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from kdtune.replacing import replace_file
from kdtune.storage import StorageError
from kdtune.teachers.store import (
    WEIGHTS,
    TeacherError,
    TeacherStore,
    decode_record,
    encode_record,
    key_of,
)

METADATA = "__metadata__"
"""What safetensors calls the texts beside the tensors."""
OWN_RECORD, OWN_KEY, OWN_HEADER = "kdtune.record", "kdtune.key", "kdtune.header"
"""Ours: the teacher's record and key, and the header that its weights file has in the store."""

_LENGTH = 8
"""Bytes at the start of a safetensors file that say how long its header is."""


def export_teacher(store: TeacherStore, key: str, file: Path) -> None:
    """Write a stored teacher to a file, which any reader of safetensors takes for its weights.

    Raises:
        TeacherError: If it is not stored, or damaged.
        ValueError: If the file's name is not that of a safetensors file.
        StorageError: If the file cannot be written; what was there before still is.
    """
    if file.suffix != WEIGHTS:
        raise ValueError(f"a teacher is exported as safetensors; end '{file}' in {WEIGHTS}")
    try:
        weights, record = store.read_bytes(key)
    except KeyError:
        raise TeacherError(f"'{store.root}' has no whole teacher {key} to export") from None
    header, data = _split(weights)
    own = {OWN_RECORD: encode_record(record).decode(), OWN_KEY: key, OWN_HEADER: header.decode()}
    try:
        replace_file(file, _joined({**json.loads(header), METADATA: own}, data))
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"cannot write '{file}': {reason}; give another file") from error


def import_teacher(store: TeacherStore, file: Path) -> tuple[str, bool]:
    """Store a teacher that :func:`export_teacher` wrote, as it was; its key, and whether it is new.

    Raises:
        FileNotFoundError: If there is no such file.
        TeacherError: If it is no such file, or not what was written.
        StorageError: If the store cannot be written; nothing that is read back is left then.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file '{file}'; give one that kdtune teachers export wrote")
    content = file.read_bytes()
    try:
        load(content)
    except SafetensorError as error:
        raise TeacherError(f"'{file}' is not a safetensors file ({error})") from None
    header, data = _split(content)
    own = json.loads(header).get(METADATA, {})
    if not {OWN_RECORD, OWN_KEY, OWN_HEADER} <= own.keys():
        raise TeacherError(
            f"'{file}' holds bare weights: kdtune cannot tell how they were trained, so they have "
            f"no key. Use them as they are, with teacher.weights={file}"
        )
    weights = _length(own[OWN_HEADER].encode()) + data
    try:
        record = decode_record(own[OWN_RECORD].encode())
    except ValueError as error:
        raise _changed(file, f"its record is damaged ({error})") from None
    if key_of(record.identity) != own[OWN_KEY]:
        raise _changed(file, f"it says {own[OWN_KEY]} and is teacher {key_of(record.identity)}")
    if hashlib.sha256(weights).hexdigest() != record.sha256:
        raise _changed(file, "the sha256 of its weights is not that in its record")
    new = own[OWN_KEY] not in store
    return store.put(record, weights), new


def _changed(file: Path, how: str) -> TeacherError:
    return TeacherError(f"'{file}' is not what was exported: {how}; export the teacher again")


def _split(content: bytes) -> tuple[bytes, bytes]:
    """The header and the tensors of a safetensors file."""
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    return content[_LENGTH:end], content[end:]


def _joined(header: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return _length(text + b" " * (-len(text) % _LENGTH)) + data


def _length(header: bytes) -> bytes:
    return len(header).to_bytes(_LENGTH, "little") + header
