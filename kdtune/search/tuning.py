"""The one call of Ray Tune, with the settings that every search needs."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ray import tune
from ray.air._internal import usage
from ray.tune import Callback, CheckpointConfig
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher

from kdtune.search.cluster import Share
from kdtune.search.interruption import Interruption
from kdtune.search.substitution import substituted
from kdtune.search.unfinished import TrialSource

CHECKPOINTS_KEPT = 2
"""Of each trial: the last one, and one in case that it is damaged."""

FOLDER = "tune"
"""Of Tune's own files, in the folder of a search."""


def run_tune(
    trainable: type[tune.Trainable],
    *,
    storage: str,
    searcher: Searcher,
    scheduler: TrialScheduler,
    trials: int,
    share: Share,
    callbacks: Sequence[Callback],
    interruption: Interruption,
    retries: int,
) -> None:
    """Run trials in ``storage/tune`` until the searcher has no more, or an interruption.

    A failed trial is tried again ``retries`` times, from its last checkpoint; nothing that a trial
    does ends the run. Trainables say themselves when they want a checkpoint.

    Args:
        trainable: What runs a trial.
        storage: Folder of the search, or its URI.
        searcher: Hands out configurations.
        scheduler: Decides which trials go on.
        trials: How many there are at most.
        share: A trial's share of the cluster.
        callbacks: Told of everything.
        interruption: Ends the run.
        retries: How often a trial may fail and be tried again.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    # Its snapshots of the whole experiment are read by nobody: a search goes on from its log.
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    source = TrialSource(searcher, ConcurrencyLimiter(searcher, share.concurrency))
    if not source.begin():
        return
    with _spared():
        tune.run(
            tune.with_resources(trainable, share.resources),
            name=FOLDER,
            storage_path=storage,
            search_alg=source,
            scheduler=scheduler,
            num_samples=trials,
            reuse_actors=True,
            max_failures=retries,
            raise_on_failed_trial=False,
            checkpoint_config=CheckpointConfig(
                checkpoint_at_end=False, num_to_keep=CHECKPOINTS_KEPT
            ),
            stop=interruption,
            trial_dirname_creator=_folder_name,
            callbacks=list(callbacks),
            verbose=0,
        )


@contextmanager
def _spared() -> Iterator[None]:
    """Keep Tune from work that helps nobody here.

    At its start it imports MLflow, which takes a second, to count callbacks of its own. At its end
    it describes every trial in a snapshot that no search is restored from.
    """
    with (
        substituted(usage, "tag_callbacks", lambda callbacks: False),
        substituted(TuneController, "_get_trial_checkpoints", lambda controller: {}),
    ):
        yield


def _folder_name(trial: Trial) -> str:
    """A trial's folder goes by its id, which is also a tag of its MLflow run."""
    return str(trial.trial_id)
