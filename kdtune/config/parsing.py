"""The only parser: one flat dict of JSON scalars -> a frozen, validated :class:`TrialConfig`.

The flat form is what a space yields, Tune carries and MLflow shows. ``TrialConfig.flat`` is its
inverse: the canonical form, with every active default written out.
"""

import reprlib
from collections.abc import Mapping
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from kdtune.config.errors import ConfigError
from kdtune.config.keys import (
    CHOICES,
    TEACHER_AXES,
    TEACHER_TRAINING,
    Chosen,
    Route,
    chosen,
    field_of,
    is_key_of_another_choice,
    refuse_key,
    routes,
)
from kdtune.config.sections import (
    DataSettings,
    PruneSettings,
    TeacherConfig,
    TrainSettings,
    TrialConfig,
    stage_shares,
)
from kdtune.contracts import FlatConfig, Scalar
from kdtune.credentials import without_credentials
from kdtune.objectives import OBJECTIVES, Objective
from kdtune.settings import Settings
from kdtune.views import AUGMENTS, Augment

S = TypeVar("S", bound=Settings)
INTEGER_BITS = 63
"""What Arrow, torch and a database hold in an integer, beside its sign."""
SHORTCUTS = ("teacher.signals", "train.precision")
"""Keys by which a trial is faster than it would have to be."""
SPARSITY = 1e-4
"""Strength of the L1 penalty of network slimming (Liu et al., 2017), where none is given."""


def parse(flat: FlatConfig) -> TrialConfig:
    """Parse and validate one flat configuration.

    Args:
        flat: Keys as listed by :func:`known_keys`; values are JSON scalars or numpy scalars. A
            value of None counts as not given, also for a key of another method or policy.

    Raises:
        ConfigError: On an unknown key, a wrong type, a value out of range, or a key that the
            chosen method or policy does not use.
    """
    given = {key: _scalar(key, value) for key, value in flat.items()}
    choice = chosen(given)
    found = routes(choice)
    nested: dict[str, dict[str, Any]] = {route.section: {} for route in found.values()}
    nested |= {section: {} for section in ("objective", "views", "teacher_views")}
    for key, value in given.items():
        if key not in found and (value is not None or not is_key_of_another_choice(key)):
            refuse_key(key, choice)
        if value is not None:
            section, field = found[key]
            nested[section][field] = value
    return _Builder(choice, nested, {route: key for key, route in found.items()}).trial()


