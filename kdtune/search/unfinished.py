"""Makes Tune's trials: new ones, and those of an earlier process, which keep their id."""

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
        self._next_unfinished = getattr(searcher, "next_unfinished", lambda: None)

    def create_trial_if_possible(self, experiment_spec: dict[str, Any]) -> Trial | None:
        """The next trial; None if there is none now."""
        return self._again(experiment_spec) or self._new(experiment_spec)

    def _new(self, spec: dict[str, Any]) -> Trial | None:
        trial: Trial | None = super().create_trial_if_possible(spec)
        return trial or self._again(spec)  # The question may have begun a stage that has some.

    def _again(self, spec: dict[str, Any]) -> Trial | None:
        logged = self._next_unfinished()
        if logged is None:
            return None
        self._counter += 1
        return _again(logged, spec, self._parser)


def _again(logged: LoggedTrial, spec: dict[str, Any], parser: Any) -> Trial:
    trial: Trial = _create_trial_from_spec(
        {**spec, "config": {**spec["config"], **logged.config}},
        parser,
        evaluated_params=dict(logged.config),
        experiment_tag=f"again_{logged.trial_id}",
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
