"""How trials ended, in words that Tune does not have."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdtune.search.outcomes import OutcomeCallback


class _Trial(SimpleNamespace):
    def __init__(self, **info: Any) -> None:
        error = {"error_file": None}
        super().__init__(trial_id="t", config={"alpha": 0.5}, last_result={}, **{**error, **info})


def outcome_of(*reports: dict[str, Any], error: str = "", over: bool = True) -> Any:
    record = OutcomeCallback(metric="val/accuracy", mode="max")
    trial = _Trial(error_file=error or None)
    record.on_trial_start(iteration=0, trials=[trial], trial=trial)
    for epoch, report in enumerate(reports, start=1):
        trial.last_result = {"training_iteration": epoch, "val/accuracy": epoch / 10, **report}
        record.on_trial_result(iteration=0, trials=[trial], trial=trial, result=trial.last_result)
    if error:
        record.on_trial_error(iteration=0, trials=[trial], trial=trial)
    elif over:
        record.on_trial_complete(iteration=0, trials=[trial], trial=trial)
    record.on_experiment_end(trials=[trial])
    return record.outcome("t")


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ({"finished": 1.0, "diverged": 0.0}, "finished"),
        ({"finished": 0.0, "diverged": 0.0}, "cut"),
        ({"finished": 0.0, "diverged": 1.0}, "diverged"),
        ({"finished": 1.0, "diverged": 1.0}, "diverged"),
    ],
)
def test_the_last_report_says_how_a_trial_ended(last: dict[str, float], kind: str) -> None:
    found = outcome_of({"finished": 0.0}, last)
    assert (found.kind, found.epoch, found.value, found.error) == (kind, 2, 0.2, "")
    assert found.config == {"alpha": 0.5}
    assert found.result["val/accuracy"] == 0.2


def test_the_time_of_all_epochs_is_added_up() -> None:
    found = outcome_of({"time/epoch_s": 1.5}, {"time/epoch_s": 2.0}, {})
    assert found.seconds == 3.5
    assert outcome_of().seconds == 0.0


def test_a_failed_trial_keeps_what_it_said(tmp_path: Path) -> None:
    said = tmp_path / "error.txt"
    said.write_text("Traceback\nValueError: too wide\n")
    found = outcome_of({"finished": 0.0}, error=str(said))
    assert (found.kind, found.epoch) == ("failed", 1)
    assert found.error.splitlines()[-1] == "ValueError: too wide"


def test_a_trial_that_never_reported_has_no_value(tmp_path: Path) -> None:
    found = outcome_of(error=str(tmp_path / "none"))
    assert (found.kind, found.epoch, found.value) == ("failed", 0, None)
    assert found.error == "no error text was kept"


def test_a_trial_that_runs_at_the_end_of_all_was_stopped() -> None:
    assert outcome_of({"finished": 0.0}, over=False).kind == "stopped"


def test_a_trial_that_never_started_has_no_outcome() -> None:
    assert OutcomeCallback(metric="m", mode="max").outcome("t") is None


def test_an_outcome_does_not_change_with_its_trial() -> None:
    record = OutcomeCallback(metric="val/accuracy", mode="max")
    trial = _Trial()
    record.on_trial_start(iteration=0, trials=[trial], trial=trial)
    trial.last_result = {"training_iteration": 1, "val/accuracy": 0.5, "finished": 1}
    record.on_trial_result(iteration=0, trials=[trial], trial=trial, result=trial.last_result)
    record.on_trial_complete(iteration=0, trials=[trial], trial=trial)
    trial.config["alpha"] = 0.1
    trial.last_result["val/accuracy"] = 0.1
    found = record.outcome("t")
    assert found is not None
    assert (found.config["alpha"], found.result["val/accuracy"]) == (0.5, 0.5)
