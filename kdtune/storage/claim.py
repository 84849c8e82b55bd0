"""One holder at a time: what a driver takes on its search's folder before it touches it."""

import json
import logging
import os
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from kdtune.storage.location import Location, StorageError

BEAT_S = 15.0
"""How often the holder of a remote folder shows that it lives."""

STALE_S = 90.0
"""After so long without a beat, by the clock of the storage, the holder counts as dead."""

SETTLE_S = 2.0
"""Two who take a remote folder at once both see, after this, whose name stands in it."""

_log = logging.getLogger(__name__)


class Claimed(ValueError):
    """Somebody else holds the folder; says who, where and since when."""


class Claim:
    """Holds a folder against every other holder, on this machine or another.

    A local folder (network drives included, if they lock files) is held by a file lock, which the
    system releases when the process ends, however it ends. Object stores have no locks: the holder
    rewrites ``NAME.json`` every ``beat_s``, and one that has not for ``stale_s`` is taken over. The
    age is the difference of two times that the storage itself gave, so no clock of a client counts.

    Args:
        location: The folder; made if it is local and does not exist.
        name: Of the files that say so: ``NAME.lock`` and ``NAME.json``.
        what: The folder in words, for the refusal.
        beat_s, stale_s, settle_s: See the constants; every holder of a folder needs the same.
    """

    def __init__(
        self,
        location: Location,
        *,
        name: str = "driver",
        what: str = "",
        beat_s: float = BEAT_S,
        stale_s: float = STALE_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._location = location
        self._file = f"{name}.json"
        self._what = what or f"'{location.uri}'"
        self._beat_s, self._stale_s, self._settle_s = beat_s, stale_s, settle_s
        self._lock = FileLock(location.local / f"{name}.lock", thread_local=False)
        self._token = uuid.uuid4().hex
        self._since = ""
        self._over = threading.Event()
        self._heart: threading.Thread | None = None
        self.lost = False
        """Whether a remote folder was taken over by another, this process having slept too long."""

    def __enter__(self) -> "Claim":
        """Take the folder.

        Raises:
            Claimed: If another has it.
            StorageError: If it cannot be written.
        """
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        if self._location.is_local:
            self._lock_folder()
        else:
            self._take_over()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back; what goes wrong then is no affair of the holder's work."""
        self._over.set()
        if self._heart is not None:
            self._heart.join()
        try:
            if not self.lost:
                self._location.remove(self._file)
        except StorageError as problem:
            _log.warning("%s", problem)
        finally:
            self._lock.release()

    def _lock_folder(self) -> None:
        folder = self._location.local
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise Claimed(f"{self._what} is in use by {_named(self._holder())}") from None
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"cannot hold '{folder}': {reason}; make it writable") from error
        try:
            self._location.write(self._file, self._written())
        except StorageError:
            self._lock.release()
            raise

    def _take_over(self) -> None:
        age = self._age()
        if age is not None and age < self._stale_s:
            raise Claimed(
                f"{self._what} is in use by {_named(self._holder())}, whose last sign of life is "
                f"{age:.0f} s old; if it is dead, try again in {self._stale_s - age:.0f} s"
            )
        self._location.write(self._file, self._written())
        time.sleep(self._settle_s)
        holder = self._holder()
        if holder.get("token") != self._token:
            raise Claimed(f"{self._what} was just taken by {_named(holder)}")
        self._over.clear()
        self._heart = threading.Thread(target=self._beat, name="kdtune-claim", daemon=True)
        self._heart.start()

    def _beat(self) -> None:
        while not self._over.wait(self._beat_s):
            try:
                holder = self._holder()
                if holder.get("token", self._token) != self._token:
                    self.lost = True
                    _log.error("%s was taken over by %s", self._what, _named(holder))
                    return
                self._location.write(self._file, self._written())
            except StorageError as problem:  # An outage shorter than the stale time costs nothing.
                _log.warning("%s", problem)

    def _written(self) -> bytes:
        me = {"host": socket.gethostname(), "pid": os.getpid(), "since": self._since}
        return json.dumps({**me, "token": self._token}).encode()

    def _holder(self) -> dict[str, Any]:
        """Who wrote the file last; nothing if it is not there or being written."""
        try:
            found = json.loads(self._location.read(self._file))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def _age(self) -> float | None:
        """Seconds since the last beat, by the storage's own clock; None if nobody is there."""
        system, path = self._location.filesystem()
        beat = system.get_file_info(f"{path}/{self._file}").mtime_ns
        if beat is None:
            return None
        probe = f".clock-{self._token}"
        self._location.write(probe, b"")
        now = system.get_file_info(f"{path}/{probe}").mtime_ns
        self._location.remove(probe)
        return float(now - beat) / 1e9


def _named(holder: dict[str, Any]) -> str:
    if not {"host", "pid", "since"} <= holder.keys():
        return "another process"
    return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
