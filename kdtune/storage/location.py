"""Where results lie: a folder of this machine or a network drive, or a bucket of objects."""

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from platformdirs import user_cache_path

from kdtune.registry import nearest
from kdtune.replacing import replace_file

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, or the role of the machine",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, or the machine's service account",
}
"""Known schemes of object stores and where their clients look for credentials."""


_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):/(/?)")
_REQUEST = re.compile(r" \(Request ID: [^)]*\)")
_ANONYMOUS = "anonymous@"
_OPTIONS = {
    "s3": {"allow_delayed_open": "true"},  # One request for a small object instead of three.
    "gs": {"retry_limit_seconds": "60"},  # Google's own is a quarter of an hour.
}
_LOCAL = (
    (
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "free space or raise the quota there, or give another storage",
    ),
    (
        (errno.EROFS, errno.EACCES, errno.EPERM),
        "make it writable for this user, or give another storage",
    ),
)
_OTHER_FOLDER = "give a folder that can be used"
_FORBIDDEN = ("access_denied", "credentials", "403", "401", "access key", "permission")


class StorageError(ValueError):
    """Storage that cannot be used as asked: unknown, missing, read-only, full, unreachable."""


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a folder says of a file.

    Attributes:
        bytes: Its size.
        changed_s: When it was last written, in seconds since 1970 by the clock of the storage.
    """

    bytes: int
    changed_s: float


@dataclass(frozen=True)
class Location:
    """A folder, wherever it lies; comparing equal if it is the same one.

    Attributes:
        uri: The absolute path of a local folder, or the URI of an object store's, which Ray Tune
            takes as ``storage_path`` and configurations hold. Never with credentials.
        local: The folder itself, or the working folder on this machine that stands for it.
    """

    uri: str
    local: Path

    @classmethod
    def parse(cls, text: str | Path) -> "Location":
        """The location that a user typed; nothing is contacted and nothing made.

        Args:
            text: ``kdtune-results``, ``/nfs/x``, ``file:///x``, ``s3://bucket/prefix`` (with
                ``?region=`` or ``?endpoint_override=HOST:PORT&scheme=http``), ``gs://bucket/x``.

        Raises:
            StorageError: If it is none of these, or holds credentials.
        """
        typed = str(text)
        found = _SCHEME.match(typed)
        if not typed or "\0" in typed:
            raise StorageError(f"storage must be a folder or a URI, got {typed!r}")
        if found is None:
            folder = Path(typed).expanduser().absolute()
            return cls(uri=str(folder), local=folder)
        scheme, second_slash = found[1].lower(), found[2]
        if scheme not in (*CREDENTIALS, "file"):
            known = nearest(scheme, (*CREDENTIALS, "file"))
            raise StorageError(f"storage of the unknown scheme '{scheme}://'{known}")
        if scheme == "file":
            return cls._of_file(typed)
        if not second_slash:
            raise StorageError(f"a storage URI starts with '{scheme}://', got '{scheme}:/'")
        return cls._of_bucket(scheme, typed[found.end() :])

    @classmethod
    def _of_file(cls, typed: str) -> "Location":
        parts = urlsplit(typed)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise StorageError(f"a file URI has three slashes (file:///FOLDER), got '{typed}'")
        return cls.parse(unquote(parts.path))

    @classmethod
    def _of_bucket(cls, scheme: str, rest: str) -> "Location":
        """With its path encoded once, no empty parts and no credentials."""
        place, _, query = rest.partition("?")
        bucket, *folders = place.split("/")
        if "@" in bucket.removeprefix(_ANONYMOUS) or "key" in query.lower():
            raise StorageError(
                f"a storage URI must not hold credentials ('{scheme}://***'); they come from "
                f"{CREDENTIALS[scheme]}"
            )
        if not bucket:
            raise StorageError(f"storage needs the name of a bucket: {scheme}://BUCKET/FOLDER")
        root = f"{scheme}://{bucket}" + (f"?{query}" if query else "")
        digest = hashlib.sha256(root.encode()).hexdigest()[:16]
        location = cls(uri=root, local=user_cache_path("kdtune") / digest)
        for name in filter(None, folders):
            location = location.child(unquote(name))
        return location

    @property
    def is_local(self) -> bool:
        """Whether it is a folder that this machine can open, network drives included."""
        return _SCHEME.match(self.uri) is None

    def child(self, name: str) -> "Location":
        """The folder ``name`` in this one.

        Raises:
            StorageError: If the name would lead elsewhere.
        """
        check_name(name)
        if self.is_local:
            return Location(uri=str(self.local / name), local=self.local / name)
        base, _, query = self.uri.partition("?")
        uri = f"{base}/{quote(name)}" + (f"?{query}" if query else "")
        return Location(uri=uri, local=self.local / name)

    def names(self) -> tuple[str, ...]:
        """What lies directly in it, sorted; nothing if it does not exist.

        Raises:
            StorageError: If it cannot be listed.
        """
        if self.is_local:
            with self._said("list"):
                return tuple(sorted(os.listdir(self.local))) if self.local.is_dir() else ()
        from pyarrow.fs import FileSelector

        with self._said("list"):
            system, path = self.filesystem()
            found = system.get_file_info(FileSelector(path, allow_not_found=True))
        return tuple(sorted(info.base_name for info in found))

    def files(self) -> dict[str, "FileFacts"]:
        """Size and age of the files directly in it, by name; nothing if it does not exist.

        Raises:
            StorageError: If it cannot be listed.
        """
        from pyarrow.fs import FileSelector, FileType

        with self._said("list"):
            system, path = self.filesystem()
            found = system.get_file_info(FileSelector(path, allow_not_found=True))
        return {
            info.base_name: FileFacts(bytes=info.size, changed_s=(info.mtime_ns or 0) / 1e9)
            for info in sorted(found, key=lambda info: str(info.base_name))
            if info.type == FileType.File
        }

    def read(self, name: str) -> bytes:
        """The content of the file ``name``.

        Raises:
            FileNotFoundError: If there is none.
            StorageError: If it cannot be read.
        """
        check_name(name)
        with self._said("read", name):
            if self.is_local:
                return (self.local / name).read_bytes()
            system, path = self.filesystem()
            with system.open_input_stream(f"{path}/{name}") as stream:
                content: bytes = stream.read()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Publish ``content`` as the file ``name``: readers see all of it, or what was before.

        Raises:
            StorageError: If it cannot be written; what was there before still is.
        """
        check_name(name)
        with self._said("write", name):
            if self.is_local:
                replace_file(self.local / name, content)
                return
            system, path = self.filesystem()
            with system.open_output_stream(f"{path}/{name}") as stream:
                stream.write(content)

    def remove(self, name: str) -> None:
        """Delete the file ``name`` if it is there.

        Raises:
            StorageError: If it cannot be deleted.
        """
        check_name(name)
        with self._said("delete", name):
            try:
                if self.is_local:
                    (self.local / name).unlink()
                else:
                    system, path = self.filesystem()
                    system.delete_file(f"{path}/{name}")
            except FileNotFoundError:
                return

    def remove_all(self) -> None:
        """Delete the folder and whatever is in it, if it is there.

        Raises:
            StorageError: If it cannot be deleted.
        """
        with self._said("delete"):
            system, path = self.filesystem()
            try:
                system.delete_dir(path)
            except FileNotFoundError:
                return

    def check_writable(self) -> None:
        """Write, read and delete a small file.

        Raises:
            StorageError: With the reason and the remedy, if any of that fails.
        """
        probe = f".kdtune-probe-{uuid.uuid4().hex[:12]}"
        self.write(probe, probe.encode())
        try:
            if self.read(probe) != probe.encode():
                raise StorageError(f"'{self.uri}' does not give back what was written to it")
        except FileNotFoundError:
            raise StorageError(f"'{self.uri}' does not keep what is written to it") from None
        finally:
            self.remove(probe)

    def filesystem(self) -> tuple[Any, str]:
        """The ``pyarrow.fs`` file system and the path in it.

        Raises:
            StorageError: If there is no such file system.
        """
        if self.is_local:
            from pyarrow.fs import LocalFileSystem

            return LocalFileSystem(), str(self.local)
        base, _, query = self.uri.partition("?")
        scheme, _, path = base.partition("://")
        with self._said("open"):
            system = _connected(scheme, path.partition("/")[0], query)
        return system, unquote(path.removeprefix(_ANONYMOUS))

    @contextmanager
    def _said(self, verb: str, name: str = "") -> Iterator[None]:
        """Turn what goes wrong into one line with the place, the reason and the remedy."""
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, StorageError):
                raise
            if verb == "read" and isinstance(error, FileNotFoundError):
                raise
            raise StorageError(self._sentence(verb, name, error)) from error

    def _sentence(self, verb: str, name: str, error: Exception) -> str:
        base, _, query = self.uri.partition("?") if not self.is_local else (self.uri, "", "")
        place = f"'{base}/{name}'" if name else f"'{base}'"
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        reason = _REQUEST.sub("", reason)
        at = f" ({query})" if query else ""
        return f"cannot {verb} {place}{at}: {reason}; {self._remedy(error)}"

    def _remedy(self, error: Exception) -> str:
        if self.is_local:
            number = getattr(error, "errno", None)
            return next((text for numbers, text in _LOCAL if number in numbers), _OTHER_FOLDER)
        said = str(error).lower()
        if isinstance(error, FileNotFoundError) or "no_such_bucket" in said:
            return "make the bucket first; kdtune makes none"
        if any(word in said for word in _FORBIDDEN):
            where = CREDENTIALS[self.uri.partition(":")[0]]
            return f"credentials come from {where}, and must allow to list, get, put and delete"
        return "check the address, the region and the network"


def check_name(name: str) -> str:
    """``name``, if it is that of one file or folder and leads nowhere else.

    Raises:
        StorageError: If it is not.
    """
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise StorageError(f"a name in storage must be one plain part of a path, got {name!r}")
    return name


@lru_cache(maxsize=16)
def _connected(scheme: str, bucket: str, query: str) -> Any:
    """The file system of a bucket, one for all folders in it."""
    from pyarrow.fs import FileSystem

    given = {part.partition("=")[0] for part in query.split("&")}
    options = [query] if query else []
    options += [f"{key}={value}" for key, value in _OPTIONS[scheme].items() if key not in given]
    return FileSystem.from_uri(f"{scheme}://{bucket}?{'&'.join(options)}")[0]
