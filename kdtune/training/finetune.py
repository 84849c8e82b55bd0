"""A finished student on another dataset: new classifier, every layer trained (cho2019, T9)."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdtune.config import ConfigError, TrialConfig, parse
from kdtune.contracts import FlatConfig, Scalar
from kdtune.training.delivery import deliver
from kdtune.training.initial import finished_name
from kdtune.training.trial import Trial

RECIPE: dict[str, Scalar] = {
    "method": "scratch",
    "train.epochs": 12,
    "train.lr": 0.1,
    "train.schedule": "step",
    "train.milestones": "0.25,0.5,0.75",
    "train.lr_factor": 0.1,
    "train.weight_decay": 1e-4,
}
"""cho2019's: 12 epochs, the rate cut by 10 every 3; the weight decay of its ImageNet runs."""

ERRORS = {"accuracy": "top1_error", "top5": "top5_error"}
SPLITS = ("val", "test")
KEPT = ("val/accuracy", "test/accuracy", "test/top1_error", "test/top5_error")
"""What a saved student says of itself."""

OnEpoch = Callable[[int, Mapping[str, float]], None]
"""Called with the seed and the metrics of an epoch."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and sample standard deviation (n - 1) over seeds; no deviation of one value."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class FinetuneRun:
    """One seed: the metrics of the last epoch, ``val/best_*`` and the scores on the test split."""

    seed: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """All seeds of a fine-tuning.

    Attributes:
        config: Canonical flat configuration, of the first seed.
        runs: In the order of the seeds.
    """

    config: FlatConfig
    runs: tuple[FinetuneRun, ...]

    @property
    def best(self) -> FinetuneRun:
        """The run that validation chooses; of equals the first."""
        return max(self.runs, key=lambda run: run.metrics["val/accuracy"])

    def spread(self, metric: str) -> Spread:
        """A metric of the last epoch over the seeds, e.g. ``test/top1_error``."""
        values = [run.metrics[metric] for run in self.runs]
        std = statistics.stdev(values) if len(values) > 1 else None
        return Spread(mean=statistics.fmean(values), std=std, n=len(values))

    def summary(self) -> dict[str, Spread]:
        """The errors on validation and test, shares in [0, 1]."""
        names = [f"{split}/{error}" for split in SPLITS for error in ERRORS.values()]
        return {name: self.spread(name) for name in names}


def finetune_trial(flat: FlatConfig) -> TrialConfig:
    """The trial that fine-tunes what ``init`` names.

    Args:
        flat: Keys of a trial over those of :data:`RECIPE`; ``init`` is the folder of a student or
            ``store:`` and a key. ``student`` may be left out: it is what ``init`` holds.

    Raises:
        FileNotFoundError: If there is no such student.
        ValueError: If ``init`` is missing, what it holds is damaged, or the rest is not valid.
    """
    given = {key: value for key, value in flat.items() if value is not None}
    source = given.get("init")
    if not isinstance(source, str) or not source:
        raise ConfigError(
            "init must name what is fine-tuned: the folder of a student, or 'store:' and the key "
            f"of a stored network, got {source!r}"
        )
    name = finished_name(source, store=str(given.get("teacher.store", "")))
    config = parse({**RECIPE, "student": name, **given})
    if config.prune_ratio:
        raise ConfigError(f"prune_ratio must be 0 for fine-tuning, got {config.prune_ratio}")
    return config


def with_errors(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics, and for each accuracy of a split the error, as the papers print it."""
    errors = {
        f"{split}/{error}": 1 - metrics[f"{split}/{score}"]
        for split in SPLITS
        for score, error in ERRORS.items()
        if f"{split}/{score}" in metrics
    }
    return {**metrics, **errors}


def finetune(
    init: str,
    *,
    dataset: str,
    seeds: Sequence[int] = (0, 1, 2),
    settings: FlatConfig | None = None,
    folder: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> FinetuneResult:
    """Fine-tune a finished network with several seeds, and test each once, at its end.

    Args:
        init: Folder of a student, or ``store:`` and the key of a stored network.
        dataset: What to fine-tune on; its images have as many channels as the network reads.
        seeds: Of the new classifier, the order and the views; each is a run.
        settings: Flat keys over :data:`RECIPE`.
        folder: Where the run that validation chooses is saved as a student; None to keep none.
        on_epoch: Told of every epoch.

    Raises:
        FileNotFoundError: If there is no such student, or the data is not there.
        ValueError: If there is no seed or one twice, the network cannot serve the dataset, or a
            setting is not valid; nothing has been trained then.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds must be one or more different numbers, got {list(seeds)}")
    flat = {**(settings or {}), "init": init, "dataset": dataset, "role": "finalist"}
    configs = [finetune_trial({**flat, "seed": seed}) for seed in seeds]
    runs: list[FinetuneRun] = []
    chosen: Trial | None = None
    for config in configs:
        trial = Trial(config)
        runs.append(FinetuneRun(seed=config.seed, metrics=_train(trial, on_epoch)))
        result = FinetuneResult(config=configs[0].flat(), runs=tuple(runs))
        chosen = trial if result.best is runs[-1] else chosen
    if folder is not None and chosen is not None:
        kept = {name: result.best.metrics[name] for name in KEPT}
        deliver(chosen, folder, kept)
    return result


def _train(trial: Trial, on_epoch: OnEpoch | None) -> dict[str, float]:
    best, best_epoch = -1.0, 0.0
    metrics: dict[str, float] = {}
    while not trial.finished:
        metrics = with_errors(trial.next_epoch())
        if metrics["val/accuracy"] > best:
            best, best_epoch = metrics["val/accuracy"], metrics["epoch"]
        if on_epoch is not None:
            on_epoch(trial.config.seed, metrics)
    chosen = {"val/best_accuracy": best, "val/best_epoch": best_epoch}
    return with_errors({**metrics, **chosen, **trial.test()})
