"""Distill under Ray Tune as a user calls it, with kdtune's parts one by one."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState
from ray import tune
from ray.tune import CheckpointConfig
from ray.tune.experiment import Trial as TuneTrial

from kdtune.config import parse
from kdtune.search.callbacks import TrackingCallback
from kdtune.search.listed import ListedConfigs
from kdtune.search.samplers import StudyCallback, make_sampler
from kdtune.search.schedulers import make_scheduler
from kdtune.search.space import Space
from kdtune.tracking import MLflowSink, default_tracking_uri
from kdtune.training.trial import WORST_LOSS, Trial
from search_spaces import quickstart
from trainables import Distill

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

METRIC = "val/accuracy"
EPOCHS = 3
MEASURED = ("val/", "train/", "prune/", "lr", "epoch", "finished", "diverged")
"""What a report says of the trial itself, and not of time or of the process that ran it."""

History = list[dict[str, float]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Overrides that make the quickstart space tiny; its teacher is trained here, once."""
    overrides: dict[str, Any] = {
        "label_smoothing": 0.0,
        "teacher_epochs": 2,
        "teacher.full_epochs": 2,
        "teacher.store": str(tmp_path_factory.mktemp("teachers")),
        "data.train_limit": 300,
        "train.epochs": EPOCHS,
        "train.device": "cpu",
    }
    Trial(parse(tiny_space(overrides).points_to_evaluate()[0] | fixed(overrides)))
    return overrides


def tiny_space(overrides: dict[str, Any]) -> Space:
    """The space without its recipe's clash over the length of the teacher's training."""
    hinton = {"teacher_epochs": overrides["teacher_epochs"]}
    return quickstart.SPACE.with_overrides(overrides)


def fixed(overrides: dict[str, Any]) -> dict[str, Any]:
    return dict(quickstart.SPACE.with_overrides(overrides).fixed)
