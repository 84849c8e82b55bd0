"""The command line: one function a verb, each thin."""

import os

from kdtune.cli import (  # noqa: F401  (register their verbs)
    analyze,
    cluster,
    compare,
    doctor,
    effects,
    listing,
    papers,
    report,
    reproduce,
    resume,
    search,
    students,
    submit,
    sync,
    teachers,
    ui,
)
from kdtune.cli.app import app

__all__ = ["MLFLOW_ENVIRONMENT", "RAY_ENVIRONMENT", "app", "main"]

RAY_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
}
"""What Ray reads from the environment alone, set before Ray is imported: quiet, one working
folder for all, a missing metric is its trial's affair, and no snapshots of a whole experiment: a
search goes on from its own log."""

MLFLOW_ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""What MLflow reads from the environment alone: a dead server holds one call up for seconds, not
minutes, since what is not written is tried again anyway."""


def main() -> None:
    """Entry point of the console script."""
    for key, value in (RAY_ENVIRONMENT | MLFLOW_ENVIRONMENT).items():
        os.environ.setdefault(key, value)
    app()
