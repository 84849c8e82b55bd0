"""The command line: one function a verb, each thin."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich import box
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

EXIT_BAD_INPUT = 2
TUNING, FINAL = "Sampler and scheduler", "Finalists"
PLACES, MACHINE = "Data and results", "Machine"

SEARCH_HELP = """
Search a space, train the best configurations again, and test them once.

Without arguments: the 'quickstart' space on scikit-learn's handwritten digits, a minute or two on \
two cores. Teachers are trained first, once each; then the trials, under ASHA; then the finalists \
with several seeds, beside the same student without a teacher and the published recipe.

[bold]Examples[/bold]

  kdtune search

  kdtune search --trials 50 --sampler random --seed 1

  kdtune search --set augment=none --set train.lr=0.05 --name plain-views

  kdtune search joint --dataset parquet:data/cifar10 --set teacher_epochs=200

  kdtune search joint --address auto --gpus-per-trial 0.5

[bold]Exit codes[/bold]: 0 a finished search; 1 no trial finished; 2 bad input, nothing was \
started; 70 a fault of kdtune; 130 Ctrl-C and 143 SIGTERM, what is done is kept.
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


def _fail(message: object) -> typer.Exit:
    """Say what is wrong with the input, and how to leave."""
    Console(stderr=True).print(f"[bold red]error:[/] {escape(str(message))}", highlight=False)
    return typer.Exit(EXIT_BAD_INPUT)


@app.command(help=SEARCH_HELP)
def search(
    space: Annotated[str, typer.Argument(help="A space: see 'kdtune spaces'.")] = "quickstart",
    dataset: Annotated[
        str | None, typer.Option(help="See 'kdtune datasets'; e.g. cifar10, parquet:PATH.")
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="See 'kdtune models'.")] = None,
    student: Annotated[str | None, typer.Option(help="See 'kdtune models'.")] = None,
    teacher_weights: Annotated[
        Path | None, typer.Option(help="Your own teacher, a .safetensors file; nothing is trained.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Fix any key; may be given often."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Configurations to try.")] = 20,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of a full trial.")] = None,
    sampler: Annotated[
        str, typer.Option(help="tpe, random, grid, cmaes, gp or nsga2.", rich_help_panel=TUNING)
    ] = "tpe",
    scheduler: Annotated[
        str, typer.Option(help="asha, none, median or hyperband.", rich_help_panel=TUNING)
    ] = "asha",
    grace_period: Annotated[
        int | None,
        typer.Option(
            min=1, help="Epochs before any cut; by default a fifth.", rich_help_panel=TUNING
        ),
    ] = None,
    reduction_factor: Annotated[
        int, typer.Option(min=2, help="One in so many passes a rung.", rich_help_panel=TUNING)
    ] = 3,
    brackets: Annotated[
        int, typer.Option(min=1, help="Brackets of ASHA.", rich_help_panel=TUNING)
    ] = 1,
    ordered: Annotated[
        bool,
        typer.Option(
            "--ordered/--async",
            help="Decide in trial order, so that a seed gives one leaderboard, or as results come.",
            rich_help_panel=TUNING,
        ),
    ] = True,
    time_budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds after which the trials end; finalists follow.",
            rich_help_panel=TUNING,
        ),
    ] = None,
    finalists: Annotated[
        int, typer.Option(min=0, help="Best configurations to train again.", rich_help_panel=FINAL)
    ] = 3,
    finalist_seeds: Annotated[
        int, typer.Option(min=1, help="Seeds of each.", rich_help_panel=FINAL)
    ] = 5,
    finalists_on: Annotated[
        str, typer.Option(help="train or train+val.", rich_help_panel=FINAL)
    ] = "train",
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Of the search; by default space and time.")
    ] = None,
    storage: Annotated[
        Path, typer.Option(help="Folder of all results.", rich_help_panel=PLACES)
    ] = Path("kdtune-results"),
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of cifar10 and cifar100.", rich_help_panel=PLACES)
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch cifar10/100 first.", rich_help_panel=PLACES)
    ] = False,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            help="Of MLflow; by default a database in the storage folder.",
            rich_help_panel=PLACES,
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="MLflow experiment; by default space and dataset.", rich_help_panel=PLACES
        ),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            help="A running Ray cluster; by default Ray starts here.", rich_help_panel=MACHINE
        ),
    ] = "",
    cpus_per_trial: Annotated[
        int, typer.Option(min=1, help="Also a trial's threads.", rich_help_panel=MACHINE)
    ] = 1,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="May be a fraction; by default 1 if there is a GPU here.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
) -> None:
    """Search a space; ``--help`` shows SEARCH_HELP."""
    from kdtune import data
    from kdtune.search.requesting import build_request
    from kdtune.search.session import run_search

    root = data_root or (Path("data") if download else None)
    shortcuts: dict[str, str | int | None] = {
        "dataset": dataset,
        "teacher": teacher,
        "student": student,
        "teacher.weights": str(teacher_weights.absolute()) if teacher_weights else None,
        "train.epochs": epochs,
        "data.root": str(root.absolute()) if root else None,
    }
    try:
        if "://" in str(storage):
            raise ValueError(f"--storage must be a folder that all nodes share, got '{storage}'")
        request = build_request(
            space,
            shortcuts={key: value for key, value in shortcuts.items() if value is not None},
            settings=settings or [],
            name=name,
            storage=storage.absolute(),
            tracking_uri=tracking_uri,
            experiment=experiment,
            command=shlex.join(["kdtune", *sys.argv[1:]]),
            trials=trials,
            sampler=sampler,
            scheduler=scheduler,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
            brackets=brackets,
            ordered=ordered,
            time_budget_s=time_budget,
            finalists=finalists,
            finalist_seeds=finalist_seeds,
            finalists_on=finalists_on,
            seed=seed,
            address=address,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
        )
        if download:
            data.download(
                str(request.space.fixed["dataset"]), str(request.space.fixed["data.root"])
            )
        code = run_search(request, program=_program())
    except (ValueError, OSError) as error:
        raise _fail(error) from None
    raise typer.Exit(code)


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
) -> None:
    """List the search spaces, or show one: its axes, what is fixed, its recipes."""
    from kdtune.search import space as catalogue

    console = Console()
    if name is None:
        table = _table("space", "methods", "axes", "what")
        for each in map(catalogue.load, catalogue.names()):
            axes = {key for method in each.methods() for key in each.active(method)}
            table.add_row(each.name, ", ".join(each.methods()), str(len(axes)), each.summary)
        console.print(table)
        return
    try:
        chosen = catalogue.load(name)
    except ValueError as error:
        raise _fail(error) from None
    console.print(f"[bold]{chosen.name}[/]: {escape(chosen.summary)}", highlight=False)
    table = _table("key", "kind", "range", "method")
    for row in chosen.table():
        table.add_row(row.key, row.kind, escape(row.range), row.arm or "all")
    console.print(table)
    for recipe in chosen.recipes:
        values = ", ".join(f"{key}={value}" for key, value in recipe.values.items())
        console.print(f"[bold]{recipe.name}[/]: {escape(values)}\n  {escape(recipe.source)}")


