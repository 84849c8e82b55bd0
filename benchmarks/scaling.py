"""Seconds a trial as the work grows: more trials, more images, more teachers.

Trials run one after the other in one process on one thread, each from its configuration to its last
epoch, validation included, in two ways that take turns: ``live`` asks the teacher in every step,
``shared`` (``teacher.signals=exact``) reads what the first trial kept. Trials differ by their
temperature. The teachers are stored, and this process has verified them, as far as it keeps them.

- **Trials sharing one teacher**, 1, 2, 4, ... The seconds of the first n divided by n: with live
  teachers flat, with shared ones falling towards a student alone, as one trial pays for all.
- **Images**: seconds a trial and 1,000 images, for the first trial and a later one. Flat means that
  cost is in proportion to the work.
- **Teachers**, 1, 2, 4, ... for as many trials in all, in turn: each teacher's first trial pays.

Each is done ``--rounds`` times, each time with a store that holds nothing but the teachers. The
figures are medians; the ratios are of each round.

    python benchmarks/scaling.py [--data FOLDER] [--images 128] [--trials 32] [--rounds 3]
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import arms
from machine import Report, add_common_options, listed, median, ratios, show
from material import BATCH, dataset_name, lesson, publish

from kdtune.config import parse
from kdtune.contracts import Scalar
from kdtune.training.trial import Trial

TEACHER_TRIALS = 8
"""Of the last part: trials in all, and at most as many teachers."""

Flat = dict[str, Scalar]
Times = dict[str, list[list[float]]]
"""By arm, round by round, the seconds of each trial."""


def seconds(flat: Flat) -> float:
    """Of a whole trial."""
    start = time.perf_counter()
    trial = Trial(parse(flat))
    while not trial.finished:
        trial.next_epoch()
    return time.perf_counter() - start


def in_turns(flats: Sequence[Flat], ways: Sequence[str], rounds: int) -> Times:
    """The trials one by one, each in every way before the next, every round in a fresh folder.

    Args:
        flats: The trials; their teachers are stored where they look for them.
        ways: Arms.
        rounds: How often all is done.
    """
    store = str(flats[0]["teacher.store"])
    times: Times = {way: [] for way in ways}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as made:
            fresh = {"teacher.store": shutil.copytree(store, str(Path(made) / "teachers"))}
            own = {way: [{**flat, **fresh, **arms.ARMS[way]} for flat in flats] for way in ways}
            for flat in own[arms.LIVE]:
                Trial(parse(flat))  # reads and verifies its teacher
            for way in ways:
                times[way].append([])
            for place in range(len(flats)):
                for way in ways:
                    times[way][-1].append(seconds(own[way][place]))
    return times


def doubled(most: int) -> Iterator[int]:
    """1, 2, 4, ... up to ``most``."""
    count = 1
    while count <= most:
        yield count
        count *= 2


def varied(flat: Flat, count: int) -> list[Flat]:
    """As many trials that differ by their temperature."""
    return [{**flat, "temperature": 1.0 + place / 4} for place in range(count)]


def sharing_one_teacher(base: Flat, ways: Sequence[str], count: int, rounds: int) -> dict[str, Any]:
    """Seconds a trial of the first 1, 2, 4, ... trials."""
    times = in_turns(varied(base, count), ways, rounds)
    per_trial = {
        n: {way: [list(accumulate(each))[n - 1] / n for each in own] for way, own in times.items()}
        for n in doubled(count)
    }
    return {"seconds": times, "seconds_per_trial": per_trial}


def more_images(base: Flat, ways: Sequence[str], most: int, rounds: int) -> dict[str, Any]:
    """Seconds of the first trial and of a later one, for growing training splits."""
    found = {}
    for images in doubled(most // BATCH):
        flat = {**base, "data.train_limit": images * BATCH}
        publish(flat)
        found[images * BATCH] = in_turns(varied(flat, 2), ways, rounds)
    return {"seconds": found}


def more_teachers(base: Flat, ways: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds a trial, for as many trials in turn with 1, 2, 4, ... teachers."""
    found, per_trial = {}, {}
    taught = [{**base, "teacher.seed": seed} for seed in range(TEACHER_TRIALS)]
    for each in taught:
        publish(each)
    for teachers in doubled(TEACHER_TRIALS):
        trials = enumerate(varied({}, TEACHER_TRIALS))
        flats = [{**taught[place % teachers], **own} for place, own in trials]
        times = in_turns(flats, ways, rounds)
        found[teachers] = times
        per_trial[teachers] = {
            way: [sum(each) / len(each) for each in own] for way, own in times.items()
        }
    return {"seconds": found, "seconds_per_trial": per_trial}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_options(parser, images=2 * BATCH)
    parser.add_argument("--trials", type=int, default=32, help="most trials with one teacher")
    parser.add_argument("--most-images", type=int, default=16 * BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pair", nargs=2, default=("resnet56", "resnet20"))
    options = parser.parse_args()
    report = Report("scaling", options)
    ways = [way for way in arms.measurable(options.device) if way in (arms.LIVE, arms.SHARED)]
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        largest = max(options.images, options.most_images)
        with dataset_name(options.data, scratch, images=largest) as dataset:
            base = lesson(
                dataset,
                tuple(options.pair),
                images=options.images,
                epochs=1,
                store=scratch / "teachers",
                device=options.device,
            )
            publish(base)
            seconds({**base, **arms.ARMS[arms.LIVE]})  # warms up
            rounds = options.rounds
            trials = sharing_one_teacher(base, ways, options.trials, rounds)
            images = more_images(base, ways, options.most_images, rounds)
            teachers = more_teachers(base, ways, rounds)
    show_per_trial("trials sharing one teacher: s a trial", trials["seconds_per_trial"])
    show_images(images["seconds"])
    title = f"teachers of {TEACHER_TRIALS} trials: s a trial"
    show_per_trial(title, teachers["seconds_per_trial"])
    report.write(n=rounds, trials=trials, images=images, teachers=teachers)


def show_per_trial(title: str, found: Mapping[int, Mapping[str, list[float]]]) -> None:
    """One row a count: medians of each way, and how many times ``live`` takes longer."""
    rows = []
    for count, own in found.items():
        live, shared = own[arms.LIVE], own.get(arms.SHARED)
        faster = [] if shared is None else ratios(live, shared)
        rows.append(
            [
                str(count),
                f"{median(live):.2f}",
                f"{median(shared or []):.2f}",
                f"{median(faster):.2f}",
                listed(faster),
            ]
        )
    show(title, ["", "live", "shared", "live / shared", "rounds"], rows)


def show_images(found: Mapping[int, Times]) -> None:
    """One row a size: seconds for 1,000 images, of the first and of a later trial."""
    rows = []
    for images, times in found.items():
        cells = []
        for way in (arms.LIVE, arms.SHARED):
            for place in range(2):
                taken = [each[place] / images * 1e3 for each in times.get(way, [])]
                cells.append(f"{median(taken):.1f}")
        rows.append([str(images), *cells])
    columns = [
        "images",
        *(f"{way}, {which}" for way in ("live", "shared") for which in ("first", "later")),
    ]
    show("s a trial and 1,000 images", columns, rows)


if __name__ == "__main__":
    main()
