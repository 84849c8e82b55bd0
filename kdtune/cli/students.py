"""What can be done with students: export, fine-tuning, chains of them."""

import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from kdtune.cli.app import app, bad_input, fail, table
from kdtune.cli.options import (
    RESULTS,
    Address,
    Cpus,
    DataRoot,
    Experiment,
    Gpus,
    Name,
    Seed,
    Seeds,
    Settings,
    Storage,
    TrackingUri,
)

if TYPE_CHECKING:
    from kdtune.contracts import FlatConfig, Scalar
    from kdtune.search.outcomes import Outcome

EXIT_NO_RESULT, EXIT_SIGNAL = 1, 128

EXPORT_HELP = """
Write a saved student as ONNX, or as a torch.export program that loads without kdtune.

A search saves its finalists under students/ in its results.

[bold]Examples[/bold]

  kdtune export kdtune-results/NAME/students/finalist-1-seed-1

  kdtune export kdtune-results/NAME/students/finalist-1-seed-1 --format pt2 --out student.pt2
"""

FINETUNE_HELP = """
Train a finished student on another dataset: a new classifier, every layer trained.

As in Cho and Hariharan, 2019 (table 9): 12 epochs, learning rate 0.1 cut by 10 every 3 epochs. \
Several seeds; validation is watched, test is read once, at the end.

[bold]Examples[/bold]

  kdtune finetune kdtune-results/NAME/students/finalist-1-seed-1 --dataset folder:data/flowers

  kdtune finetune STUDENT --dataset parquet:data/cifar10 --seeds 5 --set train.lr=0.01
"""

SEQUENCE_HELP = """
Train a chain of networks, each taught by the one before, and compare ensembles.

NAME*N stands for N generations of a network; commas join different ones. The ensemble of the \
chain is compared with that of as many networks trained from scratch (Cho and Hariharan, 2019, \
section 5.4). Networks go to the teacher store, so a chain that begins like an earlier one goes on \
from it.

[bold]Examples[/bold]

  kdtune sequence "resnet8x0.25*5" --set train.epochs=30

  kdtune sequence wrn_16_8,wrn_16_3,wrn_16_1 --dataset cifar10 --data-root data --method eskd \
--set train.schedule=step
"""

PARTS = ("generation/", "scratch/", "ensemble/")
"""What the results of a sequence begin with."""


@app.command(help=EXPORT_HELP)
def export(
    student: Annotated[Path, typer.Argument(help="Folder of a saved student.")],
    format: Annotated[str, typer.Option(help="onnx or pt2.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File; by default in the same folder.")] = None,
) -> None:
    """Export a student; ``--help`` shows EXPORT_HELP."""
    from kdtune.students import export_student

    with bad_input():
        file = export_student(student, format=format, file=out)
    Console().print(str(file), soft_wrap=True, highlight=False)


@app.command(help=FINETUNE_HELP)
def finetune(
    student: Annotated[str, typer.Argument(help="Folder of a saved student, or store:KEY.")],
    dataset: Annotated[str, typer.Option(help="See 'kdtune datasets'.")],
    settings: Settings = None,
    seeds: Seeds = 3,
    seed: Seed = 0,
    name: Name = None,
    storage: Storage = RESULTS,
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = None,
    experiment: Experiment = None,
    address: Address = "",
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = None,
) -> None:
    """Fine-tune a student; ``--help`` shows FINETUNE_HELP."""
    from kdtune.training.data import load_trial_data
    from kdtune.training.finetune import finetune_trial
    from kdtune.training.pairing import check_networks
    from kdtune.training.teacher import STORED
    from trainables import Finetune

    with bad_input():
        init = student if student.startswith(STORED) else str(Path(student).absolute())
        given = {
            "init": init,
            **_shared(dataset, data_root, storage, cpus_per_trial, gpus_per_trial),
        }
        flat = {**given, **_decoded(settings, "scratch"), "role": "finalist"}
        configs = [finetune_trial({**flat, "seed": seed + n}) for n in range(seeds)]
        check_networks(configs[0], load_trial_data(configs[0]))
        ends = _run(
            "finetune",
            Finetune,
            [config.flat() for config in configs],
            name=name,
            storage=storage,
            tracking_uri=tracking_uri,
            experiment=experiment,
            address=address,
            cpus=cpus_per_trial,
            gpus=gpus_per_trial,
            kept=lambda key: key.startswith(("val/", "test/")),
        )
    errors = ("val/top1_error", "val/top5_error", "test/top1_error", "test/top5_error")
    _conclude(ends, errors)


