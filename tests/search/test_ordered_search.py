"""Whole searches on a real Ray: what is searched must not depend on how fast trials run."""

import random
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray import tune
from ray.tune.experiment import Trial

from kdtune.search.optuna_sampler import OptunaSampler
from kdtune.search.samplers import StudyCallback, make_sampler
from kdtune.search.schedulers import make_scheduler
from kdtune.search.space import Arm, Choice, Float, Recipe, Space

pytestmark = pytest.mark.ray
METRIC = "val/accuracy"
EPOCHS = 9
SPACE = Space(
    name="toy",
    summary="Two arms.",
    axes={"shape": Choice((0.5, 1.0, 2.0))},
    arms=(
        Arm(method="kd", axes={"alpha": Float(0, 1), "temperature": Float(1, 16, log=True)}),
        Arm(method="at", axes={"method.beta": Float(1, 100, log=True)}),
    ),
    recipes=(
        Recipe(
            name="soft",
            source="a paper",
            values={"method": "kd", "shape": 1.0, "alpha": 0.9, "temperature": 4},
        ),
    ),
)
Curve = tuple[tuple[tuple[str, Any], ...], tuple[float, ...]]


@pytest.fixture(autouse=True)
def _quick_ray(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")


def trainable(pace: int, slowest: float = 0.05) -> type[tune.Trainable]:
    """A trial whose values follow from its configuration and whose speed does not.

    Defined here, inside a function, so that it travels to the workers by value.
    """

    class Toy(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.settings = config
            chance = random.Random(f"{pace} {sorted(config.items())}")
            self.delay = chance.choice((0.0, slowest))

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return new_config.get("fault") != "refuse"

        def step(self) -> dict[str, Any]:
            fault = self.settings.get("fault")
            time.sleep(self.delay)
            epoch = max(0, self.iteration + 1 - self.settings.get("warmup", 0))
            if fault == "raise" and epoch == 3:
                raise RuntimeError("on purpose")
            quality = self.settings.get("alpha", self.settings.get("method.beta", 50) / 100)
            value = quality * (1 - 0.8 ** (epoch * self.settings.get("shape", 1.0)))
            if fault == "nan" and epoch == 2:
                value = float("nan")
            report = {"val/accuracy": value, "epoch": float(epoch)}
            report |= {"finished": int(epoch == 9), "done": epoch == 9}
            if fault == "silent":
                del report["val/accuracy"]
            return report

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            return {}

        def load_checkpoint(self, checkpoint: object) -> None:
            pass

    return Toy


class Curves(tune.Callback):
    """All values of all trials, in the order in which the trials were added."""

    def __init__(self) -> None:
        self.values: dict[str, dict[int, float]] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.completed: list[str] = []
        self.most_at_once = 0

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.completed.append(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.configs[trial.trial_id] = trial.config
        running = sum(t.status == Trial.RUNNING for t in trials)
        self.most_at_once = max(self.most_at_once, running)
        epoch = result["training_iteration"]
        self.values.setdefault(trial.trial_id, {})[epoch] = result.get(METRIC, float("nan"))

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self.order = [trial.trial_id for trial in trials]

    def curves(self) -> list[Curve]:
        return [
            (
                tuple(sorted(self.configs[trial_id].items())),
                tuple(value for _, value in sorted(self.values[trial_id].items())),
            )
            for trial_id in self.order
            if trial_id in self.configs
        ]


def search(folder: Path, pace: int, sampler: Any, scheduler: Any, **settings: Any) -> Curves:
    curves = Curves()
    defaults: dict[str, Any] = {"num_samples": 16, "reuse_actors": True}
    # Without a limit of its own, Tune lets one trial at a time wait for an actor.
    defaults["max_concurrent_trials"] = sampler.max_concurrent
    tune.run(
        trainable(pace, settings.pop("slowest", 0.05)),
        search_alg=sampler,
        scheduler=scheduler,
        callbacks=[curves, StudyCallback(sampler)],
        storage_path=str(folder),
        name=f"pace{pace}",
        verbose=0,
        raise_on_failed_trial=False,
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        **{**defaults, **settings},
    )
    return curves


def summary(study: optuna.Study) -> list[object]:
    return [(t.params, t.state, t.value, t.intermediate_values) for t in study.trials]


def tpe(**settings: Any) -> OptunaSampler:
    sampler = make_sampler("tpe", SPACE, seed=1, **{"max_concurrent": 2, **settings})
    assert isinstance(sampler, OptunaSampler)
    return sampler


def test_the_same_seed_gives_the_same_search_however_long_epochs_take(tmp_path: Path) -> None:
    searches, found, ends = [], [], []
    for pace in (1, 2):
        sampler = tpe(max_concurrent=3)
        scheduler = make_scheduler("asha", max_t=EPOCHS, brackets=2, seed=1)
        curves = search(tmp_path, pace, sampler, scheduler)
        assert curves.most_at_once > 1
        searches.append((curves.curves(), summary(sampler.study)))
        found.append(sampler.study.trials)
        ends.append([curves.order.index(trial_id) for trial_id in curves.completed])
    assert searches[0] == searches[1]
    assert ends[0] != ends[1], "the two searches ran at the same pace and show nothing"
    assert ends[0] != sorted(ends[0])

    curves_of_all = searches[0][0]
    assert len(curves_of_all) == len(found[0]) == 16
    assert {len(values) for _, values in curves_of_all} >= {1, EPOCHS}
    for (config, values), trial in zip(curves_of_all, found[0], strict=True):
        arm = {"arm": dict(config)["method"]}
        assert {**dict(config), **arm}.items() >= trial.params.items()
        complete = len(values) == EPOCHS
        assert trial.state is (TrialState.COMPLETE if complete else TrialState.PRUNED)
        assert tuple(trial.intermediate_values.values()) == values
        assert trial.value == values[-1]
    assert found[0][0].params == SPACE.points_to_evaluate()[0]


def test_bad_trials_end_neither_the_search_nor_its_books(tmp_path: Path) -> None:
    faults = ("raise", "nan", "silent", "refuse")
    space = Space(
        name="faults",
        summary="",
        axes={"fault": Choice(("", *faults)), "alpha": Float(0, 1)},
        arms=(Arm(method="kd"),),
        recipes=tuple(
            Recipe(name=f"{i} {fault}", source="", values={"fault": fault, "alpha": 0.9})
            for i, fault in enumerate(("", "", "nan", "silent", "refuse", "raise"))
        ),
    )
    sampler = OptunaSampler(space, seed=0, max_concurrent=2)
    scheduler = make_scheduler("asha", max_t=EPOCHS)
    search(tmp_path, 4, sampler, scheduler, num_samples=8, slowest=0.01, max_failures=1)
    trials = sampler.study.trials
    assert len(trials) == 8
    assert all(trial.state.is_finished() for trial in trials)
    assert [trial.state for trial in trials[2:6]] == [TrialState.FAIL] * 4
    assert trials[0].state is TrialState.COMPLETE


def test_a_warm_up_neither_ends_a_trial_nor_shortens_it(tmp_path: Path) -> None:
    space = Space(
        name="warm",
        summary="",
        axes={"alpha": Float(0, 1)},
        arms=(
            Arm(method="kd", fixed={"warmup": 0}),
            Arm(method="fitnet", fixed={"warmup": 3}),
        ),
        recipes=(Recipe(name="best", source="", arm="fitnet", values={"alpha": 1.0}),),
    )
    sampler = OptunaSampler(space, seed=0, max_concurrent=2)
    scheduler = make_scheduler("asha", max_t=EPOCHS)
    curves = search(tmp_path, 7, sampler, scheduler, num_samples=12, slowest=0.01)
    reports = {name: max(values) for name, values in curves.values.items()}
    warm = [n for name, n in reports.items() if curves.configs[name]["warmup"]]
    assert set(warm) <= {3 + 1, 3 + 3, 3 + EPOCHS}
    assert 3 + EPOCHS in warm
    assert min(reports.values()) == 1, "no trial was cut and nothing is shown"
    for trial in sampler.study.trials:
        assert set(trial.intermediate_values) in ({1}, {1, 2, 3}, set(range(1, EPOCHS + 1)))


class _StopAll(tune.Stopper):
    """What a time budget does, after a number of reports."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.left -= 1
        return False

    def stop_all(self) -> bool:
        return self.left <= 0


def test_a_stop_of_everything_leaves_no_trial_running(tmp_path: Path) -> None:
    sampler = tpe()
    search(tmp_path, 5, sampler, make_scheduler("asha", max_t=EPOCHS), stop=_StopAll(5))
    states = {trial.state for trial in sampler.study.trials}
    assert TrialState.RUNNING not in states
    assert TrialState.PRUNED in states


@pytest.mark.slow
@pytest.mark.parametrize("name", ["median", "hyperband", "none"])
def test_rays_own_schedulers_run_under_an_ordered_sampler(name: str, tmp_path: Path) -> None:
    sampler = tpe(max_concurrent=3)
    search(tmp_path, 6, sampler, make_scheduler(name, max_t=EPOCHS), num_samples=8, slowest=0.01)
    assert len(sampler.study.trials) == 8
    assert all(trial.state.is_finished() for trial in sampler.study.trials)
