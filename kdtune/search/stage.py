"""One Tune run of a stage: teachers, search or finalists."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, CheckpointConfig, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

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
        return False

    def stop_all(self) -> bool:
        return self.signal != 0


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial gets, and how many trials run at once."""

    cpus: int
    gpus: float
    concurrency: int


def run_stage(
    trainable: type[tune.Trainable],
    *,
    name: str,
    folder: Path,
    searcher: Searcher,
    trials: int,
    resources: Resources,
    callbacks: Sequence[Callback],
    interruption: Interruption,
    scheduler: TrialScheduler | None = None,
    metric: str | None = None,
    mode: str | None = None,
    checkpoint_at_end: bool = False,
    time_budget_s: float | None = None,
) -> list[Trial]:
    """Run a stage to its end, its budget or an interruption, and return its trials in order.

    A failed trial is tried again once; nothing a trial does ends the stage.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    analysis = tune.run(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        name=name,
        storage_path=str(folder),
        search_alg=searcher,
        scheduler=scheduler,
        metric=metric,
        mode=mode,
        num_samples=trials,
        max_concurrent_trials=resources.concurrency,
        reuse_actors=True,
        max_failures=1,
        raise_on_failed_trial=False,
        checkpoint_config=CheckpointConfig(
            checkpoint_frequency=CHECKPOINT_EVERY,
            checkpoint_at_end=checkpoint_at_end,
            num_to_keep=2,
        ),
        stop=interruption,
        time_budget_s=time_budget_s,
        callbacks=list(callbacks),
        verbose=0,
    )
    return list(analysis.trials)