@app.command(help=SEQUENCE_HELP)
def sequence(
    chain: Annotated[str, typer.Argument(help="Networks, e.g. 'resnet8x0.25*5'.")],
    dataset: Annotated[str, typer.Option(help="See 'kdtune datasets'.")] = "digits",
    method: Annotated[str, typer.Option(help="How one teaches the next.")] = "kd",
    ensembles: Annotated[
        bool, typer.Option(help="Also train as many networks from scratch, and compare.")
    ] = True,
    settings: Settings = None,
    seeds: Seeds = 1,
    seed: Seed = 0,
    name: Name = None,
    storage: Storage = RESULTS,
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = None,
    experiment: Experiment = None,
    address: Address = "",
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = None,
) -> None:
    """Train a chain; ``--help`` shows SEQUENCE_HELP."""
    from kdtune.training.sequence import SequenceTrial, parse_sequence
    from kdtune.training.teacher import STORED
    from trainables import Sequence as Chain

    with bad_input():
        shared = _shared(dataset, data_root, storage, cpus_per_trial, gpus_per_trial)
        own: dict[str, Scalar] = {
            "chain": chain,
            "ensembles": ensembles,
            "method": method,
            "role": "finalist",
        }
        flat = {**shared, **_decoded(settings, method), **own}
        configs = [parse_sequence({**flat, "seed": seed + n}) for n in range(seeds)]
        SequenceTrial(configs[0])
        ends = _run(
            "sequence",
            Chain,
            [config.flat() for config in configs],
            name=name,
            storage=storage,
            tracking_uri=tracking_uri,
            experiment=experiment,
            address=address,
            cpus=cpus_per_trial,
            gpus=gpus_per_trial,
            kept=lambda key: key.startswith(PARTS) or key == "generation_keys",
        )
    tested = [key for end in ends[0][:1] for key in end.result if key.endswith("test_accuracy")]
    for end in ends[0]:
        keys = str(end.result.get("generation_keys", "")).split(",")
        for generation, key in enumerate(keys if keys != [""] else []):
            line = f"seed {end.config['seed']}, generation {generation}: {STORED}{key}"
            Console().print(line, soft_wrap=True, highlight=False)
    _conclude(ends, tested)


def _shared(
    dataset: str, data_root: Path | None, storage: Path, cpus: int, gpus: float | None
) -> dict[str, "Scalar"]:
    """The keys of both kinds of runs that options of their own set."""
    import torch

    from kdtune.data import absolute_name

    root = str(data_root.absolute()) if data_root else None
    use_gpu = torch.cuda.is_available() if gpus is None else gpus > 0
    return {
        "dataset": absolute_name(dataset, root=root),
        "data.root": root,
        "teacher.store": str(storage.absolute() / "teachers"),
        "train.threads": cpus,
        "train.device": "cuda" if use_gpu else "cpu",
    }


def _decoded(settings: list[str] | None, method: str) -> dict[str, "Scalar"]:
    from kdtune.config import ConfigError, decode

    texts = {}
    for text in settings or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, got '{text}'")
        texts[key.strip()] = value.strip()
    return decode({"method": method, **texts})


def _run(
    kind: str,
    trainable: Any,
    configs: Sequence["FlatConfig"],
    *,
    name: str | None,
    storage: Path,
    tracking_uri: str | None,
    experiment: str | None,
    address: str,
    cpus: int,
    gpus: float | None,
    kept: Callable[[str], bool],
) -> tuple[list["Outcome"], int]:
    """Run all seeds; how each ended, and the signal that stopped them (or 0)."""
    import torch

    from kdtune.search.replicates import Replicates
    from kdtune.tracking import resolve_tracking_uri

    console, storage = Console(), storage.absolute()
    started = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
    dataset = str(configs[0]["dataset"]).rpartition("/")[2]
    replicates = Replicates(
        kind=kind,
        name=name or f"{kind}-{started}",
        storage=storage,
        tracking_uri=resolve_tracking_uri(tracking_uri, None, storage),
        experiment=experiment or f"{kind} on {dataset}",
        command=shlex.join(["kdtune", *sys.argv[1:]]),
        address=address,
        cpus=cpus,
        gpus=float(torch.cuda.is_available()) if gpus is None else gpus,
    )
    outcomes, report, stopped = replicates.run(trainable, configs, console=console, kept=kept)
    if not report.complete:
        console.print(str(report), markup=False, style="yellow")
    console.print(f"Results: {replicates.folder}", soft_wrap=True, highlight=False)
    return outcomes, stopped


def _conclude(ends: tuple[list["Outcome"], int], metrics: Sequence[str]) -> None:
    """Print mean and deviation of the metrics over the seeds that finished, and leave."""
    from kdtune.report.finalists import summarise
    from kdtune.report.settings import MISSING

    outcomes, stopped = ends
    finished = [end for end in outcomes if end.kind == "finished"]
    if finished:
        shown = table("%", "mean ± std (seeds)", right=(1,))
        for metric in metrics:
            values = [end.result[metric] for end in finished if metric in end.result]
            shown.add_row(metric, str(summarise(values)) if values else MISSING)
        Console().print(shown)
    for end in outcomes:
        if end.error:
            raise fail(end.error.strip().splitlines()[-1], code=EXIT_NO_RESULT)
    raise typer.Exit(EXIT_SIGNAL + stopped if stopped else 0 if finished else EXIT_NO_RESULT)
