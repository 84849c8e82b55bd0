"""One trial from its configuration to its metrics, epoch by epoch."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD

from kdtune import models
from kdtune.config import ConfigError, TrialConfig, publishing
from kdtune.data import ImageSplit
from kdtune.objectives import Team
from kdtune.pruning import PruneRecord, regulariser, replay
from kdtune.seeds import derive, global_stream
from kdtune.training.checkpoint import read_state, write_state
from kdtune.training.cost import student_cost
from kdtune.training.data import load_trial_data
from kdtune.training.device import prepare, resolve_device
from kdtune.training.epoch import EpochResult, Lesson
from kdtune.training.evaluate import agreement, predict, scores
from kdtune.training.initial import initial_network, initial_pruning
from kdtune.training.layout import arranged
from kdtune.training.memory import continued, memory_explained
from kdtune.training.pairing import check_networks, pair_of, prune_as
from kdtune.training.plan import Phase, phase_at, phases
from kdtune.training.precision import check_precision, in_precision
from kdtune.training.signals import shared_teacher, small
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
    networks, the optimiser and the number of epochs done.

    Args:
        config: The whole trial.

    Raises:
        ValueError: If the data, the networks or the teacher cannot serve the configuration.
    """

    def __init__(self, config: TrialConfig) -> None:
        self.config = config
        self.device = resolve_device(config.train.device)
        prepare(self.device, config.train.threads)
        check_precision(config.train.precision, self.device)
        self.dataset = load_trial_data(config)
        check_networks(config, self.dataset)
        self.teacher = self._obtain_teacher()
        self.epoch = 0
        self.diverged = False
        self._plan = phases(config)
        self._network = self._assembled()
        self._chosen = 0
        self._lesson: Lesson | None = None
        self._unpruned: nn.Module | None = None
        self._prune_record: PruneRecord | None = None
        self._around_pruning: dict[str, float] = {}
        self._cost = self._count()
        self._stream = ViewStream(
            self.dataset,
            policy=config.views,
            batch_size=config.train.batch_size,
            seed=derive(config.seed, self._net, "views"),
            device=self.device,
            plain_too=config.batches == "plain+mixed",
        )
        self._shared = shared_teacher(config, self.teacher, self._stream)

    @property
    def student(self) -> nn.Module:
        """The network to deliver; of a team the one that validation chose last."""
        return self._candidates()[self._chosen]

    @property
    def prune_record(self) -> PruneRecord | None:
        """What was removed from the student, here or before it came here; None for a whole one."""
        return self._prune_record or initial_pruning(self.config.init)

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left, because all are done or the trial diverged."""
        return self.diverged or self.epoch >= self._plan[-1].stop

    @property
    def at_teacher(self) -> bool:
        """Whether the network as it is now is a teacher that was asked for."""
        return self.config.role == "teacher" and self._epochs_done in self.config.train.published

    def next_epoch(self) -> dict[str, float]:
        """Train one epoch, evaluate on validation, and return the flat metrics.

        ``epoch`` counts the epochs done of the schedule, 0 during a warm-up before it.

        Raises:
            MemoryShortage: If memory runs out; the trial cannot be used any further.
        """
        assert not self.finished
        start = time.perf_counter()
        with memory_explained(self.config, self.device, self.epoch):
            phase = phase_at(self._plan, self.epoch)
            if self._lesson is None or self._lesson.phase != phase:
                self._begin(phase)
            assert self._lesson is not None
            with global_stream(self.config.seed, "dropout", self.epoch):
                result = self._lesson.epoch(self.epoch)
            trained = time.perf_counter()
            judged = self._judge(result)
        micro_batch = phase.micro_batch(self.epoch)
        self.epoch += 1
        return {
            **judged,
            **({} if micro_batch is None else {"train/micro_batch": float(micro_batch)}),
            "lr": self._lesson.optimizer.param_groups[0]["lr"],
            "images_per_s": result.images / (trained - start),
            "time/epoch_s": time.perf_counter() - start,
            "epoch": float(0 if phase.name == "warmup" else self.epoch - phase.origin),
            "finished": float(self.epoch >= self._plan[-1].stop),
            "diverged": float(self.diverged),
            **self._cost,
            **self._around_pruning,
            **({} if self._shared is None else self._shared.metrics()),
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
        """Put the network as it is now into the store, as a teacher, and return its key.

        Raises:
            ConfigError: If the training diverged.
        """
        if self.diverged:
            raise ConfigError(
                f"the training of teacher {self.config.student} diverged in epoch {self.epoch}; "
                f"lower its learning rate, now {self.config.train.lr}"
            )
        teacher = publishing(self.config, [self._epochs_done])
        return publish_teacher(teacher, self.device, self.student.state_dict())

    def state(self) -> dict[str, Any]:
        """All that a restored trial needs, as tensors and plain values."""
        lesson, record = self._lesson, self._prune_record
        return {
            "config": self.config.flat(),
            "epoch": self.epoch,
            "diverged": self.diverged,
            "chosen": self._chosen,
            "network": self._network.state_dict(),
            "companion": _state(lesson.companion if lesson else None),
            "optimizer": lesson.optimizer.state_dict() if lesson else None,
            "unpruned": _state(self._unpruned),
            "pruned": None if record is None else record.to_json(),
            "around_pruning": dict(self._around_pruning),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()``; the following epochs give the same bits.

        A trial that was told to train in parts when memory ran out stays with that.

        Raises:
            ConfigError: If the state is of another configuration.
        """
        self.config = continued(self.config, state["config"], state["epoch"])
        self._plan = phases(self.config)
        self._network = self._assembled()
        self._lesson = self._unpruned = self._prune_record = None
        if state["pruned"] is not None:
            self._prune_record = PruneRecord.from_json(state["pruned"])
            channels, size = self.dataset.channels, self.dataset.size
            replay(self._network, self._prune_record, channels=channels, size=size)
            arranged(self._network, self.device)
        self._network.load_state_dict(state["network"])
        if state["unpruned"] is not None:
            self._unpruned = self._assembled()
            self._unpruned.load_state_dict(state["unpruned"])
            self._unpruned.eval().requires_grad_(False)
        self.epoch, self.diverged = state["epoch"], state["diverged"]
        self._chosen = state["chosen"]
        self._around_pruning = dict(state["around_pruning"])
        self._cost = self._count()
        if state["optimizer"] is not None:
            self._lesson = self._new_lesson(phase_at(self._plan, self.epoch - 1))
            if self._lesson.companion is not None:
                self._lesson.companion.load_state_dict(state["companion"])
            self._lesson.optimizer.load_state_dict(state["optimizer"])

    def save(self, folder: Path) -> None:
        """Write the state to ``folder/trial.pt``.

        Raises:
            OSError: If it cannot be written.
        """
        write_state(self.state(), folder / "trial.pt")

    def load(self, folder: Path) -> None:
        """Restore from ``folder/trial.pt``, which may hold nothing but tensors and plain values.

        Raises:
            DamagedCheckpoint: If it is not such a file.
            ConfigError: If it is of another configuration.
        """
        self.restore(read_state(folder / "trial.pt", self.device))

    # Private

    @property
    def _epochs_done(self) -> int:
        """Of the schedule; 0 or less during a warm-up before it."""
        return self.epoch - self._plan[-1].origin

    @property
    def _net(self) -> str:
        """Names the random streams: a teacher and a student never share one, whatever the seeds."""
        return "teacher" if self.config.role == "teacher" else "student"

    def _obtain_teacher(self) -> FrozenTeacher | None:
        if self.config.teacher is None:
            return None
        return obtain_teacher(self.config, self.device, train_teacher)

    def _new_student(self, member: int) -> nn.Module:
        seed = derive(self.config.seed, self._net, *([member] if member else []))
        return initial_network(self.config, self.dataset, seed)

    def _assembled(self) -> nn.Module:
        with global_stream(self.config.seed, self._net, "assembly"):
            network = self.config.objective.assemble(self._new_student, models.split_after)
        return arranged(network, self.device)

    def _candidates(self) -> list[nn.Module]:
        network = self._network
        return network.candidates() if isinstance(network, Team) else [network]

    def _begin(self, phase: Phase) -> None:
        if phase.prunes:
            self._prune(keep=phase.guide == "unpruned")
        self._lesson = self._new_lesson(phase)

    def _prune(self, *, keep: bool) -> None:
        if keep:
            self._unpruned = copy.deepcopy(self._network).eval().requires_grad_(False)
        before = self._val_accuracy()
        self._prune_record = prune_as(self.config, self._network, self.dataset)
        arranged(self._network, self.device)
        self._around_pruning = {
            "prune/accuracy_before": before,
            "prune/accuracy_after": self._val_accuracy(),
        }
        self._cost = self._count()

    def _new_lesson(self, phase: Phase) -> Lesson:
        """What ``phase`` trains with, its companion and optimiser fresh."""
        guide = {
            "teacher": None if self.teacher is None else self.teacher.model,
            "unpruned": self._unpruned,
            "nobody": None,
        }[phase.guide]
        pair = pair_of(phase.objective, self._candidates()[0], guide, self.dataset)
        signals = phase.objective.signals(pair) if guide is not None else ()
        with global_stream(self.config.seed, self._net, "companion", phase.name):
            companion = phase.objective.companion(phase.moment(phase.start), pair)
        if companion is not None:
            companion.to(self.device)
        return Lesson(
            phase=phase,
            student=self._network,
            teacher=guide,
            companion=companion,
            optimizer=self._new_optimizer(companion),
            stream=self._stream,
            seed=derive(self.config.seed, self._net),
            signals=signals,
            shareable=small(signals, pair.teacher),
            shared=self._shared if phase.guide == "teacher" else None,
            precision=self.config.train.precision,
            after_backward=self._regulariser(phase),
        )

    def _new_optimizer(self, companion: nn.Module | None) -> SGD:
        train = self.config.train
        extra = [] if companion is None else list(companion.parameters())
        return SGD(
            [*self._network.parameters(), *extra],
            lr=train.lr,
            momentum=train.momentum,
            nesterov=train.nesterov,
            weight_decay=train.weight_decay,
            # Not fused, which on a CPU takes weights and gradients to lie in one order, unasked.
            foreach=True,
        )

    def _regulariser(self, phase: Phase) -> Callable[[], None]:
        """What prepares the student for its pruning, called before each step."""
        strength = self.config.prune.sparsity
        if not strength or phase.prunes:
            return lambda: None
        return regulariser(
            self._network,
            method=self.config.prune.method,
            channels=self.dataset.channels,
            size=self.dataset.size,
            strength=strength,
        )

    def _count(self) -> dict[str, float]:
        return student_cost(self.student, channels=self.dataset.channels, size=self.dataset.size)

    def _judge(self, result: EpochResult) -> dict[str, float]:
        """Training and validation metrics, finite whatever happened; chooses a team's best."""
        found = [self._predicted(net, self.dataset.val) for net in self._candidates()]
        judged = [scores(*each) for each in found]
        self._chosen = max(range(len(judged)), key=lambda n: judged[n]["accuracy"])
        val = judged[self._chosen]
        train = result.metrics()
        losses = [each["loss"] for each in judged]
        self.diverged = not all(map(math.isfinite, [*losses, *train.values()]))
        if self.diverged:
            val = {"accuracy": 0.0, "top5": 0.0, "loss": WORST_LOSS}
            train = {k: v if math.isfinite(v) else WORST_LOSS for k, v in train.items()}
        metrics = {**_named("val", val), **train}
        if len(judged) > 1:
            mean = sum(each["accuracy"] for each in judged) / len(judged)
            metrics["val/accuracy_mean"] = 0.0 if self.diverged else mean
        if self.teacher is not None:
            same = agreement(found[self._chosen][0], self.teacher.val_top1)
            metrics["val/agreement"] = 0.0 if self.diverged else same
        extra = self._trained_params() - _count_params(self.student)
        if extra:
            metrics["companion/params"] = float(extra)
        return metrics

    def _trained_params(self) -> int:
        """All that the optimiser moves: the student, its team and its companion."""
        assert self._lesson is not None
        companion = self._lesson.companion
        beside = 0 if companion is None else _count_params(companion)
        return _count_params(self._network) + beside

    def _val_accuracy(self) -> float:
        return scores(*self._predicted(self.student, self.dataset.val))["accuracy"]

    def _predicted(self, network: nn.Module, split: ImageSplit) -> tuple[Tensor, Tensor]:
        with in_precision(self.config.train.precision, self.device):
            return predict(network, self._plain(split))

    def _plain(self, split: ImageSplit) -> Any:
        return plain_batches(split, self.dataset, batch_size=EVAL_BATCH, device=self.device)


def train_teacher(config: TrialConfig) -> None:
    """Train a teacher's own trial to its end and publish it, with all of its snapshots."""
    trial = Trial(config)
    while not trial.finished:
        trial.next_epoch()
        if trial.at_teacher or trial.diverged:
            trial.publish()


def _count_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _state(module: nn.Module | None) -> dict[str, Tensor] | None:
    return None if module is None else module.state_dict()


def _named(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
