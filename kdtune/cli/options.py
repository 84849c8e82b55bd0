"""Options that several verbs have, each described once."""

from pathlib import Path
from typing import Annotated

import typer

from kdtune.cli.app import MACHINE, PLACES

RESULTS = Path("kdtune-results")
"""Where all results lie unless told otherwise."""

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Fix any key; may be given often."),
]
Seeds = Annotated[int, typer.Option(min=1, help="How many seeds, from --seed on.")]
Seed = Annotated[int, typer.Option(min=0, help="The first of them.")]
Name = Annotated[str | None, typer.Option(help="Of the results; by default what and when.")]
Storage = Annotated[Path, typer.Option(help="Folder of all results.", rich_help_panel=PLACES)]
AnyStorage = Annotated[
    str,
    typer.Option(
        "--storage",
        help="Folder of all results, or s3://BUCKET/PREFIX, gs://...",
        rich_help_panel=PLACES,
    ),
]
Concurrent = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Trials at once; by default what fits on the machine or the cluster as it is now.",
        rich_help_panel=MACHINE,
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder of cifar10 and cifar100.", rich_help_panel=PLACES)
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch cifar10/100 first.", rich_help_panel=PLACES)
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        help="Of MLflow; by default a database in the storage folder.",
        rich_help_panel=PLACES,
    ),
]
LoggedTo = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        help="Of MLflow, for a search without a journal; by default in the storage folder.",
        rich_help_panel=PLACES,
    ),
]
Experiment = Annotated[str | None, typer.Option(help="MLflow experiment.", rich_help_panel=PLACES)]
Address = Annotated[
    str,
    typer.Option(
        help="A running Ray cluster; by default Ray starts here.", rich_help_panel=MACHINE
    ),
]
Cpus = Annotated[int, typer.Option(min=1, help="Also a trial's threads.", rich_help_panel=MACHINE)]
Gpus = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="May be a fraction; by default 1 if there is a GPU here.",
        rich_help_panel=MACHINE,
    ),
]
