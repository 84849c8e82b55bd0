"""Tables of the papers, trained again."""

import os
import shlex
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kdtune.cli.app import app, bad_input
from kdtune.cli.options import (
    RESULTS,
    Address,
    Cpus,
    DataRoot,
    Download,
    Experiment,
    Gpus,
    Settings,
    Storage,
    TrackingUri,
)

if TYPE_CHECKING:
    from kdtune.search.reproduction import Ended
    from kdtune.search.reproduction_plan import Plan

REPRODUCE_HELP = """
Train cells of a paper's table under its protocol, and set them beside what was printed.

Teachers are trained first, once each, then every run, several at once; test is read once per run, \
at its end. Without TABLE: what of each table can be run. Cells that cannot be (their data or \
networks are not here, the figure is damaged, it is no score of a training) are listed with the \
reason. Numbers in --cells are those that --dry-run shows.

[bold]Examples[/bold]

  kdtune reproduce

  kdtune reproduce cho2019:T6 --dry-run

  kdtune reproduce cho2019:T6 --data-root data --download --cells 5,7 --seeds 3

  kdtune reproduce sarfraz2020:T3 --dataset parquet:data/cifar10 --cells student=WRN-16-2,method=kd

  kdtune reproduce wang2020:T1 --dataset parquet:data/cifar100 --epochs-scale 0.1

  kdtune reproduce sarfraz2020:T5 --dataset digits --teacher resnet8 --student resnet8x0.25 \
--epochs-scale 0.05

[bold]Exit codes[/bold]: 0 some run finished; 1 none did; 2 bad input, nothing was started; 70 a \
fault of kdtune; 130 Ctrl-C and 143 SIGTERM, what is done is kept.
"""


@app.command(help=REPRODUCE_HELP)
def reproduce(
    table: Annotated[
        str | None, typer.Argument(metavar="PAPER:TABLE", help="See 'kdtune papers list'.")
    ] = None,
    cells: Annotated[
        list[str] | None,
        typer.Option(help="Numbers, ranges and KEY=VALUE, e.g. '1,4-7' or 'method=kd'."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show runs, epochs and an estimate of hours.")
    ] = False,
    epochs_scale: Annotated[
        float, typer.Option(min=0, help="Multiplies all numbers of epochs.")
    ] = 1.0,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each cell; by default the paper's, or 3.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    dataset: Annotated[
        str,
        typer.Option(help="Where a printed dataset lies, or what takes the place of all."),
    ] = "",
    teacher: Annotated[str, typer.Option(help="In place of the printed ones.")] = "",
    student: Annotated[str, typer.Option(help="In place of the printed ones.")] = "",
    settings: Settings = None,
    name: Annotated[
        str | None, typer.Option(help="Of the results; by default table and time.")
    ] = None,
    storage: Storage = RESULTS,
    data_root: DataRoot = None,
    download: Download = False,
    tracking_uri: TrackingUri = None,
    experiment: Experiment = None,
    address: Address = "",
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Without TABLE: what can be run, as a page has it.")
    ] = False,
) -> None:
    """Train a table again; ``--help`` shows REPRODUCE_HELP."""
    import torch

    from kdtune.search.reproduction import Reproduction
    from kdtune.search.reproduction import reproduce as train_again
    from kdtune.search.reproduction_plan import Changes, plan_runs
    from kdtune.tracking import resolve_tracking_uri

    console = Console()
    if table is None:
        _print_support(console, markdown=markdown)
        return
    gpus = float(torch.cuda.is_available()) if gpus_per_trial is None else gpus_per_trial
    root = data_root or (Path("data") if download else None)
    shared = {
        "data.root": str(root.absolute()) if root else None,
        "teacher.store": str(storage.absolute() / "teachers"),
        "train.threads": cpus_per_trial,
        "train.device": "cuda" if gpus else "cpu",
    }
    changes = Changes(
        dataset=dataset,
        teacher=teacher,
        student=student,
        settings=tuple(settings or ()),
        epochs_scale=epochs_scale,
        seeds=seeds,
        seed=seed,
    )
    with bad_input():
        make = partial(plan_runs, table, cells=cells or [], changes=changes, shared=shared)
        if download and not dry_run:
            _download(make(look=False), str(root))
        plan = make(look=not dry_run)
        _print_plan(console, plan)
        if dry_run:
            _print_estimate(console, plan, address, cpus_per_trial, gpus)
            return
        started = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
        request = Reproduction(
            plan=plan,
            name=name or f"{plan.paper}-{plan.table}-{started}",
            storage=storage.absolute(),
            tracking_uri=resolve_tracking_uri(tracking_uri, None, storage.absolute()),
            experiment=experiment or f"{plan.paper} again",
            command=shlex.join(["kdtune", *sys.argv[1:]]),
            address=address,
            cpus=cpus_per_trial,
            gpus=gpus,
        )
        ended = train_again(request, console=console)
    _print_results(console, ended, request.folder)
    raise typer.Exit(_exit_code(ended))


