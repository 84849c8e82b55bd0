"""The groups of settings that make a trial; each validates what concerns it alone."""

from typing import Annotated, Literal, Self

from pydantic import Field, InstanceOf, field_validator, model_validator

from kdtune.contracts import Scalar
from kdtune.objectives import Objective
from kdtune.pruning import PRUNERS
from kdtune.settings import Settings
from kdtune.views import AUGMENTS, Augment

Schedule = Literal["step", "cosine", "constant", "cosine_restarts", "early_stop"]
PrunePhase = Literal["finetune", "pre_distill", "post_distill", "pre_post", "self_distill"]
Batches = Literal["plain+mixed", "mixed"]
Precision = Literal["fp32", "bf16"]
Signals = Literal["exact", "half", "live"]
EarlyStop = Literal["schedule", "snapshot"]
MOST_EPOCHS, MOST_IMAGES = 100_000, 1_000_000
"""Far above what anybody trains: a slip of the keyboard is told, not tried."""
Epochs = Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
BatchSize = Annotated[int, Field(ge=2, le=MOST_IMAGES)]


def _known_augment(name: str) -> str:
    AUGMENTS.get(name)
    return name


def rising_shares(text: str) -> tuple[float, ...]:
    """``"0.5,0.75"`` -> ``(0.5, 0.75)``; ValueError unless rising and inside (0, 1)."""
    values = _numbers(text)
    if not all(0 < v < 1 for v in values) or list(values) != sorted(set(values)):
        raise ValueError("must be rising shares of the epochs between 0 and 1, e.g. '0.5,0.75'")
    return values


def stage_shares(text: str) -> tuple[float, ...]:
    """``"0.6,0.3,0.1"`` -> ``(0.6, 0.3, 0.1)``; ValueError unless each is in [0, 1)."""
    values = _numbers(text)
    if not all(0 <= v < 1 for v in values) or not any(values):
        raise ValueError("must be the shares removed per stage, in [0, 1), e.g. '0.6,0.3,0.1'")
    return values


def snapshot_epochs(text: str) -> tuple[int, ...]:
    """``"10,20"`` -> ``(10, 20)``; ValueError unless rising whole numbers from 1 on."""
    values = _numbers(text)
    whole = all(v >= 1 and v.is_integer() for v in values)
    if not (values and whole) or list(values) != sorted(set(values)):
        raise ValueError("must be rising whole numbers of epochs from 1 on, e.g. '10,20'")
    return tuple(map(int, values))


def _known_shares(text: str) -> str:
    rising_shares(text)
    return text


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        return (-1.0,)


class DataSettings(Settings):
    """Where the data lie, how they are split, and how the training split is spoilt."""

    root: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    train_limit: Annotated[int, Field(ge=1)] | None = None
    label_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    imbalance: Annotated[float, Field(ge=0.001)] | None = None
    flip: bool | None = None
    image_column: str = ""
    label_column: str = ""


class TrainSettings(Settings):
    """How a network is trained: SGD, its schedule, and the machine's share.

    ``micro_batch`` is how many images of a batch are in memory at a time; their gradients are
    summed, so the batch stays what it is. It counts from the epoch ``micro_batch_from`` of the
    whole trial on, warm-up included, by default from the first.
    ``precision`` is that of the forward passes, the teacher's too; losses are always in float32.

    ``snapshots`` are the epochs after which a teacher is published as it is then; the last of them
    ends the training, whose schedule is still that of ``epochs``.
    """

    epochs: Epochs = 30
    batch_size: BatchSize = 64
    micro_batch: Annotated[int, Field(ge=2)] | None = None
    micro_batch_from: Annotated[int, Field(ge=0)] | None = None
    lr: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Schedule = "cosine"
    milestones: str = "0.5,0.75"
    lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    first_cycle: Annotated[int, Field(ge=1)] = 1
    cycle_factor: Annotated[int, Field(ge=2)] = 3
    snapshots: str = ""
    on: Literal["train", "train+val"] = "train"
    threads: Annotated[int, Field(ge=1)] = 1
    precision: Precision = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    _check_milestones = field_validator("milestones")(_known_shares)

    @field_validator("snapshots")
    @classmethod
    def _check_snapshots(cls, text: str) -> str:
        if text:
            snapshot_epochs(text)
        return text

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("train.nesterov needs train.momentum > 0, got 0; set one of them")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"train.warmup_epochs must be < train.epochs = {self.epochs}, "
                f"got {self.warmup_epochs}"
            )
        if self.micro_batch_from is not None and self.micro_batch is None:
            raise ValueError(
                "train.micro_batch_from says since when train.micro_batch counts, which is not "
                "given; drop it"
            )
        if self.published[-1] > self.epochs:
            raise ValueError(
                f"train.snapshots must end at train.epochs = {self.epochs} or before, "
                f"got '{self.snapshots}'"
            )
        return self

    @property
    def published(self) -> tuple[int, ...]:
        """Rising: the epochs after which a teacher is published; the last one ends the training."""
        return snapshot_epochs(self.snapshots) if self.snapshots else (self.epochs,)

    @property
    def milestone_fractions(self) -> tuple[float, ...]:
        """The shares of the epochs at which the step schedule drops."""
        return rising_shares(self.milestones)


