"""One trial from its configuration to its metrics, epoch by epoch."""

import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import SGD

from kdtune import models
from kdtune.config import ConfigError, TrialConfig
from kdtune.data import Dataset
from kdtune.pruning import PruneRecord, prune, pruned_cost, replay
from kdtune.seeds import derive, global_stream
from kdtune.training.data import load_trial_data
from kdtune.training.epoch import EpochResult, train_epoch
from kdtune.training.evaluate import agreement, predict, scores
from kdtune.training.plan import phase_at, phases
from kdtune.training.schedules import learning_rate
from kdtune.training.teacher import (
    EVAL_BATCH,
    FrozenTeacher,
    obtain_teacher,
    publish_teacher,
)
from kdtune.views import ViewStream, plain_batches

WORST_LOSS = 1e6
"""Reported in place of an infinite or undefined loss, so that every metric stays finite."""


def run_trial(config: TrialConfig) -> dict[str, float]:
    """Train one trial to its end and return the metrics of its last epoch."""
    trial = Trial(config)
    metrics: dict[str, float] = {}
    while not trial.finished:
        metrics = trial.next_epoch()
    return metrics


class Trial:
    """A trial that advances one epoch at a time.

    Everything random is a function of (seed, purpose, epoch), so the state between epochs is the
    student, its optimiser and the number of epochs done.

    Args:
        config: The whole trial.

    Raises:
        ValueError: If the data, the networks or the teacher cannot serve the configuration.
    """

    def __init__(self, config: TrialConfig) -> None:
        self.config = config
        self.device = resolve_device(config.train.device)
        _make_repeatable(self.device, config.train.threads)
        self.dataset = load_trial_data(config)
        check_networks(config, self.dataset)
        self.teacher = self._obtain_teacher()
        self.epoch = 0
        self.diverged = False
        self._plan = phases(config)
        self._prune_record: PruneRecord | None = None
        self._student_metrics: dict[str, float] = {}
        self.student = self._new_student()
        self._optimizer = self._new_optimizer()
        self._stream = ViewStream(
            self.dataset,
            augment=config.augment,
            batch_size=config.train.batch_size,
            seed=derive(config.seed, self._net, "views"),
            device=self.device,
        )

    @property
    def _net(self) -> str:
        """Names the random streams: a teacher and a student never share one, whatever the seeds."""
        return "teacher" if self.config.role == "teacher" else "student"

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left, because all are done or the trial diverged."""
        return self.diverged or self.epoch >= self.config.train.epochs

    def next_epoch(self) -> dict[str, float]:
        """Train one epoch, evaluate on validation, and return the flat metrics."""
        assert not self.finished
        start = time.perf_counter()
        phase = phase_at(self._plan, self.epoch)
        if phase.prune and phase.start == self.epoch:
            self._prune()
        result = self._train()
        trained = time.perf_counter()
        rate = self._optimizer.param_groups[0]["lr"]
        self.epoch += 1
        return {
            **self._judge(result),
            "lr": rate,
            "images_per_s": result.images / (trained - start),
            "time/epoch_s": time.perf_counter() - start,
            "epoch": float(self.epoch),
            "finished": float(self.epoch >= self.config.train.epochs),
            "diverged": float(self.diverged),
            **self._student_metrics,
        }

    def test(self) -> dict[str, float]:
        """Scores on the test split: for finalists, once."""
        batches = self._plain(self.dataset.test)
        metrics = _named("test", scores(*predict(self.student, batches)))
        if not math.isfinite(metrics["test/loss"]):
            metrics["test/loss"] = WORST_LOSS
        if self.teacher is not None:
            taught = scores(*predict(self.teacher.model, self._plain(self.dataset.test)))
            metrics["teacher/test_accuracy"] = taught["accuracy"]
        return metrics

    def publish(self) -> str:
        """Put the trained network into the store, as a teacher, and return its key.

        Raises:
            ConfigError: If the training diverged.
        """
        if self.diverged:
            raise ConfigError(
                f"the training of teacher {self.config.student} diverged in epoch {self.epoch}; "
                f"lower its learning rate, now {self.config.train.lr}"
            )
        state = self.student.state_dict()
        return publish_teacher(self.config, self.device, state)

    def state(self) -> dict[str, Any]:
        """All that a restored trial needs, as tensors and plain values."""
        record = self._prune_record
        return {
            "config": self.config.flat(),
            "epoch": self.epoch,
            "diverged": self.diverged,
            "student": self.student.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "pruned": None if record is None else record.to_json(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()``; the following epochs give the same bits.

        Raises:
            ConfigError: If the state is of another configuration.
        """
        if state["config"] != self.config.flat():
            own = self.config.flat()
            other = [k for k in {**own, **state["config"]} if own.get(k) != state["config"].get(k)]
            raise ConfigError(f"the checkpoint is of another trial: {', '.join(other)} differ")
        self.student = self._new_student()
        if state["pruned"] is not None:
            self._prune_record = PruneRecord.from_json(state["pruned"])
            channels, size = self.dataset.channels, self.dataset.size
            replay(self.student, self._prune_record, channels=channels, size=size)
        self.student.load_state_dict(state["student"])
        if state["pruned"] is not None:
            self._note_pruning()
        self._optimizer = self._new_optimizer()
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        self.diverged = state["diverged"]

    def save(self, folder: Path) -> None:
        """Write the state to ``folder/trial.pt``."""
        torch.save(self.state(), folder / "trial.pt")

    def load(self, folder: Path) -> None:
        """Restore from ``folder/trial.pt``, which may hold nothing but tensors and plain values."""
        file = folder / "trial.pt"
        self.restore(torch.load(file, map_location=self.device, weights_only=True))

    def _obtain_teacher(self) -> FrozenTeacher | None:
        if self.config.teacher is None:
            return None
        return obtain_teacher(self.config, self.device, train_teacher)

    def _new_student(self) -> nn.Module:
        return models.build(
            self.config.student,
            classes=self.dataset.classes,
            channels=self.dataset.channels,
            size=self.dataset.size,
            seed=derive(self.config.seed, self._net),
        ).to(self.device)

    def _new_optimizer(self) -> SGD:
        train = self.config.train
        return SGD(
            self.student.parameters(),
            lr=train.lr,
            momentum=train.momentum,
            nesterov=train.nesterov,
            weight_decay=train.weight_decay,
        )

    def _prune(self) -> None:
        self._prune_record = prune(
            self.student,
            method=self.config.prune.method,
            ratio=self.config.prune_ratio,
            channels=self.dataset.channels,
            size=self.dataset.size,
        )
        self._optimizer = self._new_optimizer()
        self._note_pruning()

    def _note_pruning(self) -> None:
        cost = pruned_cost(self.student, channels=self.dataset.channels, size=self.dataset.size)
        whole = sum(parameter.numel() for parameter in self._new_student().parameters())
        kept = {"params_kept": cost["params_nonzero"] / whole}
        self._student_metrics = _named("prune", {**cost, **kept})

    def _train(self) -> EpochResult:
        with global_stream(self.config.seed, "dropout", self.epoch):
            return train_epoch(
                student=self.student,
                teacher=None if self.teacher is None else self.teacher.model,
                objective=self.config.objective,
                optimizer=self._optimizer,
                stream=self._stream,
                epoch=self.epoch,
                learning_rate=partial(learning_rate, self.config.train),
            )

    def _judge(self, result: EpochResult) -> dict[str, float]:
        """Training and validation metrics, finite whatever happened."""
        logits, labels = predict(self.student, self._plain(self.dataset.val))
        val = scores(logits, labels)
        train = {"loss": result.loss, **result.terms}
        self.diverged = not all(map(math.isfinite, [val["loss"], *train.values()]))
        if self.diverged:
            val = {"accuracy": 0.0, "top5": 0.0, "loss": WORST_LOSS}
            train = {k: v if math.isfinite(v) else WORST_LOSS for k, v in train.items()}
        metrics = {**_named("val", val), **_named("train", train)}
        if self.teacher is not None:
            same = agreement(logits, self.teacher.val_top1)
            metrics["val/agreement"] = 0.0 if self.diverged else same
        return metrics

    def _plain(self, split: Any) -> Any:
        return plain_batches(split, self.dataset, batch_size=EVAL_BATCH, device=self.device)


