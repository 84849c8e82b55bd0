"""A run that goes on in another process gets each value once."""

from pathlib import Path

from kdtune.tracking import MLflowSink, read_journal
from kdtune.tracking.events import PARENT, Measured
from kdtune.tracking.told import Told


def measured(key: str, epoch: int, *names: str) -> Measured:
    return Measured(key=key, epoch=epoch, metrics=dict.fromkeys(names, 0.5), time_ms=1)


def test_only_what_came_after_is_new() -> None:
    told = Told([measured("a", 1, "x"), measured("a", 2, "x"), measured("a", 2, "best")])
    assert told.new("a", 1, {"x": 1.0, "y": 1.0}) == {}
    assert told.new("a", 2, {"x": 1.0, "best": 1.0, "y": 2.0}) == {"y": 2.0}
    assert told.new("a", 3, {"x": 1.0}) == {"x": 1.0}
    assert told.new("b", 1, {"x": 1.0}) == {"x": 1.0}


def test_a_warm_up_and_the_search_itself_may_say_more_at_one_epoch() -> None:
    told = Told([measured("a", 0, "x"), measured(PARENT, 0, "x"), measured(PARENT, 4, "x")])
    assert told.new("a", 0, {"x": 1.0}) == {"x": 1.0}
    assert told.new(PARENT, 0, {"x": 1.0}) == told.new(PARENT, 4, {"x": 1.0}) == {"x": 1.0}


def test_a_report_that_the_last_process_did_not_survive_is_in_the_journal_once(
    tmp_path: Path,
) -> None:
    for epochs in ((1, 2), (2, 3)):  # The second process thinks that the trial is at epoch 1.
        sink = MLflowSink(
            tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
            experiment="e",
            run_name="s",
            journal=tmp_path / "journal",
            search_id="one",
        )
        sink.start_run("a", name="trial 0", params={}, tags={})
        for epoch in epochs:
            sink.log("a", epoch=epoch, metrics={"val/loss": float(epoch)})
        sink.end_run("a", outcome="finished", metrics={"best/epoch": 3.0}, epoch=3)
        assert sink.close(60).complete
    (run,) = read_journal(tmp_path).runs
    assert [(p.epoch, p.value) for p in run.history["val/loss"]] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert len(run.history["best/epoch"]) == 1
