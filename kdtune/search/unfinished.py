"""Makes Tune's trials: new ones, and those of an earlier process, which keep their id."""

from collections.abc import Callable
from typing import Any

from pyarrow.fs import FileType
from ray.air.constants import TRAINING_ITERATION
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.tune.search.search_generator import SearchGenerator

from kdtune.search.log import LoggedTrial, Saved


class TrialSource(SearchGenerator):
    """Before anything new, the trials that the searcher knows to be unfinished.

    One of those has the id, and so the folder and the MLflow run, that it had before, and starts
    from its last checkpoint. Ray offers no such door: its restore brings back all trials or none.

    Args:
        searcher: Suggests; one with a method ``next_unfinished`` also names unfinished trials.
        limiter: The same within its limit of concurrent trials, from which Tune reads how many
            trials it may place at once.
    """

    def __init__(self, searcher: Searcher, limiter: ConcurrencyLimiter) -> None:
        super().__init__(limiter)
        self._next_unfinished: Callable[[], LoggedTrial | None]
        self._next_unfinished = getattr(searcher, "next_unfinished", lambda: None)
        self._first: LoggedTrial | None = None

    def begin(self) -> bool:
        """Whether there is a first trial. Tune breaks off if a run without any is over."""
        self._first = self._next()
        return self._first is not None

    def create_trial_if_possible(self, experiment_spec: dict[str, Any]) -> Trial | None:
        """The next trial; None if there is none now."""
        self._first, found = None, self._first or self._next()
        if found is None:
            return None
        self._counter += 1
        return _made(found, experiment_spec, self._parser)

    def _next(self) -> LoggedTrial | None:
        again = self._next_unfinished()
        if again is not None:
            return again
        trial_id = str(Trial.generate_id())  # type: ignore[no-untyped-call]
        config: Any = self.searcher.suggest(trial_id)
        if config == Searcher.FINISHED:
            self._finished = True
            return None
        if config is None:
            return self._next_unfinished()  # The question may have begun a stage that has some.
        return LoggedTrial(trial_id=trial_id, leg="", config=config)


def _made(logged: LoggedTrial, spec: dict[str, Any], parser: Any) -> Trial:
    trial: Trial = _create_trial_from_spec(
        {**spec, "config": {**spec["config"], **logged.config}},
        parser,
        evaluated_params=dict(logged.config),
        experiment_tag=logged.trial_id,
        trial_id=logged.trial_id,
    )
    # Its folder has no name before.
    trial.init_local_path()  # type: ignore[no-untyped-call]
    for saved in logged.checkpoints:
        _register(trial, saved)
    return trial


def _register(trial: Trial, saved: Saved) -> None:
    """Let Tune know of a checkpoint, unless it was deleted for later ones."""
    storage, known = trial.storage, trial.run_metadata.checkpoint_manager
    assert storage is not None
    assert known is not None
    path, files = f"{storage.trial_fs_path}/{saved.checkpoint}", storage.storage_filesystem
    storage.current_checkpoint_index = int(saved.checkpoint.rpartition("_")[2])
    if files.get_file_info(path).type is FileType.Directory:
        done = {TRAINING_ITERATION: saved.iteration}
        known.register_checkpoint(_TrainingResult(Checkpoint(path, files), done))
