"""Distill under Ray Tune as a user calls it, with kdtune's parts one by one."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState
from ray import tune
from ray.tune import CheckpointConfig

from kdtune.config import parse
from kdtune.search.callbacks import TrackingCallback
from kdtune.search.listed import ListedConfigs
from kdtune.search.optuna_sampler import OptunaSampler
from kdtune.search.samplers import StudyCallback, make_sampler
from kdtune.search.schedulers import make_scheduler
from kdtune.tracking import MLflowSink, default_tracking_uri
from kdtune.training.trial import WORST_LOSS, Trial
from search_spaces import quickstart
from trainables import Distill
from trainables.durable import FAILED_SAVES, RECOVERED

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

METRIC = "val/accuracy"
EPOCHS = 3
MEASURED = (
    *("val/", "train/", "weighted/", "prune/", "student/params", "companion/"),
    *("lr", "epoch", "finished", "diverged"),
)
"""What a report says of the trial itself, and not of time or of the process that ran it."""

Report = dict[str, float]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Overrides that make the quickstart space tiny; its one teacher is trained here."""
    overrides: dict[str, Any] = {
        "label_smoothing": 0.0,
        "teacher_epochs": 2,
        "teacher.full_epochs": 2,
        "teacher.store": str(tmp_path_factory.mktemp("teachers")),
        "data.train_limit": 300,
        "train.epochs": EPOCHS,
        "train.device": "cpu",
    }
    Trial(parse(quickstart.SPACE.with_overrides(overrides).config("kd", {})))
    return overrides


@pytest.fixture(scope="module")
def base(tiny: dict[str, Any]) -> dict[str, Any]:
    """One complete configuration."""
    drawn = {"temperature": 4.0, "alpha": 0.5, "augment": "none", "prune_ratio": 0.0}
    return dict(quickstart.SPACE.with_overrides(tiny).config("kd", drawn))


class Notes(tune.Callback):
    """What every trial reported, and in which process, by its place in the order."""

    def __init__(self) -> None:
        self.reports: dict[int, list[Report]] = {}
        self.pids: dict[int, set[int]] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        place = trials.index(trial)
        self.reports.setdefault(place, []).append(measured(result))
        self.pids.setdefault(place, set()).add(result["pid"])


def measured(result: Mapping[str, Any]) -> Report:
    return {key: value for key, value in result.items() if key.startswith(MEASURED)}


def undisturbed(config: Mapping[str, Any]) -> list[Report]:
    """What a trial reports without Ray, in this process."""
    trial = Trial(parse(config))
    reports = []
    while not trial.finished:
        reports.append(measured(trial.next_epoch()))
    return reports


def run_listed(
    configs: Sequence[Mapping[str, Any]],
    folder: Path,
    *callbacks: tune.Callback,
    at_once: int = 1,
    **settings: Any,
) -> tuple[Notes, list[Any]]:
    """Run the configurations in their order; notes, and Tune's trials."""
    notes = Notes()
    analysis = tune.run(
        Distill,
        search_alg=ListedConfigs(configs),
        scheduler=make_scheduler("none"),
        num_samples=len(configs),
        max_concurrent_trials=at_once,
        storage_path=str(folder),
        callbacks=[notes, *callbacks],
        raise_on_failed_trial=False,
        verbose=0,
        **settings,
    )
    return notes, list(analysis.trials)


PLAIN, CUT, DIVERGED, BAD, OTHER, AGAIN = range(6)
CUT_ALPHA = 0.25


@pytest.fixture(scope="module")
def mixed(base: dict[str, Any]) -> list[dict[str, Any]]:
    """Trials of every kind of end, and trials to follow them."""
    plain = {**base, "augment": "mixup", "prune_ratio": 0.5}
    return [
        plain,
        {**base, "alpha": CUT_ALPHA, "augment": "cutmix", "prune_ratio": 0.3},
        {**base, "train.lr": 1e30},
        {**base, "temprature": 2.0},
        {**base, "method": "crd", "method.negatives": 32, "augment": "cutmix_pick"},
        plain,
    ]


