"""The only parser: one flat dict of JSON scalars -> a frozen, validated :class:`TrialConfig`.

The flat form is what a space yields, Tune carries and MLflow shows. ``TrialConfig.flat`` is its
inverse: the canonical form, with every active default written out.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, Self

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from kdtune.contracts import FlatConfig, Scalar
from kdtune.objectives import OBJECTIVES, Objective
from kdtune.pruning import PRUNERS
from kdtune.registry import nearest
from kdtune.settings import Settings
from kdtune.views import AUGMENTS

Schedule = Literal["step", "cosine", "constant", "cosine_restarts", "early_stop"]


class ConfigError(ValueError):
    """A configuration that breaks a rule: the message names rule, value and remedy."""


def _known_augment(name: str) -> str:
    AUGMENTS.get(name)
    return name


def _fractions(text: str) -> tuple[float, ...]:
    """``"0.5,0.75"`` -> ``(0.5, 0.75)``; ValueError unless rising and inside (0, 1)."""
    try:
        values = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        values = (-1.0,)
    if not all(0 < v < 1 for v in values) or list(values) != sorted(set(values)):
        raise ValueError("must be rising shares of the epochs between 0 and 1, e.g. '0.5,0.75'")
    return values


class DataSettings(Settings):
    """Where the data lie and how they are split."""

    root: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    train_limit: Annotated[int, Field(ge=1)] | None = None
    flip: bool | None = None
    image_column: str = ""
    label_column: str = ""


class TrainSettings(Settings):
    """How a network is trained: SGD, its schedule, and the machine's share."""

    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=2)] = 64
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
    on: Literal["train", "train+val"] = "train"
    threads: Annotated[int, Field(ge=1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("milestones")
    @classmethod
    def _check_milestones(cls, text: str) -> str:
        _fractions(text)
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
        return self

    @property
    def milestone_fractions(self) -> tuple[float, ...]:
        """The shares of the epochs at which the step schedule drops."""
        return _fractions(self.milestones)


class PruneSettings(Settings):
    """What ``prune_ratio`` > 0 does: which pruner, and after which share of the epochs."""

    method: str = "l1_filter"
    at: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @field_validator("method")
    @classmethod
    def _check_method(cls, name: str) -> str:
        PRUNERS.get(name)
        return name


class TeacherConfig(Settings):
    """The teacher: a network of the zoo and its own training, or weights that exist already.

    ``epochs`` below ``full_epochs`` is cho2019's early-stopped teacher: a short run with its own
    compressed schedule (section 5.3), not a checkpoint of the long one.
    """

    model: str = "resnet8"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    epochs: Annotated[int, Field(ge=1)] | None = None
    full_epochs: Annotated[int, Field(ge=1)] = 30
    augment: str = "standard"
    batch_size: Annotated[int, Field(ge=2)] = 64
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    milestones: str = "0.3,0.6,0.9"
    lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0
    weights: str = ""

    _check_augment = field_validator("augment")(_known_augment)

    @model_validator(mode="after")
    def _check_epochs(self) -> Self:
        if self.epochs is not None and self.epochs > self.full_epochs:
            raise ValueError(
                f"teacher_epochs must be at most teacher.full_epochs = {self.full_epochs}, "
                f"got {self.epochs}"
            )
        return self


class TrialConfig(Settings):
    """One trial, complete: every random draw of it follows from these values.

    ``role`` says what becomes of the network: a ``trial`` is only validated, a ``finalist`` is
    tested and kept, a ``teacher`` is published to ``store``, the folder of all teachers.
    """

    role: Literal["trial", "finalist", "teacher"] = "trial"
    store: str = ""
    dataset: str = "digits"
    student: str = "resnet8x0.125"
    seed: Annotated[int, Field(ge=0)] = 0
    augment: str = "standard"
    prune_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    method: str = "kd"
    objective: Objective
    teacher: TeacherConfig | None
    data: DataSettings
    train: TrainSettings
    prune: PruneSettings

    _check_augment = field_validator("augment")(_known_augment)

    def flat(self) -> dict[str, Scalar]:
        """The canonical flat form, unset options left out; ``parse(config.flat()) == config``."""
        flat: dict[str, Scalar] = {}
        ready_made = self.teacher is not None and self.teacher.weights != ""
        for key, (section, field) in _routes(self.method).items():
            if ready_made and key in TEACHER_TRAINING:
                continue
            holder = self if section == "" else getattr(self, section)
            if holder is None:
                continue
            value, default = getattr(holder, field), type(holder).model_fields[field].default
            if value is not None and not value == default == "":
                flat[key] = value
        return flat


SECTIONS: dict[str, type[Settings]] = {
    "data": DataSettings,
    "train": TrainSettings,
    "teacher": TeacherConfig,
    "prune": PruneSettings,
}
TOP_LEVEL = ("dataset", "student", "method", "seed", "augment", "prune_ratio", "role")
TEACHER_AXES = {
    "teacher": "model",
    "label_smoothing": "label_smoothing",
    "teacher_epochs": "epochs",
}
TEACHER_TRAINING = ("label_smoothing", "teacher_epochs")
OBJECTIVE_AXES = ("temperature", "alpha")


def _routes(method: str) -> dict[str, tuple[str, str]]:
    """Flat key -> (section, field) for all keys that a trial with ``method`` may set."""
    fields = OBJECTIVES.get(method).model_fields
    routes = {key: ("", key) for key in TOP_LEVEL}
    routes["teacher.store"] = ("", "store")
    routes |= {key: ("teacher", field) for key, field in TEACHER_AXES.items()}
    for name, section in SECTIONS.items():
        for field in section.model_fields:
            if not (name == "teacher" and field in TEACHER_AXES.values()):
                routes[f"{name}.{field}"] = (name, field)
    for field in fields:
        routes[field if field in OBJECTIVE_AXES else f"method.{field}"] = ("objective", field)
    return routes


def known_keys(method: str) -> list[str]:
    """All keys that a trial with ``method`` may set, sorted."""
    return sorted(_routes(method))


def method_keys(method: str) -> list[str]:
    """The keys that ``method`` brings with it, in their order."""
    return [key for key, (section, _) in _routes(method).items() if section == "objective"]


def parse(flat: FlatConfig) -> TrialConfig:
    """Parse and validate one flat configuration.

    Args:
        flat: Keys as listed by :func:`known_keys`; values are JSON scalars or numpy scalars. A
            value of None counts as not given, also for a key of another method.

    Raises:
        ConfigError: On an unknown key, a wrong type, a value out of range, or a key that the
            chosen method does not use.
    """
    given = {key: _scalar(key, value) for key, value in flat.items()}
    method = given.get("method") or TrialConfig.model_fields["method"].default
    if not isinstance(method, str) or method not in OBJECTIVES:
        raise ConfigError(f"unknown method {method!r}{nearest(str(method), OBJECTIVES.names())}")
    routes = _routes(method)
    nested: dict[str, dict[str, Scalar]] = {"": {}, "objective": {}, **{s: {} for s in SECTIONS}}
    for key, value in given.items():
        if key not in routes and (value is not None or not _owners(key)):
            _refuse_key(key, method, routes)
        if value is not None:
            section, field = routes[key]
            nested[section][field] = value
    return _build(method, nested, routes)


def _build(
    method: str, nested: dict[str, dict[str, Scalar]], routes: Mapping[str, tuple[str, str]]
) -> TrialConfig:
    keys = {route: key for key, route in routes.items()}

    def make(cls: type[Any], section: str, values: Mapping[str, Any]) -> Any:
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(_sentence(error, section, keys)) from None

    objective = make(OBJECTIVES.get(method), "objective", nested["objective"])
    parts = {
        name: make(cls, name, nested[name]) for name, cls in SECTIONS.items() if name != "teacher"
    }
    if objective.traits.teacher:
        parts["teacher"] = _teacher(make, nested["teacher"])
    else:
        unused = [keys["teacher", field] for field in nested["teacher"]]
        if unused:
            raise ConfigError(f"'{unused[0]}' describes a teacher, and method '{method}' has none")
        parts["teacher"] = None
    config: TrialConfig = make(
        TrialConfig, "", {**nested[""], "method": method, "objective": objective, **parts}
    )
    return config


def _teacher(make: Any, values: dict[str, Scalar]) -> TeacherConfig:
    """The teacher's settings, ``epochs`` resolved; training settings bar ready-made weights."""
    if values.get("weights"):
        clash = [key for key in TEACHER_TRAINING if TEACHER_AXES[key] in values]
        if clash:
            raise ConfigError(
                f"'{clash[0]}' says how a teacher is trained, and teacher.weights gives one that "
                "exists already; drop one of them"
            )
    else:
        full = TeacherConfig.model_fields["full_epochs"].default
        values = {"epochs": values.get("full_epochs", full), **values}
    teacher: TeacherConfig = make(TeacherConfig, "teacher", values)
    return teacher


def _scalar(key: str, value: Any) -> Scalar:
    if isinstance(value, np.generic):
        value = value.item()
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ConfigError(f"{key} must be a JSON scalar, got {type(value).__name__} {value!r}")
    return value


def _refuse_key(key: str, method: str, routes: Mapping[str, object]) -> NoReturn:
    owners = _owners(key)
    if owners:
        raise ConfigError(
            f"key '{key}' is not used by method '{method}'; it belongs to {', '.join(owners)}"
        )
    own = [k for k in routes if k.startswith("method.")] if key.startswith("method.") else routes
    raise ConfigError(f"unknown key '{key}' for method '{method}'{nearest(key, own)}")


def _owners(key: str) -> list[str]:
    """The methods that know ``key``."""
    return [method for method in OBJECTIVES.names() if key in _routes(method)]


def _sentence(error: ValidationError, section: str, keys: Mapping[tuple[str, str], str]) -> str:
    """The first finding of pydantic, worded as rule, value and remedy."""
    found = error.errors()[0]
    message = found["msg"].removeprefix("Value error, ")
    if not found["loc"]:
        return message
    field = str(found["loc"][0])
    rule = message.removeprefix("Input ").replace("should be", "must be")
    if not rule.startswith("must"):
        return rule
    return f"{keys.get((section, field), field)} {rule}, got {found['input']!r}"


def field_of(key: str, method: str) -> FieldInfo:
    """The declared field behind a flat key.

    Raises:
        ConfigError: If ``method`` knows no such key.
    """
    routes = _routes(method)
    if key not in routes:
        _refuse_key(key, method, routes)
    section, field = routes[key]
    holders: dict[str, type[Settings]] = {
        "": TrialConfig,
        "objective": OBJECTIVES.get(method),
        **SECTIONS,
    }
    return holders[section].model_fields[field]


def decode(texts: Mapping[str, str]) -> dict[str, Scalar]:
    """Typed values from texts: of ``--set key=value`` or of a run's logged parameters.

    Raises:
        ConfigError: On an unknown key or a text that is not of the key's type.
    """
    method = texts.get("method", TrialConfig.model_fields["method"].default)
    if method not in OBJECTIVES:
        raise ConfigError(f"unknown method {method!r}{nearest(method, OBJECTIVES.names())}")
    decoded: dict[str, Scalar] = {}
    for key, text in texts.items():
        field = field_of(key, method)
        adapter: TypeAdapter[Any] = TypeAdapter(field.annotation or str)
        try:
            decoded[key] = adapter.validate_strings(text)
        except ValidationError as error:
            raise ConfigError(f"{key}: {error.errors()[0]['msg']}, got '{text}'") from None
    return decoded


def teacher_trial(config: TrialConfig) -> TrialConfig:
    """The trial that trains ``config``'s teacher: a student without a teacher of its own.

    Raises:
        ConfigError: If the method has no teacher, or its weights come from a file.
    """
    teacher = config.teacher
    if teacher is None or teacher.epochs is None:
        raise ConfigError(f"there is no teacher to train for method '{config.method}'")
    early = teacher.epochs < teacher.full_epochs
    shared = {key: value for key, value in config.flat().items() if key.startswith("data.")}
    return parse(
        {
            **shared,
            "role": "teacher",
            "teacher.store": config.store,
            "dataset": config.dataset,
            "student": teacher.model,
            "method": "scratch",
            "method.label_smoothing": teacher.label_smoothing,
            "seed": teacher.seed,
            "augment": teacher.augment,
            "train.epochs": teacher.epochs,
            "train.batch_size": teacher.batch_size,
            "train.lr": teacher.lr,
            "train.momentum": teacher.momentum,
            "train.nesterov": teacher.nesterov,
            "train.weight_decay": teacher.weight_decay,
            "train.schedule": "early_stop" if early else "step",
            "train.milestones": teacher.milestones,
            "train.lr_factor": teacher.lr_factor,
            "train.threads": config.train.threads,
            "train.device": config.train.device,
        }
    )


def without_teacher(flat: FlatConfig) -> dict[str, Scalar]:
    """The same trial trained on labels alone: no distillation, no teacher, all else equal."""
    routes = _routes(str(flat.get("method", TrialConfig.model_fields["method"].default)))
    kept = {k: v for k, v in flat.items() if routes[k][0] not in ("teacher", "objective")}
    return {**kept, "method": "scratch"}
