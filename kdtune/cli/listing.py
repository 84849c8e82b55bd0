"""What there is to choose from."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kdtune.cli.app import app, bad_input, table


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
) -> None:
    """List the search spaces, or show one: its arms and axes, what is fixed, its recipes."""
    from kdtune.search import space as catalogue
    from kdtune.search.overview import overview

    console = Console()
    if name is None:
        rows = table("space", "methods", "axes", "what")
        for each in map(catalogue.load, catalogue.names()):
            axes = {key for arm in each.arm_names for key in each.active(arm)}
            rows.add_row(each.name, ", ".join(each.methods()), str(len(axes)), each.summary)
        console.print(rows)
        return
    with bad_input():
        chosen = catalogue.load(name)
    console.print(overview(chosen), highlight=False)


@app.command()
def models(
    size: Annotated[int, typer.Option(min=8, help="Side of the images in pixels.")] = 32,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the images.")] = 3,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
) -> None:
    """List the networks with parameters and multiply-adds. torchvision's go by their own names."""
    from kdtune import models as zoo

    rows = table("model", "family", "parameters", "multiply-adds", "taps", right=(2, 3))
    for column in rows.columns[:-1]:
        column.no_wrap = True  # half a name or half a number says nothing; the taps give way
    for row in zoo.describe(size=size, channels=channels, classes=classes):
        rows.add_row(row.name, row.family, f"{row.params:,}", f"{row.macs:,}", ", ".join(row.taps))
    Console().print(rows)


@app.command()
def methods(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="All of them and the augmentations, as a page.")
    ] = False,
) -> None:
    """List the distillation methods and what each lets a search tune."""
    from kdtune.config import method_keys, method_page
    from kdtune.objectives import OBJECTIVES

    if markdown:
        typer.echo(method_page(), nl=False)
        return
    rows = table("method", "tunes", "what")
    for name in OBJECTIVES.names():
        what = (OBJECTIVES.get(name).__doc__ or "").split("\n")[0].replace("``", "")
        rows.add_row(name, ", ".join(method_keys(name)), escape(what))
    Console().print(rows)


@app.command()
def datasets() -> None:
    """List the datasets and what each needs."""
    from kdtune import data

    rows = table("dataset", "what", "classes", "size", "needs")
    for row in data.describe():
        classes = "of the data" if row.classes is None else str(row.classes)
        rows.add_row(row.name, escape(row.summary), classes, row.shape, escape(row.needs))
    Console().print(rows)
