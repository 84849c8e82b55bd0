"""Trials as the tests run them: what they report, less what the clock says."""

from typing import Any

from kdtune.config import parse
from kdtune.training.trial import Trial

CLOCK = {"images_per_s", "time/epoch_s", "student/latency_ms"}

Reports = list[dict[str, float]]


def reports(flat: dict[str, Any]) -> Reports:
    """What each epoch of a whole trial reports."""
    return rest(Trial(parse(flat)))


def rest(trial: Trial) -> Reports:
    """What the epochs that are left report."""
    history = []
    while not trial.finished:
        history.append(report(trial))
    return history


def report(trial: Trial) -> dict[str, float]:
    """What the next epoch reports."""
    return {key: value for key, value in trial.next_epoch().items() if key not in CLOCK}


def advance(trial: Trial, epochs: int) -> Trial:
    """The trial, so many epochs later."""
    for _ in range(epochs):
        trial.next_epoch()
    return trial