def _download(plan: "Plan", root: str) -> None:
    from kdtune import data
    from kdtune.search.reproduction_cost import KNOWN

    for name in sorted({run.config.dataset for run in plan.runs} & KNOWN.keys()):
        data.download(name, root)


def _print_support(console: Console, *, markdown: bool) -> None:
    from kdtune.search.reproduction_tables import support_page, support_table

    if markdown:
        typer.echo(support_page())
        return
    console.print(support_table(), highlight=False)


def _print_plan(console: Console, plan: "Plan") -> None:
    from kdtune.search.reproduction_tables import left_out, plan_table

    console.print(plan_table(plan), highlight=False)
    for line in left_out(plan):
        _say(console, line)


def _print_estimate(console: Console, plan: "Plan", address: str, cpus: int, gpus: float) -> None:
    from kdtune.config import together
    from kdtune.search.reproduction_cost import estimate
    from kdtune.search.reproduction_tables import estimate_lines

    with console.status("") as status:
        found = estimate(
            together(plan.teachers),
            [run.config for run in plan.runs],
            concurrency=_concurrency(address, cpus, gpus),
            progress=lambda n, of: status.update(f"timing a training step: {n + 1} of {of}"),
        )
    for line in estimate_lines(plan, found):
        _say(console, line)


def _concurrency(address: str, cpus: int, gpus: float) -> int:
    """How many runs go on at once: on the cluster, or on this machine, where Ray is not started."""
    import torch

    from kdtune.search.cluster import Share, connected

    if address:
        with connected(address):
            return Share.of_cluster(cpus, gpus).concurrency
    slots = [(os.cpu_count() or 1) // cpus]
    if gpus:
        slots.append(int(torch.cuda.device_count() / gpus))
    return max(1, min(slots))


def _print_results(console: Console, ended: "Ended", folder: Path) -> None:
    from kdtune.search.reproduction_tables import apart, comparison_table, counted

    if ended.signal:
        name = signal.Signals(ended.signal).name
        _say(console, f"Stopped by {name}. What is done is kept; trained teachers serve again.")
    if ended.cells:
        console.print(comparison_table(ended.cells), highlight=False)
    for line in apart(ended.cells):
        _say(console, line)
    for what, outcomes in (("teacher", ended.teachers), ("run", ended.outcomes)):
        errors = [end.error for end in outcomes if end.error]
        if errors:
            said = errors[0].strip().splitlines()[-1]
            _say(console, f"{counted(len(errors), what)} failed; the first said: {said}")
    if ended.report.lost:
        console.print(str(ended.report), markup=False, style="yellow")
    _say(console, f"Results: {folder}")


def _exit_code(ended: "Ended") -> int:
    from kdtune.search.session import EXIT_BROKEN, EXIT_NO_RESULT, EXIT_SIGNAL

    if ended.broken:
        return EXIT_BROKEN
    if ended.signal:
        return EXIT_SIGNAL + ended.signal
    return 0 if any(end.kind == "finished" for end in ended.outcomes) else EXIT_NO_RESULT


def _say(console: Console, text: str) -> None:
    """A line as it is, however long."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
