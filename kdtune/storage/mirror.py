"""A search's folder kept in an object store as well, and brought back from there.

An object is replaced whole or not at all, but many objects are not replaced at once. So a manifest
says which contents belong to the search: it announces a new content before it is uploaded and
drops the old one after, and whoever reads takes a file only if its sum is one of those. Logs, on
which the rest depends, are read first and uploaded last.
"""

import filecmp
import hashlib
import json
import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kdtune.replacing import replace_file
from kdtune.storage.location import Location, StorageError

MANIFEST = "mirror.json"
WRITER = ".mirror"
"""In a working folder: the token of the mirror that follows it."""
FETCHED = ".fetched"
"""In a working folder: the token of the mirror that it was brought from."""

NOT_MIRRORED = frozenset({"tune", "driver.json", MANIFEST})
"""What others put beside the mirrored files: Ray Tune its checkpoints, a driver its claim."""

LOGS = (".jsonl", ".log")
"""Text files that only grow, line by line; what they tell of is there before they tell it."""

BATCH_BYTES = 64 << 20
"""About so much is announced at once, and held in memory."""

_AGAIN_S = 1.0
"""Between the last attempts, when nothing but them is left to do."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MirrorReport:
    """How far a mirror came.

    Attributes:
        uploads: How many files were uploaded, one that changed several times as often.
        bytes: In all of them.
        behind: Files whose last content is not there.
        problem: What went wrong last, if the mirror is behind for that.
    """

    uploads: int
    bytes: int
    behind: tuple[str, ...] = ()
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return not self.behind and not self.problem


@dataclass
class _Manifest:
    """Who mirrors, and the sums that each file may have."""

    writer: str
    files: dict[str, list[str]] = field(default_factory=dict)

    def encoded(self) -> bytes:
        me = {"writer": self.writer, "host": socket.gethostname(), "files": self.files}
        return json.dumps(me, indent=1, ensure_ascii=False).encode()


class Mirror:
    """Brings what changes in a folder to an object store, in a thread of its own.

    Nothing that goes wrong is raised: it is logged, tried again, and in the end reported.

    Args:
        local: The working folder; ``tune/``, hidden files and locks stay out.
        remote: Where it goes.
        every_s: Seconds between two rounds.
    """

    def __init__(self, local: Path, remote: Location, every_s: float = 30.0) -> None:
        self._local, self._remote, self._every_s = local, remote, every_s
        self._manifest: _Manifest | None = None
        self._stamps: dict[str, tuple[int, int]] = {}
        self._behind: tuple[str, ...] = ()
        self._uploads = self._bytes = 0
        self._problem = ""
        self._robbed = False
        self._deadline = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kdtune-mirror", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self, timeout_s: float) -> MirrorReport:
        """Bring everything there that is not yet, and end.

        Args:
            timeout_s: How long that may take, outages included.
        """
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._problem = self._problem or f"'{self._remote.uri}' took too long"
        return MirrorReport(
            uploads=self._uploads,
            bytes=self._bytes,
            behind=self._behind,
            problem=self._problem,
        )

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._try_round()
        while not self._try_round() and not self._robbed:
            if time.monotonic() + _AGAIN_S > self._deadline:
                return
            time.sleep(_AGAIN_S)

    def _try_round(self) -> bool:
        try:
            self._round()
        except Exception as error:  # The search is worth more than its copy.
            if not self._problem:
                _log.warning("the copy in '%s' is behind: %s", self._remote.uri, error)
            self._problem = str(error)
            return False
        self._problem = ""
        return True

    def _round(self) -> None:
        """Upload what changed since the last round.

        Raises:
            StorageError: If the store cannot be reached, or another mirror has taken over.
            OSError: If a file cannot be read.
        """
        logs, found = self._logs_and_files()
        changed = [path for path, stamp in found.items() if self._stamps.get(path) != stamp]
        gone = [] if self._manifest is None else [p for p in self._manifest.files if p not in found]
        self._behind = tuple(changed)
        if not changed and not gone:
            return
        manifest = self._own_manifest()
        for batch in self._batches([path for path in changed if path not in logs]):
            self._upload(manifest, batch, found)
        self._upload(manifest, logs, found)
        self._forget(manifest, [path for path in manifest.files if path not in found])

    def _logs_and_files(self) -> tuple[dict[str, bytes], dict[str, tuple[int, int]]]:
        """The logs that changed, as they were before the files were listed, and all files."""
        before = {path: stamp for path, stamp in _files(self._local) if path.endswith(LOGS)}
        changed = [path for path, stamp in before.items() if self._stamps.get(path) != stamp]
        logs = {path: self._content(path) for path in changed}
        return logs, {**dict(_files(self._local)), **before}

    def _own_manifest(self) -> _Manifest:
        """The manifest in the store, under this folder's token.

        A folder that was brought from there takes a new token, so that the one whose mirror it was
        no longer passes for the latest.
        """
        there = _read_manifest(self._remote)
        own = self._manifest.writer if self._manifest else _token(self._local, WRITER)
        if there is None or there.writer != own:
            self._robbed = self._manifest is not None or (
                there is not None and there.writer != _token(self._local, FETCHED)
            )
            if self._robbed:
                raise StorageError("another folder is mirrored there; this one no longer is")
            there = _Manifest(uuid.uuid4().hex, there.files if there else {})
            replace_file(self._local / WRITER, there.writer.encode())
            self._remote.write(MANIFEST, there.encoded())
        self._manifest = self._manifest or there
        return self._manifest

    def _content(self, path: str) -> bytes:
        content = (self._local / path).read_bytes()
        return content[: content.rfind(b"\n") + 1] if path.endswith(LOGS) else content

    def _batches(self, paths: list[str]) -> Iterator[dict[str, bytes]]:
        batch: dict[str, bytes] = {}
        size = 0
        for path in paths:
            try:
                batch[path] = self._content(path)
            except FileNotFoundError:  # Gone since it was listed; the next round sees that.
                continue
            size += len(batch[path])
            if size >= BATCH_BYTES:
                yield batch
                batch, size = {}, 0
        yield batch

    def _upload(
        self,
        manifest: _Manifest,
        contents: Mapping[str, bytes],
        stamps: Mapping[str, tuple[int, int]],
    ) -> None:
        sums = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
        new = {path: each for path, each in sums.items() if manifest.files.get(path) != [each]}
        if new:
            for path, each in new.items():
                manifest.files[path] = [*manifest.files.get(path, []), each]
            self._remote.write(MANIFEST, manifest.encoded())
            for path in new:
                folder, name = _place(self._remote, path)
                folder.write(name, contents[path])
                self._uploads += 1
                self._bytes += len(contents[path])
            manifest.files.update({path: [each] for path, each in new.items()})
            self._remote.write(MANIFEST, manifest.encoded())
        self._stamps.update({path: stamps[path] for path in contents})
        self._behind = tuple(path for path in self._behind if path not in contents)

    def _forget(self, manifest: _Manifest, paths: list[str]) -> None:
        """Drop files that are no longer in the folder."""
        if not paths:
            return
        for path in paths:
            del manifest.files[path]
            self._stamps.pop(path, None)
        self._remote.write(MANIFEST, manifest.encoded())
        for path in paths:
            folder, name = _place(self._remote, path)
            folder.remove(name)


def fetch(remote: Location, local: Path) -> bool:
    """Bring a mirrored search to this machine, to be continued or looked at.

    A working folder that is the mirror's own source is at least as new as the mirror and stays. Any
    other that differs is moved aside, to ``NAME.aside-N``.

    Args:
        remote: Where a :class:`Mirror` brought it.
        local: The working folder.

    Returns:
        Whether there is such a search; if not, ``local`` is as it was.

    Raises:
        StorageError: If the store cannot be read, or a log in it is not whole. Any other file that
            is not stays behind with a warning: the rest of the search does not depend on it.
    """
    manifest = _read_manifest(remote)
    if manifest is None:
        return False
    here = dict(_files(local))
    if here and manifest.writer == _token(local, WRITER):
        return True
    draft = local.with_name(f".fetch-{uuid.uuid4().hex[:12]}")
    try:
        for path, sums in manifest.files.items():
            _bring(remote, path, sums, draft)
        replace_file(draft / FETCHED, manifest.writer.encode())
        if here and not _same(local, draft):
            _move_aside(local)
        shutil.rmtree(local, ignore_errors=True)
        os.replace(draft, local)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"cannot bring '{remote.uri}' to '{local}': {reason}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def download(location: Location, local: Path) -> Path:
    """Copy a folder, wherever it lies, to a folder of this machine that does not exist yet.

    Readers see all of it or nothing. What it holds brings its own sums (a student its card).

    Returns:
        ``local``.

    Raises:
        FileNotFoundError: If there is no such folder.
        StorageError: If it cannot be read, or ``local`` cannot be made or is there already.
    """
    if not location.names():
        raise FileNotFoundError(f"nothing in '{location.uri}'")
    from pyarrow.fs import LocalFileSystem, copy_files

    system, path = location.filesystem()
    draft = local.with_name(f".download-{uuid.uuid4().hex[:12]}")
    try:
        draft.mkdir(parents=True)
        copy_files(
            path, str(draft), source_filesystem=system, destination_filesystem=LocalFileSystem()
        )
        os.rename(draft, local)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"cannot copy '{location.uri}' to '{local}': {reason}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return local


def _files(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Path in ``folder`` of each file that is mirrored, and its time and size."""
    for place, folders, names in os.walk(folder):
        top = Path(place) == folder
        folders[:] = sorted(n for n in folders if n[0] != "." and not (top and n in NOT_MIRRORED))
        for name in sorted(names):
            if name[0] == "." or name.endswith(".lock") or (top and name in NOT_MIRRORED):
                continue
            file = Path(place, name)
            try:
                status = file.stat()
            except FileNotFoundError:  # A draft that was moved to its name meanwhile.
                continue
            yield file.relative_to(folder).as_posix(), (status.st_mtime_ns, status.st_size)