def _cut_early(trial_id: str, result: dict[str, Any]) -> bool:
    return result["config"]["alpha"] == CUT_ALPHA


@pytest.fixture(scope="module")
def reused(
    mixed: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory, ray_session: None
) -> tuple[Notes, list[Any]]:
    """All of ``mixed``, one after the other in as few actors as Tune manages."""
    folder = tmp_path_factory.mktemp("reused")
    return run_listed(mixed, folder, stop=_cut_early, reuse_actors=True)


def test_one_actor_runs_trial_after_trial(reused: tuple[Notes, list[Any]]) -> None:
    pids = reused[0].pids
    assert pids[PLAIN] == pids[CUT] == pids[DIVERGED]
    assert pids[OTHER] == pids[AGAIN]


def test_a_reused_actor_gives_the_bits_of_a_fresh_one(
    reused: tuple[Notes, list[Any]], mixed: list[dict[str, Any]], tmp_path: Path
) -> None:
    notes, _ = reused
    places = (CUT, DIVERGED, OTHER, AGAIN)
    configs = [mixed[place] for place in places]
    fresh, _ = run_listed(configs, tmp_path, stop=_cut_early, reuse_actors=False, at_once=2)
    assert len(set.union(*fresh.pids.values())) == len(places)
    assert [notes.reports[place] for place in places] == [fresh.reports[i] for i in range(4)]
    assert notes.reports[AGAIN] == notes.reports[PLAIN]
    assert len(notes.reports[PLAIN]) == EPOCHS
    assert len(notes.reports[CUT]) == 1


def test_an_actor_reports_what_the_trial_reports_without_ray(
    reused: tuple[Notes, list[Any]], mixed: list[dict[str, Any]]
) -> None:
    assert reused[0].reports[AGAIN] == undisturbed(mixed[AGAIN])


def test_a_diverged_trial_ends_with_finite_worst_values(
    reused: tuple[Notes, list[Any]],
) -> None:
    notes, trials = reused
    last = notes.reports[DIVERGED][-1]
    assert (last["diverged"], last["finished"]) == (1, 0)
    assert (last[METRIC], last["val/loss"]) == (0, WORST_LOSS)
    assert trials[DIVERGED].status == "TERMINATED"


def test_a_bad_configuration_is_its_trials_error_alone(
    reused: tuple[Notes, list[Any]],
) -> None:
    _, trials = reused
    assert [trials[place].status == "ERROR" for place in range(6)] == [
        place == BAD for place in range(6)
    ]
    text = Path(trials[BAD].error_file).read_text()
    assert "unknown key 'temprature' for method 'kd'; did you mean 'temperature'?" in text


