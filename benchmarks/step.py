"""Images a second of kdtune's distillation, against a loop as public code writes it.

Three pairs of networks, batches of 64 colour images of 32x32 pixels, one thread. All arms of a pair
take turns, an epoch each, round after round, so that a busy machine hurts them alike; a first round
warms up and is not counted. Every arm trains on the same images with the same first weights,
hyperparameters and teacher. What is timed is the training part of an epoch, from bytes to the
optimiser's step; validation is not.

- ``plain``: `plain_loop.py` with images loaded in the process that trains, so on one core.
- ``plain, 1 worker``: the same with a loader process beside it, so on two cores; on the CPU only
  where there are two.
- ``live``: kdtune, the teacher asked in every step. The gain over ``plain`` is that of the loop.
- ``first``: kdtune, the first trial of a search: asks the teacher and keeps what it says.
- ``shared``: kdtune, every later trial of the search: reads what the teacher said (steady state).
- ``first, bf16`` and ``shared, bf16``: the same two with ``train.precision=bf16``.

The ratios are to the plain arm that is faster by its median, round by round, and their median.
The teacher alone is measured on one batch, over and over: what ``plain`` pays in every step.

    python benchmarks/step.py [--data FOLDER] [--images 256] [--rounds 5] [--pair wrn_40_2 ...]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import arms
import torch
from machine import (
    Report,
    add_common_options,
    has_native_bf16,
    listed,
    median,
    ratios,
    show,
    synchronise,
)
from material import BATCH, PAIRS, dataset_name, lesson, new_network, noise, plain_run, publish

from kdtune.config import parse
from kdtune.contracts import FlatConfig
from kdtune.models import run
from kdtune.training.trial import Trial

PLAIN, WORKER, FIRST = "plain", "plain, 1 worker", "first"
TEACHER_STEPS = 4
Speeds = dict[str, list[float]]


def plain_arm(flat: FlatConfig, key: str, *, workers: int, device: str) -> Callable[[], float]:
    """An epoch of the plain loop -> images a second."""
    loop = plain_run(flat, key, workers=workers)

    def epoch() -> float:
        synchronise(device)
        start = time.perf_counter()
        loop.train()
        synchronise(device)
        return len(loop.train_loader.dataset) / (time.perf_counter() - start)  # type: ignore[arg-type]

    return epoch


def kdtune_arm(flat: FlatConfig) -> Callable[[], float]:
    """An epoch of a trial -> images a second."""
    trial = Trial(parse(flat))
    return lambda: trial.next_epoch()["images_per_s"]


def arms_of(
    flat: dict[str, Any], key: str, device: str, can: Sequence[str]
) -> dict[str, Callable[[], float]]:
    """All that can be measured here, in the order in which they take turns.

    ``first`` goes before the one that reads what it keeps; their temperatures differ, as those of
    the trials of a search do.
    """
    found = {PLAIN: plain_arm(flat, key, workers=0, device=device)}
    if (os.cpu_count() or 1) > 1:
        found[WORKER] = plain_arm(flat, key, workers=1, device=device)
    found[arms.LIVE] = kdtune_arm({**flat, **arms.settings(arms.LIVE)})
    for arm in can:
        if arm != arms.LIVE:
            own = {**flat, **arms.settings(arm)}
            found[arm.replace(arms.SHARED, FIRST)] = kdtune_arm(own)
            found[arm] = kdtune_arm({**own, "temperature": 2.0})
    return found


def measured(ways: dict[str, Callable[[], float]], rounds: int) -> Speeds:
    """Images a second of each way, round by round, the first left out."""
    speeds: Speeds = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, epoch in ways.items():
            speed = epoch()
            if turn:
                speeds[name].append(speed)
    return speeds


def compared(speeds: Speeds) -> dict[str, dict[str, Any]]:
    """For each arm of kdtune its ratio to the faster plain arm, round by round, and the median."""
    base = faster_plain(speeds)
    own = {
        name: ratios(values, speeds[base])
        for name, values in speeds.items()
        if not name.startswith(PLAIN)
    }
    return {name: {"rounds": each, "median": median(each)} for name, each in own.items()}


def faster_plain(speeds: Speeds) -> str:
    """The plain arm that kdtune is compared with: one with or one without a loader process."""
    return max((n for n in speeds if n.startswith(PLAIN)), key=lambda name: median(speeds[name]))


def teacher_alone(flat: FlatConfig, device: str, rounds: int) -> Speeds:
    """Images a second of the teacher's inference in each mode, on a batch, round by round."""
    trial = Trial(parse(flat))
    assert trial.teacher is not None
    own, images = trial.teacher.model, noise(BATCH, device)
    eager = new_network(trial.config.teacher.model, trial.dataset, seed=0)  # type: ignore[union-attr]
    eager.load_state_dict(own.state_dict())
    eager.to(device).eval()

    def in_bf16() -> Any:
        with torch.autocast(device, torch.bfloat16):
            return run(own, images, ())

    ways: dict[str, Callable[[], Any]] = {
        "eager fp32": lambda: eager(images),
        "kdtune fp32": lambda: run(own, images, ()),
    }
    if has_native_bf16(device):
        ways["kdtune bf16"] = in_bf16

    def speed(way: Callable[[], Any]) -> float:
        synchronise(device)
        start = time.perf_counter()
        with torch.no_grad():
            for _ in range(TEACHER_STEPS):
                way()
        synchronise(device)
        return TEACHER_STEPS * BATCH / (time.perf_counter() - start)

    return measured({name: lambda way=way: speed(way) for name, way in ways.items()}, rounds)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_options(parser, images=4 * BATCH)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pair", nargs="*", choices=[teacher for teacher, _ in PAIRS])
    options = parser.parse_args()
    report = Report("step", options)
    torch.set_num_threads(1)
    can = arms.measurable(options.device)
    wanted = [pair for pair in PAIRS if not options.pair or pair[0] in options.pair]
    found = {}
    for pair in wanted:
        with tempfile.TemporaryDirectory() as made:
            found[" -> ".join(pair)] = one_pair(pair, Path(made), options, can)
    for name, result in found.items():
        show_pair(name, result)
    report.write(n=options.rounds, batch_size=BATCH, threads=1, pairs=found)


