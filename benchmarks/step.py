"""Images a second of kdtune's distillation, against a loop as public code writes it.

Three pairs of networks, batches of 64 colour images of 32x32 pixels, one thread. All arms of a pair
take turns, an epoch each, round after round, so that a busy machine hurts them alike; a first round
warms up and is not counted. Every arm trains on the same images with the same first weights,
hyperparameters and teacher. What is timed is the training part of an epoch, from bytes to the
optimiser's step; validation is not. Every arm has a process of its own, as a trial of a search has.

- ``plain``: `plain_loop.py` with images loaded in the process that trains, so on one core.
- ``plain, 1 worker``: the same with a loader process beside it, so on two cores, of which the
  other arms use one; only where there are two.
- ``live``: kdtune, the teacher asked in every step. The gain over ``plain`` is that of the loop.
- ``first``: kdtune, the first trial of a search: asks the teacher and keeps what it says.
- ``shared``: kdtune, every later trial of the search: reads what the teacher said (steady state).
- ``first, bf16`` and ``shared, bf16``: the same two with ``train.precision=bf16``.
- ``student alone`` and ``student alone, bf16``: the floor of all that: the student's forward and
  backward pass and its optimiser on one batch, over and over.

The ratios are to ``plain``, round by round, and their median: a search has a trial on every core.
The teacher alone is measured on one batch, over and over: what ``plain`` pays in every step.

    python benchmarks/step.py [--data FOLDER] [--images 256] [--rounds 5] [--pair wrn_40_2 ...]
"""

import argparse
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import arms
import torch
import torch.nn.functional as F
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
from material import (
    BATCH,
    CLASSES,
    PAIRS,
    dataset_name,
    lesson,
    noise,
    plain_run,
    plain_settings,
    publish,
)
from plain_loop import new_optimizer

from kdtune.config import parse, without_teacher
from kdtune.contracts import FlatConfig
from kdtune.models import run
from kdtune.training.precision import Precision, in_precision
from kdtune.training.trial import Trial

PLAIN, WORKER, FIRST, ALONE = "plain", "plain, 1 worker", "first", "student alone"
TEACHER_STEPS = 4
CONTEXT = multiprocessing.get_context("spawn")
Speeds = dict[str, list[float]]


class Elsewhere:
    """What ``make`` makes, in a process of its own, which waits between two calls.

    Args:
        make: Of a module, so that another process finds it.
        *given: Its arguments.
    """

    def __init__(self, make: Callable[..., Callable[[], float]], *given: Any) -> None:
        self._asked, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_answer, args=(theirs, make, given))

    def __call__(self) -> float:
        if self._process.pid is None:
            self._process.start()
        self._asked.send(True)
        answer = self._asked.recv()
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return float(answer)

    def close(self) -> None:
        """End the process, if it was needed."""
        if self._process.pid is not None:
            self._asked.send(False)
            self._process.join()


