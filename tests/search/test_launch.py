"""Whole searches through the command line, from what is typed to what is kept."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import TrialState
from safetensors.torch import save_file
from searching import SMALL, WHOLE, named, of_kind, one_line, read, runs_in, search

from kdtune.config import decode, parse, teacher_trial
from kdtune.search import launch as launching
from kdtune.search import legs
from kdtune.search.optuna_sampler import OptunaSampler
from kdtune.search.requesting import build_request
from kdtune.search.samplers import StudyCallback
from kdtune.search.session import run_search
from kdtune.search.space import Arm, Choice, Recipe, Space
from kdtune.tracking import default_tracking_uri
from kdtune.training.trial import Trial

pytestmark = [pytest.mark.ray, pytest.mark.slow]


ARMS = ["finalist 1", "no teacher", "published recipe"]


@pytest.fixture(scope="module")
def searched(storage: Path) -> Result:
    """One whole search, called ``first``."""
    return search(storage, "--name", "first", *WHOLE)


@pytest.fixture(scope="module")
def runs(searched: Result, storage: Path) -> list[Run]:
    return runs_in(storage)


def test_a_search_ends_well_and_says_where_its_results_lie(searched: Result, storage: Path) -> None:
    assert searched.exit_code == 0, searched.output
    for text in ("Leaderboard: 4 of 4 trials", *ARMS, f"Results:   {storage / 'first'}"):
        assert text in searched.output
    assert re.search(rf"MLflow UI: \S+ ui --storage {storage}", searched.output)


def test_the_leaderboard_ranks_every_trial(searched: Result, storage: Path) -> None:
    rows = read(storage, "first")
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert sorted(row["trial"] for row in rows) == [0, 1, 2, 3]
    finished = [row["val/accuracy"] for row in rows if row["outcome"] == "finished"]
    assert finished == sorted(finished, reverse=True)
    assert all((row["outcome"], row["epoch"]) in {("finished", 2), ("cut", 1)} for row in rows)
    with (storage / "first" / "leaderboard.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [{k: str(v) for k, v in row.items()} for row in rows] == table


def test_tunes_own_snapshot_does_not_grow_with_the_trials(searched: Result, storage: Path) -> None:
    (snapshot,) = (storage / "first" / "tune").glob("experiment_state-*.json")
    assert json.loads(snapshot.read_text())["trial_data"] == []


def test_finalists_and_baselines_are_tested_with_every_seed(
    searched: Result, storage: Path
) -> None:
    rows = {row["arm"]: row for row in read(storage, "first", "finalists")}
    assert list(rows) == [*ARMS, "teacher"]
    assert [rows[arm]["test/accuracy_n"] for arm in (*ARMS, "teacher")] == [2, 2, 2, 1]
    assert all(0 <= row["test/accuracy_mean"] <= 1 for row in rows.values())
    best = read(storage, "first")[0]
    axes = ("temperature", "alpha", "augment", "prune_ratio")
    assert all(rows["finalist 1"][axis] == best[axis] for axis in axes)
    assert (rows["published recipe"]["temperature"], rows["published recipe"]["alpha"]) == (4, 0.9)
    assert rows["no teacher"]["method"] == "scratch"
    gain = rows["finalist 1"]["test/accuracy_mean"] - rows["no teacher"]["test/accuracy_mean"]
    assert rows["finalist 1"]["difference"] == pytest.approx(gain)


def test_mlflow_holds_one_ended_run_for_everything(runs: list[Run]) -> None:
    (parent,) = of_kind(runs, "search").values()
    children = [run for run in runs if run is not parent]
    assert set(of_kind(runs, "teacher")) == {"teacher 1"}
    assert set(of_kind(runs, "trial")) == {f"trial {i}" for i in range(4)}
    finals = {f"{arm}, seed {seed}" for arm in ARMS for seed in (1, 2)}
    assert set(of_kind(runs, "finalist", "baseline")) == finals
    assert len(children) == 1 + 4 + len(finals)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(run.info.end_time >= run.info.start_time for run in runs)
    assert parent.data.tags["outcome"] == "finished"
    assert parent.data.params["search.trials"] == "4"
    assert "search/best_val_accuracy" in parent.data.metrics


def test_runs_are_tagged_with_how_they_ended(runs: list[Run], storage: Path) -> None:
    outcomes = {f"trial {row['trial']}": row for row in read(storage, "first")}
    for name, run in of_kind(runs, "trial").items():
        tags, row = run.data.tags, outcomes[name]
        assert tags["outcome"] == row["outcome"]
        assert tags.get("cut_epoch") == ("1" if row["outcome"] == "cut" else None)
        assert (tags["space"], tags["method"], tags["dataset"]) == ("quickstart", "kd", "digits")
        assert (tags["teacher"], tags["student"]) == ("resnet8", "resnet8x0.125")


def test_parameters_have_one_name_and_one_way_to_be_written(runs: list[Run]) -> None:
    published = of_kind(runs, "baseline")["published recipe, seed 1"].data.params
    assert (published["temperature"], published["prune_ratio"]) == ("4.0", "0.0")
    assert (published["train.epochs"], published["train.nesterov"]) == ("2", "true")
    distilled = [*of_kind(runs, "trial").values(), *of_kind(runs, "finalist").values()]
    conditional = ("augment.", "prune.")  # there only where images are mixed, or pruning is done
    shared = {key for key in published if not key.startswith(conditional)}
    for run in distilled:
        assert {k for k in run.data.params if not k.startswith(conditional)} == shared
    for run in (*distilled, *of_kind(runs, "teacher", "baseline").values()):
        values = decode(run.data.params)
        assert parse(values).flat() == values
        assert run.data.params == {key: _written(value) for key, value in values.items()}


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_metrics_are_kept_for_every_epoch(runs: list[Run], storage: Path) -> None:
    client = MlflowClient(tracking_uri=default_tracking_uri(storage))
    for run in of_kind(runs, "trial", "teacher", "finalist", "baseline").values():
        epochs = 1 if run.data.tags["outcome"] == "cut" else 2
        for metric in ("val/accuracy", "val/loss", "train/loss", "lr", "time/epoch_s"):
            points = client.get_metric_history(run.info.run_id, metric)
            assert [point.step for point in points] == list(range(1, epochs + 1))
        assert run.data.metrics["best/epoch"] in (1, 2)


def test_nothing_of_test_enters_the_search(runs: list[Run]) -> None:
    for run in of_kind(runs, "search", "trial", "teacher").values():
        assert not [name for name in run.data.metrics if "test" in name]
    for run in of_kind(runs, "finalist", "baseline").values():
        assert "test/accuracy" in run.data.metrics


def test_the_same_seed_gives_the_same_search(
    searched: Result, storage: Path, tmp_path: Path
) -> None:
    assert search(tmp_path, "--name", "again", *WHOLE).exit_code == 0
    assert read(tmp_path, "again") == read(storage, "first")
    places = {"teacher.store": None}
    again, first = (
        [{**row, **places} for row in read(folder, name, "finalists")]
        for folder, name in ((tmp_path, "again"), (storage, "first"))
    )
    assert again == first


def test_a_single_objective_may_be_another_one(searched: Result, storage: Path) -> None:
    words = ("--objective", "val/loss", "--trials", "3", "--epochs", "1", "--finalists", "0")
    result = search(storage, *named("loss"), *words, *SMALL)
    assert result.exit_code == 0, result.output
    rows = read(storage, "loss")
    losses = [row["val/loss"] for row in rows if row["outcome"] == "finished"]
    assert losses == sorted(losses)
    assert "val loss nats" in result.output
    (parent,) = of_kind(runs_in(storage, "loss"), "search").values()
    assert parent.data.metrics["search/best_val_loss"] == pytest.approx(losses[0])


def test_a_stored_teacher_and_a_new_name_go_on_in_the_same_storage(
    searched: Result, storage: Path
) -> None:
    teachers = set((storage / "teachers").glob("*/teacher.json"))
    result = search(storage, *named("second"), "--finalists", "0", *WHOLE[:4], *SMALL)
    assert result.exit_code == 0, result.output
    assert "Teachers" not in result.output
    assert not (storage / "second" / "finalists.json").exists()
    assert read(storage, "second") == read(storage, "first")
    assert set((storage / "teachers").glob("*/teacher.json")) == teachers


def test_a_finalist_that_is_the_published_recipe_is_trained_once(
    searched: Result, storage: Path
) -> None:
    recipe = ("temperature=4", "alpha=0.9", "augment=none", "prune_ratio=0")
    words = [word for key in recipe for word in ("--set", key)]
    short = ("--trials", "1", "--epochs", "1", "--finalists", "1", "--finalist-seeds", "1")
    result = search(storage, *named("same"), *words, *short, *SMALL)
    assert result.exit_code == 0, result.output
    assert "= finalist 1" in result.output
    rows = {row["arm"]: row for row in read(storage, "same", "finalists")}
    assert list(rows) == [*ARMS, "teacher"]
    scores = ("test/accuracy_mean", "test/accuracy_n", "difference")
    assert [rows["published recipe"][key] for key in scores] == [
        rows["finalist 1"][key] for key in scores
    ]
    final = of_kind(runs_in(storage, "same"), "finalist", "baseline")
    assert set(final) == {"finalist 1, seed 1", "no teacher, seed 1"}
    assert final["finalist 1, seed 1"].data.tags["also"] == "published recipe"


def test_a_name_that_is_taken_changes_nothing(
    searched: Result, storage: Path, no_ray: None
) -> None:
    def state() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in storage.rglob("*") if p.is_file()}

    before = state()
    result = search(storage, "--name", "first", *WHOLE)
    assert result.exit_code == 2
    assert "there is a search called 'first'" in one_line(result.output)
    assert "give another --name" in one_line(result.output)
    assert state() == before


# What may go wrong in a search


def test_a_users_own_teacher_is_trained_no_more(
    searched: Result, storage: Path, tmp_path: Path
) -> None:
    flat = {"teacher.full_epochs": 4, "teacher": "resnet8", "data.train_limit": 400}
    teacher = Trial(teacher_trial(parse({**flat, "train.device": "cpu"})))
    while not teacher.finished:
        teacher.next_epoch()
    weights = {name: tensor.contiguous() for name, tensor in teacher.student.state_dict().items()}
    save_file(weights, tmp_path / "mine.safetensors")
    stored = set((storage / "teachers").iterdir())
    words = ["--teacher-weights", str(tmp_path / "mine.safetensors"), *SMALL[:4]]
    short = ("--trials", "1", "--epochs", "1", "--finalists", "0")
    result = search(storage, *named("mine"), *words, *short)
    assert result.exit_code == 0, result.output
    assert set((storage / "teachers").iterdir()) == stored
    (run,) = of_kind(runs_in(storage, "mine"), "trial").values()
    assert run.data.params["teacher.weights"] == str(tmp_path / "mine.safetensors")
    assert not {"label_smoothing", "teacher_epochs"} & set(run.data.params)


def test_a_trial_that_fails_does_not_end_the_search(searched: Result, storage: Path) -> None:
    axes = {"dataset": Choice(("digits", "folder:/missing"))}
    settings = {
        **{"teacher": "resnet8x0.5", "student": "resnet8x0.125", "teacher.full_epochs": 1},
        **{"train.epochs": 1, "train.device": "cpu", "data.train_limit": 400},
        "teacher.store": str(storage / "teachers"),
    }
    space = Space(
        name="partly",
        summary="Half of its trials find no data.",
        fixed=settings,
        axes=axes,
        arms=(Arm(method="kd"),),
        recipes=(Recipe(name="plain", source="here", values={"dataset": "digits"}),),
    )
    request = build_request(
        "quickstart",
        shortcuts={},
        settings=[],
        name="partly",
        storage=storage,
        tracking_uri=None,
        experiment="partly",
        gpus_per_trial=0,
        cpus_per_trial=1,
        seed=0,
        trials=2,
        sampler="grid",
        scheduler="none",
        finalists=0,
    )
    assert run_search(request.model_copy(update={"space": space}), program="kdtune") == 0
    assert [row["outcome"] for row in read(storage, "partly")] == ["finished", "failed"]
    failed = of_kind(runs_in(storage, "partly"), "trial")["trial 1"]
    assert (failed.info.status, failed.data.tags["outcome"]) == ("FAILED", "failed")
    assert "FileNotFoundError" in failed.data.tags["error"]


@pytest.mark.drill
def test_a_search_without_its_teacher_says_why(searched: Result, storage: Path) -> None:
    words = ("--trials", "2", "--epochs", "1", "--set", "teacher.lr=1e30", *SMALL)
    result = search(storage, *named("untaught"), *words)
    assert result.exit_code == 1
    text = one_line(result.output)
    assert "1 runs failed; the first said" in text
    assert "the training of teacher resnet8 diverged in epoch 1; lower its learning rate" in text
    assert "No trial finished" in text
    assert read(storage, "untaught") == []
    assert not (storage / "untaught" / "finalists.json").exists()
    runs = runs_in(storage, "untaught")
    assert set(of_kind(runs, "search", "teacher", "trial")) == {"untaught", "teacher 1"}


def test_a_search_whose_trials_all_fail_says_why(searched: Result, storage: Path) -> None:
    words = ("--trials", "2", "--epochs", "1", "--set", "train.lr=1e30", *SMALL)
    result = search(storage, *named("wild"), *words)
    assert result.exit_code == 1
    assert "2 diverged" in result.output
    assert "No trial finished" in result.output
    assert [row["outcome"] for row in read(storage, "wild")] == ["diverged", "diverged"]
    assert not (storage / "wild" / "finalists.json").exists()
    assert {run.info.status for run in runs_in(storage, "wild")} == {"FINISHED"}


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[Any]]:
    """Look at the sampler of a search, and act when it is told that a trial ended."""

    def watch(act: Callable[[int], None]) -> list[Any]:
        samplers: list[Any] = []

        class Watching(StudyCallback):
            def __init__(self, sampler: Any) -> None:
                super().__init__(sampler)
                samplers.append(sampler)
                self.ended = 0

            def on_trial_complete(self, trial: Any, **_: Any) -> None:
                self.ended += trial.config.get("role", "trial") == "trial"
                act(self.ended)

        monkeypatch.setattr(launching, "StudyCallback", Watching)
        return samplers

    return watch


LONG = ("--trials", "60", "--epochs", "40", "--scheduler", "none", *SMALL)


def test_sigterm_keeps_what_is_done(
    searched: Result, storage: Path, watched: Callable[[Callable[[int], None]], list[Any]]
) -> None:
    samplers = watched(lambda ended: os.kill(os.getpid(), signal.SIGTERM) if ended == 2 else None)
    before = signal.getsignal(signal.SIGTERM)
    result = search(storage, *named("ended"), *LONG)
    assert result.exit_code == 143, result.output
    assert signal.getsignal(signal.SIGTERM) is before
    _check_stopped(storage, "ended", result.output)
    (sampler,) = samplers
    assert isinstance(sampler, OptunaSampler)
    assert sampler.study.trials
    assert all(trial.state.is_finished() for trial in sampler.study.trials)


@pytest.mark.drill
def test_ctrl_c_keeps_what_is_done(searched: Result, storage: Path) -> None:
    command = [sys.executable, "-u", "-c", "from kdtune.cli import main; main()", "search"]
    words = ["--storage", str(storage), *named("interrupted"), *LONG]
    process = subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.match(r"Search [1-9]", line):
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=120)
    output = "".join(lines) + rest
    assert process.returncode == 130, output
    _check_stopped(storage, "interrupted", output)


def _check_stopped(storage: Path, name: str, output: str) -> None:
    """A search was stopped in its trials; everything is kept and closed."""
    rows = read(storage, name)
    outcomes = [row["outcome"] for row in rows]
    assert 1 <= outcomes.count("finished") < 60
    assert set(outcomes) <= {"finished", "stopped"}
    assert "Leaderboard" in output
    assert "Results:" in output
    assert "Traceback" not in output
    assert not (storage / name / "finalists.json").exists()
    runs = runs_in(storage, name)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    (parent,) = of_kind(runs, "search").values()
    assert (parent.info.status, parent.data.tags["outcome"]) == ("KILLED", "stopped")
    assert len(of_kind(runs, "trial")) == len(rows)


def test_finalists_follow_when_the_time_is_over(
    searched: Result,
    storage: Path,
    watched: Callable[[Callable[[int], None]], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Clock:
        past = 0.0

        def monotonic(self) -> float:
            return time.monotonic() + self.past

        def on_end(self, ended: int) -> None:
            self.past = 2000.0 if ended >= 3 else 0.0

    clock = Clock()
    monkeypatch.setattr(legs, "time", clock)
    samplers = watched(clock.on_end)
    budget = ("--time-budget", "1000", "--finalists", "1", "--finalist-seeds", "1")
    words = ("--trials", "50", "--epochs", "3", "--scheduler", "none", *budget, *SMALL)
    result = search(storage, *named("brief"), *words)
    assert result.exit_code == 0, result.output
    rows = read(storage, "brief")
    assert 3 <= len(rows) <= 5
    assert [row["outcome"] for row in rows[:3]] == ["finished"] * 3
    assert [row["arm"] for row in read(storage, "brief", "finalists")] == [*ARMS, "teacher"]
    stopped = sum(row["outcome"].startswith("stopped") for row in rows)
    assert f"Time was over: {stopped} trials were under way" in one_line(result.output)
    ends = Counter(run.info.status for run in runs_in(storage, "brief"))
    assert ends["KILLED"] == stopped
    assert ends.keys() <= {"FINISHED", "KILLED"}
    (sampler,) = samplers
    assert len(sampler.study.trials) == len(rows)
    assert TrialState.RUNNING not in {trial.state for trial in sampler.study.trials}
