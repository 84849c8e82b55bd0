"""Checkpoints that are read back whole or not at all."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

MANIFEST = "manifest.json"
"""Written last: a checkpoint without it is one whose writing was cut short."""


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not what was saved; the message names the file."""


def seal(folder: Path) -> None:
    """Write down size and sha256 of every file under ``folder``, once all of them are there."""
    manifest = folder / MANIFEST
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != manifest)
    found = {path.relative_to(folder).as_posix(): _fingerprint(path) for path in files}
    manifest.write_text(json.dumps(found))


def check_seal(folder: Path) -> None:
    """Compare every file with what :func:`seal` wrote down; further files do not matter.

    Raises:
        DamagedCheckpoint: If the manifest or a file is missing, cut short or changed.
    """
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in found.items()}
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedCheckpoint(f"'{folder}' is not complete: it has no {MANIFEST}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCheckpoint(f"'{folder / MANIFEST}' is damaged ({error})") from error
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise DamagedCheckpoint(f"'{file}' is missing")
        if _fingerprint(file) != expected:
            raise DamagedCheckpoint(f"'{file}' is damaged: its size or sha256 has changed")


def write_state(state: Mapping[str, Any], file: Path) -> None:
    """Save tensors and plain values.

    Raises:
        OSError: If they cannot be written.
    """
    content = io.BytesIO()  # PyTorch's own writing to files hides what the system said.
    torch.save(state, content)
    try:
        file.write_bytes(content.getbuffer())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def read_state(file: Path, device: torch.device) -> dict[str, Any]:
    """What :func:`write_state` saved; a file may hold nothing but tensors and plain values.

    Raises:
        DamagedCheckpoint: If it is not such a file.
    """
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything inside a reader
        raise DamagedCheckpoint(f"'{file}' is not a readable checkpoint ({error})") from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"'{file}' holds {type(state).__name__} in place of a state")
    return state


def _fingerprint(file: Path) -> tuple[int, str]:
    """Size in bytes and sha256."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return file.stat().st_size, digest
