"""The command itself, and what its verbs share."""

import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
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
        raise fail(_said(error)) from None


def _said(error: Exception) -> str:
    """What went wrong: of a file its path, without the number that the system has for it."""
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        rule = found["msg"].removeprefix("Value error, ").replace("should", "must")
        return f"--{'.'.join(map(str, found['loc']))}: {rule}, got {reprlib.repr(found['input'])}"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: '{error.filename}'"
    return str(error)


def check_files(places: Iterable[str | Path]) -> None:
    """Refuse files that cannot be written, before any work is done for them.

    Raises:
        ValueError: If there is no folder for one, or a folder in its place.
    """
    for place in places:
        file = Path(place).absolute()
        if not str(place) or file.is_dir():
            raise ValueError(f"a file is written, and '{place}' is a folder; add a file's name")
        if not file.parent.is_dir():
            raise ValueError(f"there is no folder to write '{place}' into; make it first")


def table(*columns: str, right: tuple[int, ...] = ()) -> Table:
    """An empty table; ``right`` are the columns of numbers."""
    made = Table(box=box.SIMPLE_HEAD)
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position in right else "left")
    return made