class KillOnce(tune.Callback):
    """Kills the trial's process, as the system does when memory runs out.

    With ``damage``, a bit of the checkpoint that it had just written has tipped over as well.
    """

    def __init__(self, epoch: int, *, damage: bool) -> None:
        self.epoch = epoch
        self.damage = damage
        self.killed = 0

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        if trial.last_result["training_iteration"] == self.epoch and not self.killed:
            self.killed = trial.last_result["pid"]
            os.kill(self.killed, signal.SIGKILL)
            if self.damage:
                file = Path(trial.checkpoint.path, "trial.pt")
                content = bytearray(file.read_bytes())
                content[len(content) // 2] ^= 1
                file.write_bytes(content)


@pytest.mark.parametrize("damage", [pytest.param(False, marks=pytest.mark.drill), True])
def test_a_killed_trial_continues_from_its_last_sound_checkpoint_bit_for_bit(
    base: dict[str, Any], tmp_path: Path, damage: bool
) -> None:
    pruned = {"prune_ratio": 0.5, "prune.at": 0.4, "prune.phase": "self_distill"}
    config = {**base, "augment": "cutmix", **pruned}
    notes, trials = run_listed(
        [config],
        tmp_path,
        KillOnce(2, damage=damage),
        max_failures=1,
        checkpoint_config=CheckpointConfig(checkpoint_frequency=1),
    )
    assert trials[0].num_failures == 1
    assert len(notes.pids[0]) == 2
    expected = undisturbed(config)
    redone = expected[:2] if damage else expected[1:2]
    assert notes.reports[0] == [*expected[:2], *redone, *expected[2:]]
    assert ["prune/accuracy_after" in report for report in expected] == [False, True, True]
    assert trials[0].last_result["training_iteration"] == EPOCHS
    assert trials[0].last_result.get(RECOVERED) == (1 if damage else None)


class BlockStorage(tune.Callback):
    """After the first checkpoint, puts something in the way of all further ones."""

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        Path(trial.checkpoint.path).with_name("checkpoint_000001").touch()


def test_a_trial_whose_checkpoints_cannot_be_written_runs_to_its_end(
    base: dict[str, Any], tmp_path: Path
) -> None:
    every_epoch = CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=False)
    notes, (trial,) = run_listed([base], tmp_path, BlockStorage(), checkpoint_config=every_epoch)
    assert (trial.status, trial.num_failures) == ("TERMINATED", 0)
    assert notes.reports[0] == undisturbed(base)
    assert trial.last_result[FAILED_SAVES] == EPOCHS - 2
    assert Path(trial.checkpoint.path).name == "checkpoint_000000"


def test_tune_run_takes_the_space_and_the_scheduler(tiny: dict[str, Any], tmp_path: Path) -> None:
    analysis = tune.run(
        Distill,
        config=quickstart.SPACE.param_space(**tiny),
        num_samples=3,
        metric=METRIC,
        mode="max",
        scheduler=make_scheduler("asha", max_t=EPOCHS),
        storage_path=str(tmp_path),
        reuse_actors=True,
        verbose=0,
    )
    epochs = [trial.last_result["epoch"] for trial in analysis.trials]
    assert len(epochs) == 3
    assert max(epochs) == EPOCHS
    assert 0 < analysis.best_result[METRIC] <= 1
    assert analysis.best_config["augment"] in ("none", "standard", "mixup", "cutmix")


def test_a_tuner_takes_the_sampler(tiny: dict[str, Any], tmp_path: Path) -> None:
    sampler = make_sampler("tpe", quickstart.SPACE.with_overrides(tiny), seed=3)
    assert isinstance(sampler, OptunaSampler)
    tuner = tune.Tuner(
        Distill,
        tune_config=tune.TuneConfig(
            metric=METRIC, mode="max", search_alg=sampler, num_samples=3, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), callbacks=[StudyCallback(sampler)], verbose=0
        ),
    )
    grid = tuner.fit()
    assert not grid.errors
    assert [trial.state for trial in sampler.study.trials] == [TrialState.COMPLETE] * 3
    assert sorted(str(trial.value) for trial in sampler.study.trials) == sorted(
        str(result.metrics[METRIC]) for result in grid
    )


def test_a_tuner_takes_the_tracking(tiny: dict[str, Any], tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path)
    sink = MLflowSink(tracking_uri=uri, experiment="mine", run_name="sweep", source=tmp_path)
    space = quickstart.SPACE.param_space(**tiny)
    tuner = tune.Tuner(
        Distill,
        param_space={**space, "temperature": tune.grid_search([2, 4.0])},
        tune_config=tune.TuneConfig(metric=METRIC, mode="max", reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), callbacks=[TrackingCallback(sink)], verbose=0
        ),
    )
    assert not tuner.fit().errors
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"sweep", "trial 0", "trial 1"}
    assert all(run.data.tags["outcome"] == "finished" for run in runs.values())
    assert [runs[f"trial {i}"].data.params["temperature"] for i in range(2)] == ["2.0", "4.0"]
    points = client.get_metric_history(runs["trial 1"].info.run_id, METRIC)
    assert [point.step for point in points] == [1, 2, 3]
