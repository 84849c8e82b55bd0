"""The command line: one function a verb, each thin."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import kdtune

RAY_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
"""What Ray reads from the environment alone, set before Ray is imported: quiet, one working
folder for all, and a missing metric is its trial's affair."""

EXIT_NO_RESULT = 1
EXIT_BAD_INPUT = 2

SEARCH_HELP = """
Search a space, train the best configurations again, and test them once.

Without arguments: the 'quickstart' space on scikit-learn's handwritten digits, about a minute on
two cores. Teachers are trained first, once each; then the trials, under ASHA; then the finalists
with several seeds, beside the same student without a teacher and the published recipe.

[bold]Examples[/bold]

  kdtune search

  kdtune search --trials 50 --sampler random --seed 1

  kdtune search joint --dataset parquet:data/cifar10 --set data.train_limit=2000 --epochs 12

  kdtune search quickstart --set augment=standard --set train.lr=0.1 --name plain-views

  kdtune search joint --address auto --gpus-per-trial 0.5 --storage /shared/results

[bold]Exit codes[/bold]: 0 a finished search; 1 no trial finished; 2 bad input, nothing was started;
130 Ctrl-C and 143 SIGTERM, what is done is kept.
"""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Hyperparameter search for knowledge distillation, on Ray Tune and MLflow.",
)


def main() -> None:
    """Entry point of the console script."""
    for key, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    app()


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kdtune {kdtune.__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
