"""What a shortcut of a trial costs in accuracy: the same trials with it and without, seed by seed.

A shortcut is ``train.precision=bf16`` or ``teacher.signals=half``. For each seed the student is
trained twice from the same first weights on the same views, once with the shortcut and once in
float32 beside a running teacher; the two take turns in being first. What is printed is the mean
difference of the final validation accuracies in points, with its standard error over the seeds.
Use a shortcut for a search if that is small against the differences that the search is after.

    python benchmarks/parity.py --set train.precision=bf16 --seeds 6 [--data FOLDER]
        [--pair resnet56] [--images 5000] [--epochs 30]
"""

import argparse
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from machine import Report, add_common_options, listed, show
from material import PAIRS, dataset_name, lesson

from kdtune.config import decode, parse
from kdtune.contracts import FlatConfig
from kdtune.training.trial import run_trial

FULL: FlatConfig = {"train.precision": "fp32", "teacher.signals": "live"}


def accuracy(flat: FlatConfig) -> float:
    """Of a whole trial on validation, in percent."""
    return 100 * run_trial(parse(flat))["val/accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_options(parser, images=5000)
    parser.add_argument("--set", action="append", required=True, metavar="KEY=VALUE", dest="given")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--pair", choices=[teacher for teacher, _ in PAIRS], default="resnet56")
    options = parser.parse_args()
    shortcut = decode(dict(text.split("=", 1) for text in options.given))
    report = Report("parity", options)
    torch.set_num_threads(1)
    pair = next(pair for pair in PAIRS if pair[0] == options.pair)
    found: dict[str, list[float]] = {"full": [], "shortcut": []}
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        with dataset_name(options.data, scratch, images=options.images) as dataset:
            flat: dict[str, Any] = lesson(
                dataset,
                pair,
                images=options.images,
                epochs=options.epochs,
                store=scratch / "teachers",
                device=options.device,
            )
            flat |= {"teacher.full_epochs": options.epochs}
            for seed in range(options.seeds):
                ways = [("full", FULL), ("shortcut", {**FULL, **shortcut})]
                for name, own in ways if seed % 2 else reversed(ways):
                    found[name].append(accuracy({**flat, **own, "seed": seed}))
                    print(f"seed {seed}, {name}: {found[name][-1]:.2f} %", flush=True)
    gains = [less - full for less, full in zip(found["shortcut"], found["full"], strict=True)]
    error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else float("nan")
    rows = [[name, f"{statistics.mean(each):.2f}", listed(each)] for name, each in found.items()]
    rows.append(["difference", f"{statistics.mean(gains):+.2f} (se {error:.2f})", listed(gains)])
    title = f"{pair[0]} -> {pair[1]}, {' '.join(options.given)}, n = {options.seeds} seeds"
    show(title, ["", "val. accuracy, %", "seeds"], rows)
    report.write(n=options.seeds, pair=pair, shortcut=shortcut, accuracy=found, difference=gains)


if __name__ == "__main__":
    main()