class _Builder:
    """Builds the sections of one trial, and settles what depends on several of them."""

    def __init__(
        self, choice: Chosen, nested: dict[str, dict[str, Any]], keys: Mapping[Route, str]
    ) -> None:
        self._choice = choice
        self._nested = nested
        self._keys = keys

    def trial(self) -> TrialConfig:
        assert self._choice.method is not None
        assert self._choice.augment is not None
        objective = self._make(OBJECTIVES.get(self._choice.method), "objective")
        views = self._make(AUGMENTS.get(self._choice.augment), "views")
        _check_pick("augment", views, has_teacher=objective.traits.teacher)
        own = self._nested[""]
        pruned = self._pruned(objective, own)
        data, train = self._make(DataSettings, "data"), self._make(TrainSettings, "train")
        _check_train_on(data, train)
        role = own.get("role", TrialConfig.model_fields["role"].default)
        _check_precision(role, train)
        _check_snapshots(role, train, own)
        _check_micro_batch(self._choice.method, objective, train)
        batches = _batches(objective, self._choice.augment, views, own.get("batches"))
        _check_pick_of_phases(views, batches, pruned)
        return self._make(
            TrialConfig,
            "",
            batches=batches,
            objective=objective,
            views=views,
            teacher=self._teacher(objective, role),
            prune=pruned,
            data=data,
            train=train,
        )

    def _teacher(self, objective: Objective, role: str) -> TeacherConfig | None:
        """The teacher's settings, resolved; training settings bar ready-made weights.

        How it stops early is kept only where it does.
        """
        assert self._choice.teacher_augment is not None
        values = self._nested["teacher"]
        if not objective.traits.teacher:
            unused = [self._keys[Route("teacher", field)] for field in values]
            unused += [f"teacher.augment.{field}" for field in self._nested["teacher_views"]]
            if unused:
                raise ConfigError(
                    f"'{unused[0]}' describes a teacher, "
                    f"and method '{self._choice.method}' has none"
                )
            return None
        if values.get("weights"):
            clash = [key for key in TEACHER_TRAINING if TEACHER_AXES[key] in values]
            if clash:
                raise ConfigError(
                    f"'{clash[0]}' says how a teacher is trained, and teacher.weights gives one "
                    "that exists already; drop one of them"
                )
        else:
            full = TeacherConfig.model_fields["full_epochs"].default
            values.setdefault("epochs", values.get("full_epochs", full))
        if role == "finalist" and values.setdefault("signals", "live") != "live":
            raise ConfigError(
                "a finalist runs its teacher in every step, so teacher.signals must be left out or "
                f"be 'live', got '{values['signals']}'"
            )
        views = self._make(AUGMENTS.get(self._choice.teacher_augment), "teacher_views")
        _check_pick("teacher.augment", views, has_teacher=False)
        teacher = self._make(TeacherConfig, "teacher", views=views)
        stop = teacher.early_stop or "schedule"
        return teacher.model_copy(update={"early_stop": stop if teacher.stops_early else None})

    def _pruned(self, objective: Objective, own: dict[str, Any]) -> PruneSettings:
        """The pruning settings, resolved; the defaults for a trial that is not pruned.

        Also sets ``prune_ratio`` to the mean of the shares per stage, where they are given.
        """
        prune = self._make(PruneSettings, "prune")
        if prune.stages:
            shares = stage_shares(prune.stages)
            mean = round(fmean(shares), 6)
            ratio = own.get("prune_ratio", mean)
            if not (isinstance(ratio, float) and abs(ratio - mean) < 1e-6):
                raise ConfigError(
                    f"prune_ratio must be left out, or be the mean {mean} of prune.stages "
                    f"'{prune.stages}', got {ratio!r}"
                )
            own["prune_ratio"] = mean
        if not own.get("prune_ratio"):
            return PruneSettings()
        method, traits = self._choice.method, objective.traits
        if traits.team:
            raise ConfigError(
                f"prune_ratio must be 0 with method '{method}', which trains several networks, "
                f"got {own['prune_ratio']}"
            )
        phase = prune.phase or ("pre_post" if traits.teacher else "finetune")
        if phase != "finetune" and not traits.teacher:
            raise ConfigError(
                f"prune.phase '{phase}' distils, and method '{method}' has no teacher; "
                "use prune.phase=finetune or another method"
            )
        if phase == "post_distill" and objective.warmup(1) is not None:
            raise ConfigError(
                f"prune.phase 'post_distill' distils after pruning only, and method '{method}' "
                "starts with a warm-up before it; use prune.phase=pre_post or another method"
            )
        sparsity = SPARSITY if prune.sparsity is None else prune.sparsity
        return prune.model_copy(
            update={"phase": phase, "sparsity": sparsity if prune.method == "slimming" else None}
        )

    def _make(self, cls: type[S], section: str, **more: Any) -> S:
        try:
            return cls(**{**self._nested[section], **more})
        except ValidationError as error:
            raise ConfigError(self._sentence(error, section)) from None

    def _sentence(self, error: ValidationError, section: str) -> str:
        """The first finding of pydantic, worded as rule, value and remedy."""
        found = error.errors()[0]
        message = found["msg"].removeprefix("Value error, ")
        if not found["loc"]:
            return message
        field = str(found["loc"][0])
        rule = message.removeprefix("Input ").replace("should be", "must be")
        if not rule.startswith("must"):
            return rule
        return f"{self._keys.get(Route(section, field), field)} {rule}, got {found['input']!r}"


def _batches(objective: Objective, augment: str, views: Augment, given: str | None) -> str | None:
    """What is trained on where images are mixed; see :class:`TrialConfig`."""
    if not views.mixes:
        if given is not None:
            raise ConfigError(
                f"augment.batches says how mixed images are trained on, and augment '{augment}' "
                "mixes none; drop it"
            )
        return None
    soft = objective.traits.soft_labels
    if given == "plain+mixed" and not soft:
        raise ConfigError(
            "augment.batches 'plain+mixed' trains mixed images on soft labels, which this method "
            "has none of; use 'mixed', or set alpha > 0 where the method has it"
        )
    return given or ("plain+mixed" if soft else "mixed")


def _check_train_on(data: DataSettings, train: TrainSettings) -> None:
    spoilt = data.label_noise > 0 or data.imbalance is not None
    if train.on == "train+val" and spoilt:
        raise ConfigError(
            "train.on must be 'train' with data.label_noise or data.imbalance, got 'train+val': "
            "validation is clean and balanced, so the network would be trained on other data"
        )


def _check_precision(role: str, train: TrainSettings) -> None:
    if role != "trial" and train.precision != "fp32":
        raise ConfigError(
            f"a {role} is kept, so train.precision must be left out or be 'fp32', got "
            f"'{train.precision}'; only trials may be trained in less"
        )


