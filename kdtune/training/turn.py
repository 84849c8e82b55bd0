"""Whose turn it is to train a teacher that several trials or searches ask for at once."""

from contextlib import ExitStack
from typing import Any

from kdtune.config import TrialConfig, apart
from kdtune.teachers.store import TeacherRecord, TeacherStore, key_of
from kdtune.training.device import resolve_device
from kdtune.training.teacher import identity_of


class Turn:
    """The right to train all teachers that one trial publishes, each given back as it is stored.

    Taking it waits for whoever trains one of them. All take the latest snapshot first, so that two
    who want several never wait for each other.

    Args:
        trial: Of the teacher.

    Attributes:
        stored: The one report of a trial whose teachers are all stored by now, so that it has
            nothing left to train; empty if it has.

    Raises:
        StorageError: If the store cannot be written.
    """

    def __init__(self, trial: TrialConfig) -> None:
        store = TeacherStore(trial.store)
        device = resolve_device(trial.train.device).type
        keys = [key_of(identity_of(each, device)) for each in apart(trial)]
        self._held = {key: ExitStack() for key in keys}
        self.stored: dict[str, Any] = {}
        with ExitStack() as unless_trained:
            unless_trained.callback(self.close)
            for key in reversed(keys):
                self._held[key].enter_context(store.lock(key))
            if all(key in store for key in keys):
                self.stored = _report(trial, keys[-1], store.record(keys[-1]))
            else:
                unless_trained.pop_all()

    def over(self, key: str) -> None:
        """Let others have the teacher ``key``, which is stored."""
        self._held[key].close()

    def close(self) -> None:
        """Let others have all of them."""
        for held in self._held.values():
            held.close()


def _report(trial: TrialConfig, key: str, record: TeacherRecord) -> dict[str, Any]:
    return {
        "val/accuracy": record.val_accuracy,
        "epoch": float(trial.train.published[-1]),
        "from_store": 1.0,
        "finished": 1.0,
        "diverged": 0.0,
        "teacher_key": key,
    }