def one_pair(
    pair: tuple[str, str], scratch: Path, options: argparse.Namespace, can: Sequence[str]
) -> dict[str, Any]:
    """All figures of a pair, for the arms that ``can`` be measured.

    What its trials share lies in ``scratch``.
    """
    device = options.device
    with dataset_name(options.data, scratch, images=options.images) as dataset:
        flat = lesson(
            dataset,
            pair,
            images=options.images,
            epochs=options.rounds + 1,
            store=scratch / "teachers",
            device=device,
        )
        key = publish(flat)
        speeds = measured(arms_of(flat, key, device, can), options.rounds)
        alone = teacher_alone(flat, device, options.rounds)
    return {
        "images_per_s": speeds,
        "compared_with": faster_plain(speeds),
        "ratios": compared(speeds),
        "teacher_images_per_s": alone,
    }


def show_pair(name: str, result: dict[str, Any]) -> None:
    """The arms of a pair, then its teacher alone."""
    rows = [
        [
            arm,
            f"{median(speeds):,.1f}",
            listed(speeds, 1),
            f"{result['ratios'][arm]['median']:.2f}" if arm in result["ratios"] else "",
            listed(result["ratios"][arm]["rounds"]) if arm in result["ratios"] else "",
        ]
        for arm, speeds in result["images_per_s"].items()
    ]
    show(name, ["", "images/s", "rounds", f"times {result['compared_with']}", "rounds"], rows)
    alone = result["teacher_images_per_s"]
    rows = [[mode, f"{median(speeds):,.1f}", listed(speeds, 1)] for mode, speeds in alone.items()]
    show(f"teacher {name.split()[0]} alone", ["", "images/s", "rounds"], rows)


if __name__ == "__main__":
    main()