def _check_snapshots(role: str, train: TrainSettings, own: Mapping[str, Any]) -> None:
    """A run with snapshots is that of one network from its first epoch on, to be kept."""
    if not train.snapshots:
        return
    if role == "trial":
        raise ConfigError(
            f"train.snapshots are published, and role 'trial' publishes nothing, got "
            f"'{train.snapshots}'; set role=teacher, or drop it"
        )
    if own.get("prune_ratio"):
        raise ConfigError(
            f"prune_ratio must be 0 with train.snapshots '{train.snapshots}', which are of a whole "
            f"network, got {own['prune_ratio']}"
        )


def _check_micro_batch(method: str, objective: Objective, train: TrainSettings) -> None:
    if train.micro_batch is not None and not objective.traits.sample_mean:
        raise ConfigError(
            f"train.micro_batch must be left out with method '{method}', which compares the images "
            f"of a batch with each other, got {train.micro_batch}; lower train.batch_size instead"
        )


def _check_pick(key: str, views: Augment, *, has_teacher: bool) -> None:
    criterion = getattr(views, "criterion", "")
    if views.picks and criterion != "student_entropy" and not has_teacher:
        raise ConfigError(
            f"{key}.criterion '{criterion}' asks a teacher, and there is none; "
            "use 'student_entropy' or another augmentation"
        )


def _check_pick_of_phases(views: Augment, batches: str | None, prune: PruneSettings) -> None:
    """Mixed images alone are picked in every phase, also in those that have no teacher."""
    criterion = getattr(views, "criterion", "")
    without = prune.phase in ("finetune", "pre_distill", "post_distill")
    if views.picks and criterion != "student_entropy" and batches == "mixed" and without:
        raise ConfigError(
            f"augment.criterion '{criterion}' asks a teacher, and prune.phase '{prune.phase}' "
            "trains without one for a while; use augment.criterion=student_entropy, "
            "or prune.phase=pre_post"
        )


def _scalar(key: str, value: Any) -> Scalar:
    """``value`` as it is, or out of numpy, if JSON, a file system and 64 bits can hold it."""
    if not isinstance(key, str):
        raise ConfigError(f"a key must be a text, got {type(key).__name__} {reprlib.repr(key)}")
    if isinstance(value, np.generic):
        value = value.item()
    if value is not None and not isinstance(value, str | int | float | bool):
        given = f"{type(value).__name__} {reprlib.repr(value)}"
        raise ConfigError(f"{key} must be a JSON scalar, got {given}")
    if isinstance(value, str):
        check_text(key, value)
    elif isinstance(value, int) and value.bit_length() > INTEGER_BITS:
        raise ConfigError(f"{key} must be below 2**{INTEGER_BITS}, got {_magnitude(value)}")
    return value


def check_text(key: str, text: str) -> None:
    """Refuse what no file name can hold, and what no log should.

    Raises:
        ConfigError: If ``text`` is no Unicode, has a character of code 0, or holds credentials.
    """
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ConfigError(f"{key} must be Unicode without NUL characters, got {text!r}")
    shown = without_credentials(text)
    if shown != text:
        raise ConfigError(
            f"{key} must hold no credentials, since configurations are logged, got {shown!r}; give "
            "them by the environment or the files of their client"
        )


def _magnitude(value: int) -> str:
    """An integer of any length, since Python writes none of thousands of digits."""
    return f"{'-' * (value < 0)}2**{value.bit_length() - 1} or more"


def decode(texts: Mapping[str, str]) -> dict[str, Scalar]:
    """Typed values from texts: of ``--set key=value`` or of a run's logged parameters.

    Raises:
        ConfigError: On an unknown key or a text that is not of the key's type.
    """
    named = chosen({key: texts[key] for key in CHOICES if key in texts})
    # A policy that is not named here may be named elsewhere: its keys are accepted.
    choice = named._replace(
        augment=named.augment if "augment" in texts else None,
        teacher_augment=named.teacher_augment if "teacher.augment" in texts else None,
    )
    decoded: dict[str, Scalar] = {}
    for key, text in texts.items():
        check_text(key, text)
        adapter: TypeAdapter[Any] = TypeAdapter(field_of(key, choice).annotation or str)
        try:
            decoded[key] = adapter.validate_strings(text)
        except ValidationError as error:
            rule = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("Input ")
            rule = rule.replace("should be", "must be")
            raise ConfigError(f"{key} {rule}, got '{text}'") from None
    return decoded
