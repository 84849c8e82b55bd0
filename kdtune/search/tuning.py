"""The one call of Ray Tune, with the settings that every search needs."""

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune
from ray.tune import Callback, CheckpointConfig, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from kdtune.search.cluster import Share

CHECKPOINT_EVERY = 10
"""Epochs between the checkpoints that a retried trial continues from."""


class Interruption(Stopper):
    """Ends a Tune run in order when somebody asks for it: Ctrl-C, SIGTERM."""

    def __init__(self) -> None:
        self.signal = 0

    def request(self, signal_number: int) -> None:
        """Stop every trial at the next step of the driver."""
        self.signal = signal_number

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No report ends its trial."""
        return False

    def stop_all(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal != 0


@contextmanager
def stopped_by_signals(interruption: Interruption) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into an orderly stop; a second one acts at once.

    Ray installs a handler of its own when it starts, so this belongs inside the connection, too.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        interruption.request(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_tune(
    trainable: type[tune.Trainable],
    *,
    folder: Path,
    searcher: Searcher,
    scheduler: TrialScheduler,
    trials: int,
    share: Share,
    callbacks: Sequence[Callback],
    interruption: Interruption,
) -> None:
    """Run trials in ``folder / "tune"`` until the searcher has no more, or an interruption.

    A failed trial is tried again once; nothing that a trial does ends the run.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    tune.run(
        tune.with_resources(trainable, {"cpu": share.cpus, "gpu": share.gpus}),
        name="tune",
        storage_path=str(folder),
        search_alg=searcher,
        scheduler=scheduler,
        num_samples=trials,
        max_concurrent_trials=share.concurrency,
        reuse_actors=True,
        max_failures=1,
        raise_on_failed_trial=False,
        checkpoint_config=CheckpointConfig(
            checkpoint_frequency=CHECKPOINT_EVERY, checkpoint_at_end=False, num_to_keep=2
        ),
        stop=interruption,
        trial_dirname_creator=_folder_name,
        callbacks=list(callbacks),
        verbose=0,
    )


def _folder_name(trial: Trial) -> str:
    """A trial's folder goes by its id, which is also a tag of its MLflow run."""
    return str(trial.trial_id)
