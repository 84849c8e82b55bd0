"""The command itself, and what its verbs share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import kdtune

EXIT_BAD_INPUT = 2
PLACES, MACHINE = "Data and results", "Machine"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Hyperparameter search for knowledge distillation, on Ray Tune and MLflow.",
)


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


def fail(message: object, code: int = EXIT_BAD_INPUT) -> typer.Exit:
    """Say what is wrong, and how to leave."""
    Console(stderr=True).print(f"[bold red]error:[/] {escape(str(message))}", highlight=False)
    return typer.Exit(code)


@contextmanager
def bad_input() -> Iterator[None]:
    """Inside, what the user got wrong ends the command with its message."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise fail(error) from None


def table(*columns: str, right: tuple[int, ...] = ()) -> Table:
    """An empty table; ``right`` are the columns of numbers."""
    made = Table(box=box.SIMPLE_HEAD)
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position in right else "left")
    return made