def train_teacher(config: TrialConfig) -> None:
    """Train a teacher's own trial to its end and publish it."""
    trial = Trial(config)
    while not trial.finished:
        trial.next_epoch()
    trial.publish()


def check_networks(config: TrialConfig, dataset: Dataset) -> None:
    """Whether student and teacher can serve the data and the method.

    Raises:
        ValueError: With the reason, before any training.
    """
    taps = config.objective.traits.taps
    names = [config.student] if config.teacher is None else [config.student, config.teacher.model]
    for name in names:
        models.check(
            name,
            classes=dataset.classes,
            channels=dataset.channels,
            size=dataset.size,
            taps=taps,
        )


def check_pruning(config: TrialConfig, dataset: Dataset) -> None:
    """Whether the student can be pruned as asked, tried on a throw-away copy.

    Raises:
        ValueError: With the reason, before any training.
    """
    student = models.build(
        config.student,
        classes=dataset.classes,
        channels=dataset.channels,
        size=dataset.size,
        seed=0,
    )
    prune(
        student,
        method=config.prune.method,
        ratio=config.prune_ratio,
        channels=dataset.channels,
        size=dataset.size,
    )


def resolve_device(name: str) -> torch.device:
    """The device that ``train.device`` means here.

    Raises:
        ConfigError: If CUDA is asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if name == "cuda" and not cuda:
        raise ConfigError("train.device is 'cuda', but torch sees no CUDA device; use 'auto'")
    return torch.device("cuda" if cuda and name != "cpu" else "cpu")


def _make_repeatable(device: torch.device, threads: int) -> None:
    """The same bits in every run: sums depend on the number of threads, cuDNN's on its choices."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


def _named(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