def _answer(asked: Any, make: Callable[..., Callable[[], float]], given: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    way: Callable[[], float] | None = None
    while asked.recv():
        try:
            way = way or make(*given)
            asked.send(way())
        except Exception:  # told where it is waited for
            asked.send(traceback.format_exc())


def plain_arm(flat: FlatConfig, key: str, workers: int, device: str) -> Callable[[], float]:
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


def student_alone(flat: FlatConfig, device: str) -> Callable[[], float]:
    """As many steps as an epoch has, of the student of a trial of kdtune -> images a second."""
    config = parse(without_teacher(flat))
    trial = Trial(config)
    student = trial.student.train()
    optimizer = new_optimizer(student, plain_settings(parse(flat)))
    images, labels = noise(BATCH, device), torch.arange(BATCH, device=device) % CLASSES
    steps = len(trial.dataset.train) // BATCH

    def step() -> None:
        optimizer.zero_grad()
        with in_precision(config.train.precision, trial.device):
            logits = run(student, images, ()).logits
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return lambda: _speed(step, steps, device)


def arms_of(
    flat: dict[str, Any], key: str, device: str, can: Sequence[str]
) -> dict[str, Callable[[], float]]:
    """All that can be measured here, in the order in which they take turns.

    ``first`` goes before the one that reads what it keeps; their temperatures differ, as those of
    the trials of a search do.
    """
    found: dict[str, Callable[[], float]] = {PLAIN: Elsewhere(plain_arm, flat, key, 0, device)}
    if (os.cpu_count() or 1) > 1:
        found[WORKER] = Elsewhere(plain_arm, flat, key, 1, device)
    found[arms.LIVE] = Elsewhere(kdtune_arm, {**flat, **arms.ARMS[arms.LIVE]})
    for arm in can:
        if arm != arms.LIVE:
            own = {**flat, **arms.ARMS[arm]}
            found[arm.replace(arms.SHARED, FIRST)] = Elsewhere(kdtune_arm, own)
            found[arm] = Elsewhere(kdtune_arm, {**own, "temperature": 2.0})
            found[arm.replace(arms.SHARED, ALONE)] = Elsewhere(student_alone, own, device)
    return found


def measured(ways: dict[str, Callable[[], float]], rounds: int) -> Speeds:
    """Images a second of each way, round by round, the first left out."""
    speeds: Speeds = {name: [] for name in ways}
    try:
        for turn in range(rounds + 1):
            for name, epoch in ways.items():
                speed = epoch()
                if turn:
                    speeds[name].append(speed)
    finally:
        for way in ways.values():
            if isinstance(way, Elsewhere):
                way.close()
    return speeds


def compared(speeds: Speeds) -> dict[str, dict[str, Any]]:
    """For each other arm its ratio to ``plain``, round by round, and the median."""
    own = {name: ratios(values, speeds[PLAIN]) for name, values in speeds.items() if name != PLAIN}
    return {name: {"rounds": each, "median": median(each)} for name, each in own.items()}


def eager_teacher(flat: FlatConfig, key: str, device: str) -> Callable[[], float]:
    """The teacher as the plain loop runs it -> images a second."""
    teacher, images = plain_run(flat, key).teacher, noise(BATCH, device)
    return lambda: _inference_speed(lambda: teacher(images), device)


def kdtune_teacher(flat: FlatConfig, precision: Precision, device: str) -> Callable[[], float]:
    """The teacher as a trial of kdtune runs it -> images a second."""
    teacher, images = Trial(parse(flat)).teacher, noise(BATCH, device)
    assert teacher is not None

    def run_once() -> None:
        with in_precision(precision, torch.device(device)):
            run(teacher.model, images, ())

    return lambda: _inference_speed(run_once, device)


@torch.no_grad()
def _inference_speed(run_once: Callable[[], Any], device: str) -> float:
    return _speed(run_once, TEACHER_STEPS, device)


def _speed(run_once: Callable[[], Any], times: int, device: str) -> float:
    """Images a second of ``times`` batches."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(times):
        run_once()
    synchronise(device)
    return times * BATCH / (time.perf_counter() - start)


def teacher_alone(flat: FlatConfig, key: str, device: str, rounds: int) -> Speeds:
    """Images a second of the teacher's inference in each mode, on a batch, round by round."""
    ways: dict[str, Callable[[], float]] = {
        "plain": Elsewhere(eager_teacher, flat, key, device),
        "kdtune, fp32": Elsewhere(kdtune_teacher, flat, "fp32", device),
    }
    if has_native_bf16(device):
        ways["kdtune, bf16"] = Elsewhere(kdtune_teacher, flat, "bf16", device)
    return measured(ways, rounds)


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
        alone = teacher_alone(flat, key, device, options.rounds)
    return {
        "images_per_s": speeds,
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
    show(name, ["", "images/s", "rounds", "times plain", "rounds"], rows)
    alone = result["teacher_images_per_s"]
    rows = [[mode, f"{median(speeds):,.1f}", listed(speeds, 1)] for mode, speeds in alone.items()]
    show(f"teacher {name.split()[0]} alone", ["", "images/s", "rounds"], rows)


if __name__ == "__main__":
    main()
