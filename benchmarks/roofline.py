"""How much of the machine's measured peak the networks reach, on one thread and batches of 64.

The peak is measured, not read from a data sheet: the best of several large matrix products and of a
large convolution in float32, and in bfloat16 where the device multiplies it natively, before and
after the networks. (On a GPU torch convolves float32 in TF32 unless told otherwise, here too.)
Against the best of float32 stand, for six networks:

- ``training``: a student's step of kdtune without a teacher (``method=scratch``: views, forward,
  backward, SGD), by the images a second that a trial reports.
- ``inference``: the forward pass alone, as a teacher runs in every step.

Work is counted by kdtune's own counter (`kdtune.multiply_adds`: convolutions and linear layers of
one image) as 2 operations a multiply-add. A training step is taken as 3 forward passes: the
backward pass computes the gradients of the inputs and of the weights, each as much as the forward
pass (the first layer needs no gradient of its input, which overrates a step by under 1 %).
Normalisation, activations and additions count nothing, though they take time: they are why small
networks stay below the peak, and the share says how much is left at most.

    python benchmarks/roofline.py [--data FOLDER] [--images 128] [--rounds 5] [--device cuda]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from machine import (
    Report,
    add_common_options,
    has_native_bf16,
    listed,
    median,
    show,
    synchronise,
)
from material import BATCH, CLASSES, PAIRS, SIDE, dataset_name, lesson, noise
from torch.nn import functional

from kdtune import models
from kdtune.config import parse
from kdtune.config.derived import without_teacher
from kdtune.contracts import FlatConfig
from kdtune.multiply_adds import multiply_adds
from kdtune.training.layout import arranged
from kdtune.training.trial import Trial

NETWORKS = [name for pair in PAIRS for name in pair]
MATRICES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
CONVS = {"cpu": ((64, 64, 32), (64, 256, 8)), "cuda": ((512, 128, 32), (512, 512, 8))}
"""Batch, channels in and out, side of the image; 3x3 kernels."""

WORK_AT_ONCE_S = 0.2
INFERENCE_STEPS = 4


def machine_peaks(device: str, rounds: int) -> dict[str, dict[str, float]]:
    """GFLOP/s of each large operation by type of number."""
    found = {"float32": peaks(device, torch.float32, rounds)}
    if has_native_bf16(device):
        found["bfloat16"] = peaks(device, torch.bfloat16, rounds)
    return found


def best(*measured: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The best of several measurements, operation by operation."""
    first = measured[0]
    return {
        kind: {name: max(each[kind][name] for each in measured) for name in own}
        for kind, own in first.items()
    }


def peaks(device: str, dtype: torch.dtype, rounds: int) -> dict[str, float]:
    """GFLOP/s of each large operation, the best of all rounds."""
    found: dict[str, float] = {}
    with torch.no_grad():
        for name, (work, run) in {**_products(device, dtype), **_convs(device, dtype)}.items():
            run()
            again = max(1, int(WORK_AT_ONCE_S / _seconds(run, 1, device)))
            times = [_seconds(run, again, device) / again for _ in range(rounds)]
            found[name] = work / min(times) / 1e9
    return found


Operation = tuple[int, Callable[[], Any]]


def _products(device: str, dtype: torch.dtype) -> dict[str, Operation]:
    found: dict[str, Operation] = {}
    for size in MATRICES[device]:
        one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        found[f"matmul {size}"] = 2 * size**3, lambda one=one, other=other: one @ other  # type: ignore[misc]
    return found