def _place(location: Location, path: str) -> tuple[Location, str]:
    """The folder and the name of ``path``, which cannot lead out of ``location``."""
    *folders, name = PurePosixPath(path).parts
    for each in folders:
        location = location.child(each)
    return location, name


def _read_manifest(remote: Location) -> _Manifest | None:
    try:
        found = json.loads(remote.read(MANIFEST))
        return _Manifest(writer=str(found["writer"]), files=dict(found["files"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"'{MANIFEST}' in '{remote.uri}' is damaged ({error})") from None


def _token(local: Path, name: str) -> str:
    try:
        return (local / name).read_text()
    except FileNotFoundError:
        return ""


def _same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files."""
    files = dict(_files(one))
    return files.keys() == dict(_files(other)).keys() and all(
        filecmp.cmp(one / path, other / path, shallow=False) for path in files
    )


def _bring(remote: Location, path: str, sums: list[str], draft: Path) -> None:
    folder, name = _place(remote, path)
    try:
        content = folder.read(name)
    except FileNotFoundError:
        content = b""
    target = draft.joinpath(*PurePosixPath(path).parts)
    if hashlib.sha256(content).hexdigest() in sums:
        replace_file(target, content)
        return
    said = f"'{path}' in '{remote.uri}' is missing or not what was mirrored there (sha256 differs)"
    if path.endswith(LOGS):
        raise StorageError(f"{said}; the search cannot be continued from there")
    _log.warning("%s; it is left out", said)


def _move_aside(local: Path) -> None:
    number = 1
    while (aside := local.with_name(f"{local.name}.aside-{number}")).exists():
        number += 1
    os.rename(local, aside)
    _log.warning("'%s' was not the latest; it now is '%s'", local, aside)
