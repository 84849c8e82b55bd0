"""Stored teachers: what is there, whether it is sound, and how to clear, take and bring it."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from kdtune.cli.app import PLACES, app, bad_input, check_files, table
from kdtune.cli.options import RESULTS, AnyStorage

if TYPE_CHECKING:
    from kdtune.contracts import Scalar
    from kdtune.teachers.inventory import Entry, Leftover
    from kdtune.teachers.store import TeacherStore

EXIT_DAMAGED = 1
DAMAGED = "damaged"
DAY_S, HOUR_S, MINUTE_S = 86_400.0, 3_600.0, 60.0

LIST_HELP = """
List the stored teachers, the latest first.

Epochs are those of a full training; '35 of 200' is a snapshot of one, '35, short' a training with \
a compressed schedule of its own. Only records are read; 'kdtune teachers verify' reads the weights.

[bold]Examples[/bold]

  kdtune teachers list

  kdtune teachers list --storage s3://bucket/results
"""

SHOW_HELP = """
Show one teacher: where it lies, and everything that its key stands for.

[bold]Examples[/bold]

  kdtune teachers show 3f1a

  kdtune teachers show 3f1a --store /nfs/teachers
"""

VERIFY_HELP = """
Read teachers whole and compare them with the sums that were stored.

A damaged one is never used: the next trial that asks for it trains it again.

[bold]Examples[/bold]

  kdtune teachers verify

  kdtune teachers verify 3f1a 77 --storage s3://bucket/results

[bold]Exit codes[/bold]: 0 all are sound; 1 some are damaged; 2 bad input.
"""

PRUNE_HELP = """
Delete teachers, and what belongs to none; shows first what goes, and asks.

Without an option that says more: whatever no trial can use, which is damaged or half-written \
teachers, those of other versions of kdtune, and locks and files that dead processes left. What is \
in training stays. A teacher that is needed again is trained again.

[bold]Examples[/bold]

  kdtune teachers prune

  kdtune teachers prune --damaged --yes

  kdtune teachers prune --older-than 90

  kdtune teachers prune --keep 20 --older-than 30
"""

EXPORT_HELP = """
Write a teacher to a safetensors file, which 'kdtune teachers import' takes on another machine.

[bold]Examples[/bold]

  kdtune teachers export 3f1a --to teacher.safetensors
"""

IMPORT_HELP = """
Store a teacher that 'kdtune teachers export' wrote, under the key that it had.

Other weights have no key; a trial uses them as they are with teacher.weights=FILE, a search with \
--teacher-weights FILE.

[bold]Examples[/bold]

  kdtune teachers import teacher.safetensors

  kdtune teachers import teacher.safetensors --storage s3://bucket/results
