"""What all trainables share: checkpoints that come by the clock, are verified, and never kill."""

import json
import logging
import tempfile
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Protocol, TypeVar

from pyarrow import fs
from ray import tune
from ray.train import Checkpoint
from ray.train._internal.session import _TrainingResult
from ray.tune.result import SHOULD_CHECKPOINT, TIME_TOTAL_S

from kdtune.training.checkpoint import DamagedCheckpoint, check_seal, seal
from kdtune.training.memory import free_memory

CHECKPOINT_S = 30.0
"""Seconds of training between two checkpoints, at least."""

SAVING_SHARE = 0.02
"""Of the time that may go into saving; where a save is slow, checkpoints are rarer."""

ITERATION = "training_iteration"
"""What Ray calls the number of reports so far."""

COUNTERS = "counters.json"
"""The file of a checkpoint that says how many reports came before it, and what the last one was."""

REPORT = "report"
"""Its entry for the last report."""

RECOVERED = "checkpoint/recovered_epoch"
FAILED_SAVES = "checkpoint/failed_saves"

logger = logging.getLogger(__name__)


class Work(Protocol):
    """What is trained: advances by epochs, and is saved and restored between two of them."""

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


T = TypeVar("T", bound=Work)


class Durable(tune.Trainable, Generic[T]):
    """A trainable that survives what clusters do to it.

    Actors may be reused (``reuse_actors=True``): the work is built afresh from its configuration in
    the first step, so nothing of an earlier trial can leak in, and a bad configuration is that
    trial's error alone.

    Checkpoints are asked for by time, at the first report after :data:`CHECKPOINT_S` seconds, and
    so rarely that saving takes about :data:`SAVING_SHARE` of the time. One that cannot be written
    is told, as a warning and as ``checkpoint/failed_saves`` in the reports, and training goes on:
    the checkpoint before stays, and it is only more work that a restart would do again. A
    subclass can name checkpoints that must not be missed.

    Before a checkpoint is used, all of its files are verified. In place of a damaged or missing one
    the newest sound one beside it is used, and without any the trial starts again; reports
    then have ``checkpoint/recovered_epoch``, the number of the report that it went on from.

    A trial that goes on makes the last report before its checkpoint once more. Who decides on
    trials may not have answered it yet: a trial that is cut there must not run on by an epoch.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration; the work starts with the first step."""
        self._flat = dict(config)
        self._trial: T | None = None
        self._facts: dict[str, float] = {}
        self._reported: dict[str, Any] = {}
        self._again: dict[str, Any] = {}
        self.latest: Checkpoint | None = None  # The last one that was written or read.
        self._saved_at = time.monotonic()
        self._saving_s = 0.0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become the trial of ``new_config``; never refuses, as a refusal can hang Tune."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Let go of the memory, on the device too."""
        self._trial = None
        free_memory()

    @abstractmethod
    def build(self) -> T:
        """The work that the configuration describes.

        Raises:
            ValueError: If the configuration, the data or the teacher are not valid.
        """

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Train one epoch; what Tune is told of it."""

    @property
    def trial(self) -> T:
        """The running work, built when it is first asked for; raises as :meth:`build`."""
        if self._trial is None:
            self._trial = self.build()
        return self._trial

    @property
    def must_save(self) -> bool:
        """Whether a checkpoint that cannot be written now is the trial's error."""
        return False

    def step(self) -> dict[str, Any]:
        """One epoch, or the last report before the checkpoint that this trial goes on from."""
        if self._again:
            self._reported, self._again = {**self._again, **self._facts}, {}
            return dict(self._reported)
        self._reported = {**self.report(), **self._facts}
        if not self._reported.get("done") and self._is_due():
            return {**self._reported, SHOULD_CHECKPOINT: True}
        return dict(self._reported)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the whole state, and the manifest by which it can be verified."""
        folder = Path(checkpoint_dir)
        self.trial.save(folder)
        self.save_more(folder)
        reported = {k: v for k, v in self._reported.items() if k != SHOULD_CHECKPOINT}
        counters = {ITERATION: self._iteration, TIME_TOTAL_S: self._time_total, REPORT: reported}
        (folder / COUNTERS).write_text(json.dumps(counters))
        seal(folder)

    def save_more(self, folder: Path) -> None:
        """Write what else belongs into this checkpoint; by default nothing."""

    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Save, to Tune's storage if there is one; without a checkpoint if that failed.

        Raises:
            OSError: If this one must not be missed.
        """
        start = time.monotonic()
        try:
            result = self._saved(checkpoint_dir)
            self.latest = result.checkpoint
        except (OSError, RuntimeError) as error:
            self._tell_failure(error)
            # Tune takes this for "nothing new", and does what it was about to do after the save.
            result = _TrainingResult(checkpoint=None, metrics={})
        self._saved_at = time.monotonic()
        self._saving_s = self._saved_at - start
        return result

    def restore(self, checkpoint_path: str | Checkpoint | _TrainingResult) -> None:
        """Go on from a checkpoint, bit for bit, or from the newest sound one beside it.

        Unlike Ray's own, it unpickles nothing that lies in the folder.

        Raises:
            ConfigError: If the checkpoint is of another trial.
            OSError: If the storage cannot be read.
        """
        match checkpoint_path:
            case str(path):
                asked: Checkpoint | None = Checkpoint.from_directory(path)
            case _TrainingResult(checkpoint=asked) | asked:
                pass
        counters = self.load_newest(asked)
        self._again = counters.get(REPORT, {})
        # Ray counts the report that comes again once more.
        self._iteration = counters[ITERATION] - bool(self._again)
        self._time_total = counters[TIME_TOTAL_S]
        self._time_since_restore, self._iterations_since_restore = 0.0, 0
        self._restored = True

    def load_newest(self, asked: Checkpoint | None) -> dict[str, Any]:
        """Take the state of ``asked``, or else of the next that is sound; of none, start again.

        Returns:
            ``training_iteration`` and ``time_total_s`` of that state, and the last report.
        """
        damaged = False
        for checkpoint in [] if asked is None else _newest_first(asked):
            try:
                counters = self._loaded(checkpoint)
            except (DamagedCheckpoint, FileNotFoundError) as error:
                damaged = True
                logger.warning("trial %s: checkpoint not used: %s", self.trial_id, error)
            else:
                self.latest = checkpoint
                break
        else:
            self.latest = None
            self.cleanup()
            counters = {ITERATION: 0, TIME_TOTAL_S: 0.0}
        self._saved_at = time.monotonic()
        if damaged:
            self._facts[RECOVERED] = float(counters[ITERATION])
            logger.warning("trial %s: goes on after report %d", self.trial_id, counters[ITERATION])
        return counters

    def _loaded(self, checkpoint: Checkpoint) -> dict[str, Any]:
        work = self.trial
        with checkpoint.as_directory() as place:
            folder = Path(place)
            check_seal(folder)
            counters: dict[str, Any] = json.loads((folder / COUNTERS).read_text())
            work.load(folder)
        return counters

    def _is_due(self) -> bool:
        seconds = time.monotonic() - self._saved_at
        return seconds >= max(CHECKPOINT_S, self._saving_s / SAVING_SHARE)

    def _saved(self, checkpoint_dir: str | None) -> _TrainingResult:
        storage = self._storage
        if checkpoint_dir is not None or storage is None:
            return super().save(checkpoint_dir)
        index = storage.current_checkpoint_index
        try:
            with tempfile.TemporaryDirectory(prefix="checkpoint_") as folder:
                return super().save(folder)
        except BaseException:
            if storage.current_checkpoint_index != index:
                # Half of it may be there: it would never be used, but it fills a full disk.
                with suppress(OSError):
                    storage.storage_filesystem.delete_dir(storage.checkpoint_fs_path)
                # Tune's own count stays, too; a gap would let a restarted trial overwrite others.
                storage.current_checkpoint_index = index
            raise

    def _tell_failure(self, error: Exception) -> None:
        place = "its folder" if self._storage is None else f"'{self._storage.trial_fs_path}'"
        text = (
            f"trial {self.trial_id}: the checkpoint after report {self._iteration} could not be "
            f"written to {place} ({error})"
        )
        if self.must_save:
            raise OSError(f"{text}; what it holds would be lost, so free space there") from error
        self._facts[FAILED_SAVES] = self._facts.get(FAILED_SAVES, 0.0) + 1
        kept = "the checkpoint before it is kept" if self.latest else "there is none before it"
        logger.warning("%s; %s, and training goes on", text, kept)


def _newest_first(asked: Checkpoint) -> Iterator[Checkpoint]:
    """``asked``, and then the others of its trial, which lie beside it."""
    yield asked
    path, filesystem = PurePosixPath(asked.path), asked.filesystem
    assert filesystem is not None
    found = filesystem.get_file_info(fs.FileSelector(str(path.parent), allow_not_found=True))
    for info in sorted(found, key=lambda info: str(info.base_name), reverse=True):
        if info.base_name.startswith("checkpoint_") and info.base_name != path.name:
            yield Checkpoint(info.path, filesystem)