class PruneSettings(Settings):
    """What ``prune_ratio`` > 0 does: which pruner, when, and what trains before and after.

    ``phase`` is one of park2020's arms (section 4): ``pre_post`` distils before and after pruning,
    ``pre_distill`` and ``post_distill`` on one side only, ``finetune`` on neither; with
    ``self_distill`` the student before pruning teaches the pruned one.
    """

    method: str = "l1_filter"
    at: Annotated[float, Field(gt=0, lt=1)] = 0.5
    phase: PrunePhase | None = None
    lr: Annotated[float, Field(gt=0)] | None = None
    stages: str = ""
    skip: Literal["", "rethinking"] = ""
    sparsity: Annotated[float, Field(ge=0)] | None = None

    @field_validator("method")
    @classmethod
    def _check_method(cls, name: str) -> str:
        PRUNERS.get(name)
        return name

    @field_validator("stages")
    @classmethod
    def _check_stages(cls, text: str) -> str:
        if text:
            stage_shares(text)
        return text

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for key in ("stages", "skip"):
            if getattr(self, key) and self.method != "l1_filter":
                raise ValueError(f"prune.{key} needs prune.method=l1_filter, got '{self.method}'")
        if self.sparsity is not None and self.method != "slimming":
            raise ValueError(f"prune.sparsity needs prune.method=slimming, got '{self.method}'")
        return self

    @property
    def ratios(self) -> tuple[float, ...] | None:
        """The shares removed per stage, where they are given."""
        return stage_shares(self.stages) if self.stages else None


class TeacherConfig(Settings):
    """The teacher: a network of the zoo and its own training, or weights that exist already.

    ``epochs`` below ``full_epochs`` is cho2019's early-stopped teacher: a short run with its own
    compressed schedule (section 5.5), not a checkpoint of the long one.
    ``signals`` says how its outputs reach a trial: ``exact`` shares them between all trials that
    show it the same views, at the same bits as ``live``, which runs it in every step; ``half``
    rounds the logits to half precision. ``signals_gb`` is about what all of them may take on disk.
    ``epochs`` below ``full_epochs`` is an early-stopped teacher, and ``early_stop`` says which:
    by ``schedule`` cho2019's, a short run with a compressed schedule of its own (section 5.5), by
    ``snapshot`` the network as the full run has it after so many epochs.
    """

    model: str = "resnet8"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    epochs: Epochs | None = None
    full_epochs: Epochs = 30
    early_stop: EarlyStop | None = None
    augment: str = "standard"
    batch_size: BatchSize = 64
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    milestones: str = "0.3,0.6,0.9"
    lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0
    weights: str = ""
    signals: Signals = "exact"
    signals_gb: Annotated[float, Field(gt=0)] = 10.0
    views: InstanceOf[Augment]

    _check_augment = field_validator("augment")(_known_augment)
    _check_milestones = field_validator("milestones")(_known_shares)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("teacher.nesterov needs teacher.momentum > 0, got 0; set one of them")
        if self.epochs is not None and self.epochs > self.full_epochs:
            raise ValueError(
                f"teacher_epochs must be at most teacher.full_epochs = {self.full_epochs}, "
                f"got {self.epochs}"
            )
        return self

    @property
    def stops_early(self) -> bool:
        """Whether it is trained for less than the full number of epochs."""
        return self.epochs is not None and self.epochs < self.full_epochs


class TrialConfig(Settings):
    """One trial, complete: every random draw of it follows from these values.

    ``role`` says what becomes of the network: a ``trial`` is only validated, a ``finalist`` is
    tested and kept, a ``teacher`` is published to ``store``, the folder of all teachers.
    ``init`` is what the student starts from, with a new classifier: the folder of a saved student,
    or ``store:`` and the key of a stored teacher; empty for fresh weights.
    ``batches`` is set where ``augment`` mixes images: ``plain+mixed`` trains on both (wang2020,
    section 3.2), ``mixed`` on the mixed ones with mixed labels.
    """

    role: Literal["trial", "finalist", "teacher"] = "trial"
    store: str = ""
    dataset: str = "digits"
    student: str = "resnet8x0.125"
    init: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    augment: str = "standard"
    batches: Batches | None = None
    prune_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    method: str = "kd"
    objective: Objective
    views: InstanceOf[Augment]
    teacher: TeacherConfig | None
    data: DataSettings
    train: TrainSettings
    prune: PruneSettings

    _check_augment = field_validator("augment")(_known_augment)

    def flat(self) -> dict[str, Scalar]:
        """The canonical flat form, unset options left out; ``parse(config.flat()) == config``."""
        from kdtune.config.keys import flatten

        return flatten(self)