def _convs(device: str, dtype: torch.dtype) -> dict[str, Operation]:
    found: dict[str, Operation] = {}
    for batch, channels, side in CONVS[device]:
        images = torch.randn(batch, channels, side, side, device=device).to(dtype)
        images = images.contiguous(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
        work = 2 * batch * side**2 * channels**2 * 9
        found[f"conv {channels} at {side}"] = (
            work,
            lambda i=images, w=weight: functional.conv2d(i, w, padding=1),  # type: ignore[misc]
        )
    return found


def _seconds(run: Callable[[], Any], times: int, device: str) -> float:
    synchronise(device)
    start = time.perf_counter()
    for _ in range(times):
        run()
    synchronise(device)
    return time.perf_counter() - start


def training_speed(flat: FlatConfig) -> Callable[[], float]:
    """An epoch of a trial without a teacher -> images a second."""
    trial = Trial(parse(without_teacher(flat)))
    return lambda: trial.next_epoch()["images_per_s"]


def inference_speed(network: str, device: str) -> Callable[[], float]:
    """Some forward passes in eval mode -> images a second."""
    model = arranged(models.build(network, classes=CLASSES, seed=0), torch.device(device))
    model.eval().requires_grad_(False)
    images = noise(BATCH, device)

    def speed() -> float:
        with torch.no_grad():
            seconds = _seconds(lambda: model(images), INFERENCE_STEPS, device)
        return INFERENCE_STEPS * BATCH / seconds

    return speed


def measured(flats: Mapping[str, FlatConfig], device: str, rounds: int) -> dict[str, Any]:
    """Images a second of each network in both ways, all taking turns, and the work of an image."""
    ways = {
        name: {"training": training_speed(flat), "inference": inference_speed(name, device)}
        for name, flat in flats.items()
    }
    speeds: dict[str, dict[str, list[float]]] = {
        name: {way: [] for way in own} for name, own in ways.items()
    }
    for turn in range(rounds + 1):
        for name, own in ways.items():
            for way, run in own.items():
                speed = run()
                if turn:  # the first round warms up
                    speeds[name][way].append(speed)
    return {
        name: {"multiply_adds": _work(name), "images_per_s": own} for name, own in speeds.items()
    }


def _work(network: str) -> int:
    model = models.blueprint(network, classes=CLASSES, channels=3, size=SIDE)
    return multiply_adds(model, channels=3, size=SIDE)


def with_shares(networks: dict[str, Any], peak: float) -> dict[str, Any]:
    """GFLOP/s of each network in both ways, medians, and their shares of ``peak``."""
    passes = {"training": 3, "inference": 1}
    for found in networks.values():
        work = 2 * found["multiply_adds"]
        found["gflops"] = {
            way: median(speeds) * passes[way] * work / 1e9
            for way, speeds in found["images_per_s"].items()
        }
        found["share_of_peak"] = {way: each / peak for way, each in found["gflops"].items()}
    return networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_options(parser, images=2 * BATCH)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    report = Report("roofline", options)
    torch.set_num_threads(1)
    device = options.device
    if not has_native_bf16(device):
        print(f"skipped: bfloat16 (the {device} has no native bfloat16)")
    before = machine_peaks(device, options.rounds)
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        with dataset_name(options.data, scratch, images=options.images) as dataset:
            flats = {
                name: lesson(
                    dataset,
                    ("resnet8", name),
                    images=options.images,
                    epochs=options.rounds + 1,
                    store=scratch,
                    device=device,
                )
                for name in NETWORKS
            }
            networks = measured(flats, device, options.rounds)
    machine = best(before, machine_peaks(device, options.rounds))
    networks = with_shares(networks, max(machine["float32"].values()))
    rows = [[name, *(f"{value:,.1f}" for value in own.values())] for name, own in machine.items()]
    show("GFLOP/s, the best of all rounds", ["", *machine["float32"]], rows)
    show_networks(networks)
    report.write(n=options.rounds, threads=1, peak_gflops=machine, networks=networks)


def show_networks(networks: dict[str, Any]) -> None:
    """One row a network and way."""
    rows = [
        [
            f"{name}, {way}",
            f"{found['multiply_adds'] / 1e6:,.1f}",
            f"{median(found['images_per_s'][way]):,.1f}",
            f"{found['gflops'][way]:,.1f}",
            f"{found['share_of_peak'][way]:.0%}",
            listed(found["images_per_s"][way], 1),
        ]
        for name, found in networks.items()
        for way in found["gflops"]
    ]
    columns = ["", "M multiply-adds", "images/s", "GFLOP/s", "of peak fp32", "rounds, images/s"]
    show("networks", columns, rows)


if __name__ == "__main__":
    main()
