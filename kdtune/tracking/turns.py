"""One process at a time writes a search's runs to MLflow: the search itself, or a sync."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

WAIT_S = 10.0


class Turns:
    """The right to write, taken for a moment each time.

    Args:
        folder: Of the search's journal; None if it has none, and so nobody else can write.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._name = uuid.uuid4().hex

    @contextmanager
    def take(self) -> Iterator[bool]:
        """Inside, nobody else writes; whether somebody else did since this one's last turn.

        Where files cannot be locked, nobody is held back, and somebody else may have written.

        Raises:
            TimeoutError: If another process goes on writing.
        """
        if self._folder is None:
            yield False
            return
        lock = FileLock(self._folder / "mlflow.lock", timeout=WAIT_S)
        try:
            lock.acquire()
        except Timeout as error:
            raise TimeoutError(f"another process writes the runs of '{self._folder}'") from error
        except (OSError, NotImplementedError):
            yield True
            return
        try:
            yield self._others_wrote(self._folder / "mlflow.writer")
        finally:
            lock.release()

    def _others_wrote(self, file: Path) -> bool:
        """Whether the last turn was another's; leaves a note that this one is one's own."""
        try:
            last = file.read_text() if file.exists() else ""
            if last != self._name:
                file.write_text(self._name)
        except OSError:
            return True
        return last not in ("", self._name)
