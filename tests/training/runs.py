"""Trials as the tests run them: what they report, less what the clock says."""

from typing import Any

from torch import nn

from kdtune.config import parse
from kdtune.models import build
from kdtune.objectives import OBJECTIVES
from kdtune.training.trial import Trial

CLOCK = {
    *("images_per_s", "time/epoch_s", "student/latency_ms"),
    *("signals/hit_rate", "signals/read_mb", "signals/saved_s"),
}

STORE = "teacher.store"

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


def with_method(base: dict[str, Any], method: str, **flat: Any) -> dict[str, Any]:
    """``base`` with another method, and without the teacher where it has none."""
    kept = base
    if not OBJECTIVES.get(method)().traits.teacher:
        kept = {k: v for k, v in base.items() if not k.startswith("teacher") or k == STORE}
    fitting = {"fsp": {"student": "resnet8x0.5"}, "crd": {"method.negatives": 64}}.get(method, {})
    return {**kept, "method": method, "train.schedule": "step", **fitting, **flat}


def plain_student(trial: Trial) -> nn.Module:
    """The student of a trial, built without a trial."""
    data = trial.dataset
    shape = {"classes": data.classes, "channels": data.channels, "size": data.size}
    return build(trial.config.student, **shape, seed=0)