"""

teachers = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List, verify, prune, export and import stored teachers.",
)
app.add_typer(teachers, name="teachers")

Store = Annotated[
    str | None,
    typer.Option(
        help="Folder or URI of the teachers; by default teachers/ in the storage.",
        rich_help_panel=PLACES,
    ),
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The first digits are enough.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@teachers.command("list", help=LIST_HELP)
def list_teachers(store: Store = None, storage: AnyStorage = str(RESULTS)) -> None:
    """List teachers; ``--help`` shows LIST_HELP."""
    from kdtune.teachers.inventory import entries

    console = Console()
    with bad_input():
        place = _opened(store, storage)
        found = entries(place)
    if not found:
        _say(console, f"No teachers in '{place.root}'.")
        return
    columns = ("key", "model", "dataset", "epochs", "smoothing", "augment", "seed")
    rows = table(*columns, "val. acc. %", "size", "age", right=(4, 6, 7, 8, 9))
    rows.columns[0].no_wrap = True
    now = time.time()
    for entry in found:
        cells = map(escape, _cells(entry))
        rows.add_row(entry.key, *cells, decimal(entry.bytes), _age(now - entry.stored_s))
    console.print(rows)
    for entry in found:
        if entry.problem:
            _say(console, f"{entry.key} is damaged: {entry.problem}", style="red")


@teachers.command(help=SHOW_HELP)
def show(key: Key, store: Store = None, storage: AnyStorage = str(RESULTS)) -> None:
    """Show a teacher; ``--help`` shows SHOW_HELP."""
    from kdtune.teachers.inventory import entries, find_key, problem_of

    with bad_input():
        place = _opened(store, storage)
        whole = find_key(place, key)
        entry = next(entry for entry in entries(place) if entry.key == whole)
        problem = problem_of(place, whole)
    rows = table("", whole)
    rows.add_row("lies in", place.location.child(whole).uri)
    rows.add_row("state", f"damaged: {escape(problem)}" if problem else "sound")
    rows.add_row("size", decimal(entry.bytes))
    rows.add_row("stored", time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.stored_s)))
    for name, value in _facts(entry):
        rows.add_row(escape(name), escape(str(value)))
    Console().print(rows, highlight=False)


@teachers.command(help=VERIFY_HELP)
def verify(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", help="By default all of them.")
    ] = None,
    store: Store = None,
    storage: AnyStorage = str(RESULTS),
) -> None:
    """Verify teachers; ``--help`` shows VERIFY_HELP."""
    from kdtune.teachers import inventory

    console = Console()
    with bad_input():
        place = _opened(store, storage)
        chosen = [inventory.find_key(place, key) for key in keys or []] or inventory.keys(place)
        problems = {key: inventory.problem_of(place, key) for key in dict.fromkeys(chosen)}
    damaged = {key: problem for key, problem in problems.items() if problem}
    for key, problem in damaged.items():
        _say(console, f"{key} is damaged: {problem}", style="red")
    _say(console, f"{len(problems) - len(damaged)} of {len(problems)} teachers are sound.")
    if damaged:
        raise typer.Exit(EXIT_DAMAGED)


@teachers.command(help=PRUNE_HELP)
def prune(
    damaged: Annotated[bool, typer.Option("--damaged", help="Damaged ones only.")] = False,
    older_than: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="Also sound ones as old as that.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Also sound ones but for the latest N.")
    ] = None,
    yes: Yes = False,
    store: Store = None,
    storage: AnyStorage = str(RESULTS),
) -> None:
    """Delete teachers; ``--help`` shows PRUNE_HELP."""
    from kdtune.teachers.inventory import entries, leftovers, remove_leftover, remove_teacher

    console = Console()
    with bad_input():
        if damaged and not (older_than is keep is None):
            raise ValueError(
                "--damaged deletes nothing that is sound; drop --older-than and --keep"
            )
        if older_than is not None and not math.isfinite(older_than):
            raise ValueError(f"--older-than must be a finite number of days, got {older_than}")
        place = _opened(store, storage)
        going = list(_going(place, entries(place), damaged, older_than, keep))
        files = [] if damaged else leftovers(place)
    if not (going or files):
        _say(console, f"Nothing to delete in '{place.root}'.")
        return
    _print_going(console, going, files)
    if not yes:
        typer.confirm("Delete them?", abort=True)
    with bad_input():
        gone = [
            _done(
                console,
                partial(remove_teacher, place, entry.key, if_damaged=why.startswith(DAMAGED)),
            )
            for entry, why in going
        ]
        cleared = [_done(console, partial(remove_leftover, place, file)) for file in files]
    _say(console, f"{_counted(sum(gone), sum(cleared))} deleted.")


@teachers.command("export", help=EXPORT_HELP)
def export_one(
    key: Key,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="A .safetensors file.")],
    store: Store = None,
    storage: AnyStorage = str(RESULTS),
) -> None:
    """Export a teacher; ``--help`` shows EXPORT_HELP."""
    from kdtune.teachers.exchange import export_teacher
    from kdtune.teachers.inventory import find_key

    with bad_input():
        check_files([to])
        place = _opened(store, storage)
        whole = find_key(place, key)
        export_teacher(place, whole, to)
    _say(Console(), f"Teacher {whole} is in '{to}'.")


@teachers.command("import", help=IMPORT_HELP)
def import_one(
    file: Annotated[Path, typer.Argument(help="What 'kdtune teachers export' wrote.")],
    store: Store = None,
    storage: AnyStorage = str(RESULTS),
) -> None:
    """Import a teacher; ``--help`` shows IMPORT_HELP."""
    from kdtune.teachers.exchange import import_teacher

    with bad_input():
        place = _opened(store, storage)
        key, new = import_teacher(place, file)
    said = "is stored" if new else "was stored already"
    _say(Console(), f"Teacher {key} {said} in '{place.root}'.")


def _opened(store: str | None, storage: str) -> "TeacherStore":
    """The store that was asked for: by default that of the searches in ``storage``."""
    from kdtune.storage import Location
    from kdtune.teachers.store import TeacherStore

    if store is None:
        return TeacherStore(Location.parse(storage).child("teachers").uri)
    return TeacherStore(Location.parse(store).uri)


def _cells(entry: "Entry") -> Iterator[str]:
    """Model, dataset, epochs, smoothing, augmentation, seed and accuracy, as far as is known."""
    from kdtune.report.settings import MISSING

    if entry.record is None:
        yield from [MISSING] * 7
        return
    record, config = entry.record, entry.record.config
    yield str(config.get("student", MISSING))
    yield record.dataset.rpartition("/")[2] or MISSING
    yield _epochs(config) or MISSING
    for key in ("method.label_smoothing", "augment", "seed"):
        yield str(config.get(key, MISSING))
    yield f"{100 * record.val_accuracy:.2f}"


def _epochs(config: Mapping[str, "Scalar"]) -> str:
    epochs, snapshot = config.get("train.epochs", ""), config.get("train.snapshots")
    if snapshot:
        return f"{snapshot} of {epochs}"
    return f"{epochs}, short" if config.get("train.schedule") == "early_stop" else str(epochs)


def _facts(entry: "Entry") -> Iterator[tuple[str, object]]:
    if entry.record is None:
        return
    record = entry.record
    yield "val. accuracy", f"{100 * record.val_accuracy:.2f} %"
    yield "sha256", record.sha256
    yield from [("dataset", record.dataset)] if record.dataset else []
    for name, value in record.identity.items():
        if name != "config":
            yield name, value
    yield from sorted(record.config.items())


def _going(
    store: "TeacherStore",
    found: Sequence["Entry"],
    damaged: bool,
    older_than: float | None,
    keep: int | None,
) -> Iterator[tuple["Entry", str]]:
    """The teachers that go, and why; sound ones only if an option says which."""
    from kdtune.teachers.inventory import problem_of

    now, sound = time.time(), 0
    for entry in found:
        if problem := problem_of(store, entry.key):
            yield entry, f"{DAMAGED}: {problem}"
        elif damaged:
            continue
        elif entry.outdated:
            yield entry, "of another version of kdtune"
        else:
            sound += 1
            old = older_than is None or now - entry.stored_s >= older_than * DAY_S
            surplus = keep is None or sound > keep
            if old and surplus and not (older_than is keep is None):
                yield entry, "as asked"


def _print_going(
    console: Console, going: Sequence[tuple["Entry", str]], files: Sequence["Leftover"]
) -> None:
    now = time.time()
    rows = table("what", "size", "age", "why", right=(1, 2))
    rows.columns[0].no_wrap = True
    for entry, why in going:
        rows.add_row(entry.key, decimal(entry.bytes), _age(now - entry.stored_s), escape(why))
    for file in files:
        rows.add_row(escape(file.name), "", "", f"left behind in {escape(file.location.uri)}")
    console.print(rows, highlight=False)
    freed = decimal(sum(entry.bytes for entry, _ in going))
    _say(console, f"{_counted(len(going), len(files))}, {freed}.")


def _counted(teachers: int, files: int) -> str:
    """``1 teacher and 2 leftovers``."""
    plural = ("" if teachers == 1 else "s", "" if files == 1 else "s")
    return f"{teachers} teacher{plural[0]} and {files} leftover{plural[1]}"


def _done(console: Console, remove: Callable[[], bool]) -> bool:
    """Whether it was deleted; what is in training stays, and that is said."""
    from kdtune.storage import Claimed

    try:
        return remove()
    except Claimed as busy:
        _say(console, f"{busy}; it stays", style="yellow")
        return False


def _age(seconds: float) -> str:
    """``3 d``, ``5 h``, ``12 min``."""
    for unit, name in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