@app.command()
def models(
    size: Annotated[int, typer.Option(min=8, help="Side of the images in pixels.")] = 32,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the images.")] = 3,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
) -> None:
    """List the networks with parameters and multiply-adds. torchvision's go by their own names."""
    from kdtune import models as zoo

    table = _table("model", "family", "parameters", "multiply-adds", "taps", right=(2, 3))
    for row in zoo.describe(size=size, channels=channels, classes=classes):
        table.add_row(row.name, row.family, f"{row.params:,}", f"{row.macs:,}", ", ".join(row.taps))
    Console().print(table)


@app.command()
def methods() -> None:
    """List the distillation methods and what each lets a search tune."""
    from kdtune.config import method_keys
    from kdtune.objectives import OBJECTIVES

    table = _table("method", "tunes", "what")
    for name in OBJECTIVES.names():
        what = (OBJECTIVES.get(name).__doc__ or "").split("\n")[0].replace("``", "")
        table.add_row(name, ", ".join(method_keys(name)), escape(what))
    Console().print(table)


@app.command()
def datasets() -> None:
    """List the datasets and what each needs."""
    from kdtune import data

    table = _table("dataset", "what", "classes", "size", "needs")
    for row in data.describe():
        classes = "of the data" if row.classes is None else str(row.classes)
        table.add_row(row.name, escape(row.summary), classes, row.shape, escape(row.needs))
    Console().print(table)


@app.command()
def ui(
    storage: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("kdtune-results"),
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="By default in the storage.")
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to bind to; others than this machine's can read and change all runs."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on the results; ends with Ctrl-C."""
    from kdtune.tracking import resolve_tracking_uri

    if tracking_uri is None and not (storage / "mlflow.db").is_file():
        raise _fail(f"no results in '{storage}'; run 'kdtune search' first, or give --storage")
    uri = resolve_tracking_uri(tracking_uri, None, storage.absolute())
    if uri.startswith(("http://", "https://")):
        typer.echo(f"the runs are on a server already: {uri}")
        return
    if host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo(f"warning: whoever reaches {host}:{port} can read and change all runs", err=True)
    typer.echo(f"MLflow UI on http://{host}:{port} (Ctrl-C ends it)")
    # One worker and no job runner: the UI alone is wanted, and starts in a tenth of the time.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    command = ["mlflow", "ui", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def _table(*columns: str, right: tuple[int, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position in right else "left")
    return table


def _program() -> str:
    """How this command was called, so that a printed command can be pasted: a path if need be."""
    called = Path(sys.argv[0])
    if shutil.which(called.name) and not os.environ.get("UV_RUN_RECURSION_DEPTH"):
        return called.name
    path = os.path.relpath(called)
    return path if not path.startswith("..") else str(called.absolute())
