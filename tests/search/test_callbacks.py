"""Tune's hooks as told to a sink and to a display."""

import logging
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from ray import tune

from kdtune.search.callbacks import ProgressCallback, RunLabel, TrackingCallback, logged_metrics
from kdtune.tracking import MLflowSink, default_tracking_uri


class Notebook:
    """A sink and a display that write down what they are told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: self.calls.append((name, *args, *options.values()))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


def trial(name: str = "t0", **config: Any) -> SimpleNamespace:
    return SimpleNamespace(trial_id=name, config=config or {"x": 1}, error_file=None)


def report(epoch: int, value: float, /, **more: Any) -> dict[str, Any]:
    own = {"training_iteration": epoch, "val/accuracy": value, "finished": 0, "diverged": 0}
    return {**own, "pid": 1, "time_total_s": 2.0, "config": {"lr": 1}, "done": False, **more}


def follow(callback: Any, results: list[dict[str, Any]], one: SimpleNamespace) -> None:
    callback.on_trial_start(iteration=0, trials=[one], trial=one)
    for result in results:
        callback.on_trial_result(iteration=0, trials=[one], trial=one, result=result)


def tell(callback: Any, hook: str, one: SimpleNamespace) -> None:
    getattr(callback, hook)(iteration=0, trials=[one], trial=one)


@pytest.fixture
def sink() -> Notebook:
    return Notebook()


@pytest.fixture
def callback(sink: Notebook) -> TrackingCallback:
    return TrackingCallback(sink, base_tags={"space": "quickstart"})


def test_only_kdtunes_own_numbers_are_logged() -> None:
    own = {"train/ce": np.float32(1.5), "lr": 0.1, "student/params": 9.0}
    result = report(1, 0.5, **own, **{"val/name": "x", "note": 3})
    assert logged_metrics(result, "val/accuracy") == {"val/accuracy": 0.5, **own}
    assert logged_metrics({"score": 1, "other": 2}, "score") == {"score": 1.0}


def test_a_trial_of_kdtune_is_written_in_its_canonical_form(
    callback: TrackingCallback, sink: Notebook
) -> None:
    tell(callback, "on_trial_start", trial(temperature=4, method="kd"))
    ((key, name, params, tags, _),) = sink.named("start_run")
    assert (key, name) == ("t0", "trial 0")
    assert params["temperature"] == 4.0
    assert isinstance(params["temperature"], float)
    assert (
        tags.items()
        >= {
            "kind": "trial",
            "space": "quickstart",
            "method": "kd",
            "dataset": "digits",
            "source": "measured",
            "trial": "0",
        }.items()
    )
    assert {"teacher", "student"} <= set(tags)


def test_another_trainables_scalars_are_its_params(
    callback: TrackingCallback, sink: Notebook
) -> None:
    tell(callback, "on_trial_start", trial(width=3, deep={"a": 1}))
    _, _, params, _, inputs = sink.named("start_run")[0]
    assert (params, inputs) == ({"width": 3}, ())


def test_a_run_names_the_data_that_it_reads(callback: TrackingCallback, sink: Notebook) -> None:
    for name, noise in (("clean", 0.0), ("noisy", 0.3)):
        tell(callback, "on_trial_start", trial(name, method="kd", **{"data.label_noise": noise}))
    clean, noisy = (call[4] for call in sink.named("start_run"))
    assert [use.context for use in clean] == ["train", "val"]
    assert clean[0].digest != noisy[0].digest
    assert clean[1] == noisy[1]


def test_a_run_gets_its_last_tags_at_its_end(sink: Notebook) -> None:
    callback = TrackingCallback(sink, last_tags=lambda trial_id: {"rung": trial_id})
    follow(callback, [report(1, 0.5)], trial())
    tell(callback, "on_trial_complete", trial())
    assert sink.named("end_run")[0][4] == {"rung": "t0"}


@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        (report(3, 0.7, finished=1), "finished"),
        (report(3, 0.7), "cut"),
        (report(3, 0.0, finished=1, diverged=1), "diverged"),
        ({"training_iteration": 3, "val/accuracy": 0.7}, "finished"),
    ],
)
def test_the_last_report_tells_how_a_trial_ended(
    callback: TrackingCallback, sink: Notebook, last: dict[str, Any], outcome: str
) -> None:
    follow(callback, [report(1, 0.5), report(2, 0.9), last], trial())
    tell(callback, "on_trial_complete", trial())
    assert sink.named("end_run") == [
        ("t0", outcome, 3, {"best/val_accuracy": 0.9, "best/epoch": 2}, {})
    ]


def test_a_failed_trial_carries_its_error(
    callback: TrackingCallback, sink: Notebook, tmp_path: Path
) -> None:
    one = trial()
    one.error_file = str(tmp_path / "error.txt")
    Path(one.error_file).write_text("x" * 9000 + "ValueError: the cause\n")
    follow(callback, [], one)
    tell(callback, "on_trial_error", one)
    ((_, outcome, epoch, metrics, tags),) = sink.named("end_run")
    assert (outcome, epoch, metrics) == ("failed", 0, {})
    assert tags["error"].endswith("ValueError: the cause")
    assert len(tags["error"]) <= 2000


def test_a_retried_trial_reports_each_epoch_once(
    callback: TrackingCallback, sink: Notebook
) -> None:
    one = trial()
    follow(callback, [report(1, 0.1), report(2, 0.2), report(3, 0.3)], one)
    tell(callback, "on_trial_recover", one)
    follow(callback, [report(3, 0.3), report(4, 0.4, finished=1)], one)
    tell(callback, "on_trial_complete", one)
    assert [call[1] for call in sink.named("log")] == [1, 2, 3, 4]
    assert len(sink.named("end_run")) == 1


def test_a_warm_up_is_logged_at_epoch_0_and_is_never_the_best(
    callback: TrackingCallback, sink: Notebook
) -> None:
    one = trial()
    epochs = enumerate([0.0, 0.0, 1.0, 2.0], start=1)
    follow(callback, [report(i, 1 / i, epoch=epoch) for i, epoch in epochs], one)
    tell(callback, "on_trial_complete", one)
    assert [call[1] for call in sink.named("log")] == [0, 0, 1, 2]
    ((_, outcome, epoch, metrics, _),) = sink.named("end_run")
    assert (outcome, epoch) == ("cut", 2)
    assert metrics == {"best/val_accuracy": 1 / 3, "best/epoch": 1}


def test_trials_that_tune_forgot_are_told_as_stopped(
    callback: TrackingCallback, sink: Notebook
) -> None:
    follow(callback, [report(1, 0.1)], trial("a"))
    tell(callback, "on_trial_complete", trial("never started"))
    callback.on_experiment_end(trials=[])
    assert [call[:2] for call in sink.named("end_run")] == [("a", "stopped")]
    assert sink.named("end") == [("stopped",)]
    assert len(sink.named("close")) == 1


def test_the_search_goes_on_where_more_is_to_come(sink: Notebook) -> None:
    callback = TrackingCallback(sink, ends_search=False)
    callback.on_experiment_end(trials=[])
    assert sink.calls == []


def test_a_label_names_and_tags_a_run(sink: Notebook) -> None:
    label = RunLabel(name="no teacher, seed 3", kind="baseline", tags={"arm": "no teacher"})
    callback = TrackingCallback(sink, label=lambda trial_id, config: label)
    tell(callback, "on_trial_start", trial())
    _, name, _, tags, _ = sink.named("start_run")[0]
    assert name == "no teacher, seed 3"
    assert (tags["kind"], tags["arm"]) == ("baseline", "no teacher")


def test_no_hook_ever_raises_and_the_first_failure_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    callback = TrackingCallback(None)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        follow(callback, [report(1, 0.5), {"nonsense": 1}], trial())
        for hook in ("on_trial_complete", "on_trial_error"):
            tell(callback, hook, trial())
        callback.on_experiment_end(trials=[])
    assert [record.getMessage() for record in caplog.records] == [
        "TrackingCallback.on_trial_start failed"
    ]


def test_a_restored_callback_goes_on_where_it_was(sink: Notebook) -> None:
    first = TrackingCallback(Notebook())
    follow(first, [report(1, 0.9), report(2, 0.5)], trial())
    second = TrackingCallback(sink)
    second.set_state(pickle.loads(pickle.dumps(first.get_state())))
    second.setup()
    follow(second, [report(2, 0.5), report(3, 0.6, finished=1)], trial())
    tell(second, "on_trial_complete", trial())
    assert [call[1] for call in sink.named("log")] == [3]
    assert sink.named("end_run")[0][3] == {"best/val_accuracy": 0.9, "best/epoch": 1}


def test_a_callback_pickles_with_its_sink() -> None:
    real = MLflowSink(tracking_uri="sqlite:///x", experiment="e", run_name="r")
    copy = pickle.loads(pickle.dumps(TrackingCallback(real)))
    assert copy._sink.search_id == real.search_id


def test_the_display_is_told_of_every_trial() -> None:
    display = Notebook()
    callback = ProgressCallback(display)
    one = trial(temperature=4, **{"train.epochs": 9})
    follow(callback, [report(1, 0.5), report(2, 0.6)], one)
    callback.on_step_end(iteration=0, trials=[one])
    tell(callback, "on_trial_complete", one)
    assert display.calls == [
        ("trial_started", "t0", "trial 0  T=4", 9),
        ("trial_reported", "t0", 1, 0.5),
        ("trial_reported", "t0", 2, 0.6),
        ("tick",),
        ("trial_ended", "t0", "cut", 0.6),
    ]


def test_the_display_counts_no_epoch_of_a_warm_up() -> None:
    display = Notebook()
    follow(
        ProgressCallback(display), [report(1, 0.5, epoch=0.0), report(2, 0.6, epoch=1.0)], trial()
    )
    assert display.named("trial_reported") == [("t0", 0, None), ("t0", 1, 0.6)]


def test_a_resumed_search_shows_the_trials_that_ended_before() -> None:
    first = ProgressCallback(Notebook())
    follow(first, [report(2, 0.6, finished=1)], trial())
    tell(first, "on_trial_complete", trial())
    display = Notebook()
    ProgressCallback(display).set_state(first.get_state())
    assert [call[0] for call in display.calls] == [
        "trial_started",
        "trial_reported",
        "trial_ended",
    ]
    assert display.calls[-1] == ("trial_ended", "t0", "finished", 0.6)


def test_a_copy_of_a_progress_callback_shows_nothing() -> None:
    display = Notebook()
    copy = pickle.loads(pickle.dumps(ProgressCallback(display)))
    follow(copy, [report(1, 0.5)], trial())
    tell(copy, "on_trial_complete", trial())
    assert display.calls == []
    assert not copy.complained


def counting() -> type[tune.Trainable]:
    """A trainable that workers get by value: they cannot import a test."""

    class Counting(tune.Trainable):  # type: ignore[misc]
        """Counts; one trial fails."""

        def step(self) -> dict[str, Any]:
            if self.config["width"] == 2:
                raise RuntimeError("too wide")
            last = self.iteration == 3
            return {"val/accuracy": self.iteration / 10, "finished": int(last), "done": last}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.config = new_config
            return True

    return Counting


@pytest.mark.ray
def test_tracking_works_alone_in_tune_run(ray_session: None, tmp_path: Path) -> None:
    uri = default_tracking_uri(tmp_path)
    sink = MLflowSink(tracking_uri=uri, experiment="alone", run_name="a sweep", source=tmp_path)
    tune.run(
        counting(),
        config={"width": tune.grid_search([1, 2, 3])},
        storage_path=str(tmp_path),
        callbacks=[TrackingCallback(sink)],
        reuse_actors=True,
        raise_on_failed_trial=False,
        verbose=0,
    )
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("alone")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: (run.info.status, run.data.tags["outcome"]) for name, run in runs.items()} == {
        "a sweep": ("FINISHED", "finished"),
        "trial 0": ("FINISHED", "finished"),
        "trial 1": ("FAILED", "failed"),
        "trial 2": ("FINISHED", "finished"),
    }
    assert "too wide" in runs["trial 1"].data.tags["error"]
    steps = client.get_metric_history(runs["trial 2"].info.run_id, "val/accuracy")
    assert [point.step for point in steps] == [1, 2, 3, 4]
    assert set(runs["trial 2"].data.metrics) == {
        "val/accuracy",
        "best/val_accuracy",
        "best/epoch",
    }
