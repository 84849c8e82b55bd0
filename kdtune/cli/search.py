"""The search."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from kdtune.cli.app import MACHINE, PLACES, app, bad_input
from kdtune.cli.options import (
    RESULTS,
    Address,
    AnyStorage,
    Concurrent,
    Cpus,
    DataRoot,
    Download,
    Gpus,
    Settings,
    TrackingUri,
)

TUNING, FINAL = "Sampler and scheduler", "Finalists"
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

  kdtune search --objective val/accuracy:max --objective params:min --trials 40

  kdtune search joint --dataset parquet:data/cifar10 --register cifar-student

  kdtune search joint --address auto --gpus-per-trial 0.5

  kdtune search joint --name night --resume

[bold]Exit codes[/bold]: 0 a finished search; 1 no trial finished; 2 bad input, nothing was \
started; 70 a fault of kdtune; 74 results cannot be written; 130 Ctrl-C and 143 SIGTERM. After \
these [bold]kdtune resume[/bold] goes on.
"""


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
    settings: Settings = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM", help="Leave an arm of the space out; may be given often."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Configurations to try.")] = 20,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC[:max|min]",
            help="What to optimise, val/accuracy unless given; several yield a Pareto front.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of a full trial.")] = None,
    sampler: Annotated[
        str, typer.Option(help="tpe, random, grid, cmaes, gp or nsga2.", rich_help_panel=TUNING)
    ] = "tpe",
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="asha, none, median or hyperband; by default asha, none with several objectives.",
            rich_help_panel=TUNING,
        ),
    ] = None,
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
    register: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Make the student of finalist 1 (its first seed) the next version of NAME in "
            "MLflow's model registry.",
            rich_help_panel=FINAL,
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Of the search; by default space and time.")
    ] = None,
    storage: AnyStorage = str(RESULTS),
    data_root: DataRoot = None,
    download: Download = False,
    tracking_uri: TrackingUri = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="MLflow experiment; by default space and dataset.", rich_help_panel=PLACES
        ),
    ] = None,
    address: Address = "",
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = None,
    accelerator: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Run on this kind of GPU only, e.g. A10G, where a cluster has several.",
            rich_help_panel=MACHINE,
        ),
    ] = "",
    max_concurrent: Concurrent = None,
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            help="How often a trial may fail and go on from its last checkpoint.",
            rich_help_panel=MACHINE,
        ),
    ] = 2,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the search of that --name if there is one already."
        ),
    ] = False,
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
    with bad_input():
        if resume and not name:
            raise ValueError("--resume needs the --name of the search")
        request = build_request(
            space,
            shortcuts={key: value for key, value in shortcuts.items() if value is not None},
            settings=settings or [],
            name=name,
            storage=storage,
            tracking_uri=tracking_uri,
            experiment=experiment,
            command=shlex.join(["kdtune", *sys.argv[1:]]),
            trials=trials,
            objectives=objective or [],
            skip=skip or [],
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
            register_as=register,
            seed=seed,
            address=address,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            accelerator=accelerator,
            max_concurrent=max_concurrent,
            retries=retries,
        )
        if download:
            data.download(
                str(request.space.fixed["dataset"]), str(request.space.fixed["data.root"])
            )
        code = run_search(request, program=program(), going_on=resume)
    raise typer.Exit(code)


def program() -> str:
    """How this command was called, so that a printed command can be pasted: a path if need be."""
    called = Path(sys.argv[0])
    if shutil.which(called.name) and not os.environ.get("UV_RUN_RECURSION_DEPTH"):
        return called.name
    path = os.path.relpath(called)
    return path if not path.startswith("..") else str(called.absolute())
