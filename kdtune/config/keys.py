"""Which flat key means which field: the bridge between one flat dict and nested settings."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

from pydantic.fields import FieldInfo

from kdtune.config.errors import ConfigError
from kdtune.config.sections import (
    DataSettings,
    PruneSettings,
    TeacherConfig,
    TrainSettings,
    TrialConfig,
)
from kdtune.contracts import FlatConfig, Scalar
from kdtune.objectives import OBJECTIVES
from kdtune.registry import nearest
from kdtune.settings import Settings
from kdtune.views import AUGMENTS

SECTIONS: dict[str, type[Settings]] = {
    "data": DataSettings,
    "train": TrainSettings,
    "teacher": TeacherConfig,
    "prune": PruneSettings,
}
TOP_LEVEL = ("dataset", "student", "init", "method", "seed", "augment", "prune_ratio", "role")
TEACHER_AXES = {
    "teacher": "model",
    "label_smoothing": "label_smoothing",
    "teacher_epochs": "epochs",
}
TEACHER_TRAINING = ("label_smoothing", "teacher_epochs")
OBJECTIVE_AXES = ("temperature", "alpha")
CHOICES = ("method", "augment", "teacher.augment")
"""The keys whose value decides which further keys there are."""


class Route(NamedTuple):
    """Where a flat key's value goes: a section (``""`` for the trial itself) and its field."""

    section: str
    field: str


class Chosen(NamedTuple):
    """What a configuration chose under :data:`CHOICES`; None for any."""

    method: str | None
    augment: str | None
    teacher_augment: str | None


def chosen(flat: FlatConfig) -> Chosen:
    """The choices of a configuration, by default those of the settings.

    Raises:
        ConfigError: If one is unknown; the message names the nearest.
    """
    known = dict(
        zip(CHOICES, (OBJECTIVES.names(), AUGMENTS.names(), AUGMENTS.names()), strict=True)
    )
    defaults = (
        TrialConfig.model_fields["method"].default,
        TrialConfig.model_fields["augment"].default,
        TeacherConfig.model_fields["augment"].default,
    )
    names = []
    for key, default in zip(CHOICES, defaults, strict=True):
        given = flat.get(key)
        name = default if given is None else given
        if not isinstance(name, str) or name not in known[key]:
            raise ConfigError(f"unknown {key} {name!r}{nearest(str(name), known[key])}")
        names.append(name)
    return Chosen(*names)


def routes(choice: Chosen) -> dict[str, Route]:
    """Flat key -> route, for all keys that a trial of that choice may set."""
    found = {key: Route("", key) for key in TOP_LEVEL}
    found["teacher.store"] = Route("", "store")
    found |= {key: Route("teacher", field) for key, field in TEACHER_AXES.items()}
    for name, section in SECTIONS.items():
        for field in section.model_fields:
            if not (name == "teacher" and field in (*TEACHER_AXES.values(), "views")):
                found[f"{name}.{field}"] = Route(name, field)
    found["augment.batches"] = Route("", "batches")
    found |= _policy_routes("augment", "views", choice.augment)
    found |= _policy_routes("teacher.augment", "teacher_views", choice.teacher_augment)
    for method in OBJECTIVES.names() if choice.method is None else [choice.method]:
        for field in OBJECTIVES.get(method).model_fields:
            key = field if field in OBJECTIVE_AXES else f"method.{field}"
            found[key] = Route("objective", field)
    return found


def _policy_routes(prefix: str, section: str, policy: str | None) -> dict[str, Route]:
    names = AUGMENTS.names() if policy is None else [policy]
    fields = [field for name in names for field in AUGMENTS.get(name).model_fields]
    return {f"{prefix}.{field}": Route(section, field) for field in fields}


def known_keys(method: str) -> list[str]:
    """All keys that a trial with ``method`` may set, whatever its augmentation, sorted.

    Raises:
        ConfigError: If there is no such method.
    """
    return sorted(routes(Chosen(chosen({"method": method}).method, None, None)))


def method_keys(method: str) -> list[str]:
    """The keys that ``method`` brings with it, in their order."""
    found = routes(Chosen(method, None, None))
    return [key for key, route in found.items() if route.section == "objective"]


def field_of(key: str, choice: Chosen) -> FieldInfo:
    """The declared field behind a flat key; any policy's, where a choice is None.

    Raises:
        ConfigError: If there is no such key.
    """
    found = routes(choice)
    if key not in found:
        refuse_key(key, choice)
    section, field = found[key]
    holders = next(fields for fields in _holders(section, choice) if field in fields)
    return holders[field]


def _holders(section: str, choice: Chosen) -> Iterator[Mapping[str, FieldInfo]]:
    match section:
        case "":
            yield TrialConfig.model_fields
        case "objective":
            assert choice.method is not None
            yield OBJECTIVES.get(choice.method).model_fields
        case "views" | "teacher_views":
            policy = choice.augment if section == "views" else choice.teacher_augment
            names = AUGMENTS.names() if policy is None else [policy]
            yield from (AUGMENTS.get(name).model_fields for name in names)
        case _:
            yield SECTIONS[section].model_fields


def is_key_of_another_choice(key: str) -> bool:
    """Whether some method or policy uses ``key``."""
    return key in routes(Chosen(None, None, None))


def refuse_key(key: str, choice: Chosen) -> NoReturn:
    """Say why a trial of that choice cannot set ``key``.

    Raises:
        ConfigError: Always.
    """
    for position, name in enumerate(CHOICES):
        registry = OBJECTIVES if name == "method" else AUGMENTS
        own = choice[position]
        owners = [o for o in registry.names() if key in routes(choice._replace(**{_slot(name): o}))]
        if own is not None and owners:
            raise ConfigError(
                f"key '{key}' is not used by {name} '{own}'; it belongs to {', '.join(owners)}"
            )
    found = routes(choice)
    prefix = key.rpartition(".")[0]
    near = [known for known in found if known.rpartition(".")[0] == prefix and prefix == "method"]
    raise ConfigError(
        f"unknown key '{key}' for method '{choice.method}'{nearest(key, near or found)}"
    )


def _slot(name: str) -> str:
    return name.replace(".", "_")


def flatten(config: TrialConfig) -> dict[str, Scalar]:
    """See :meth:`TrialConfig.flat`."""
    teacher = config.teacher
    choice = Chosen(config.method, config.augment, None if teacher is None else teacher.augment)
    holders: dict[str, Settings | None] = {
        "": config,
        "objective": config.objective,
        "views": config.views,
        "teacher_views": None if teacher is None else teacher.views,
        **{name: getattr(config, name) for name in SECTIONS},
    }
    if config.prune_ratio == 0:
        holders["prune"] = None
    flat: dict[str, Scalar] = {}
    for key, (section, field) in routes(choice).items():
        holder = holders[section]
        ready_made = teacher is not None and teacher.weights != "" and key in TEACHER_TRAINING
        if holder is None or ready_made:
            continue
        value, default = getattr(holder, field), type(holder).model_fields[field].default
        if value is not None and not value == default == "":
            flat[key] = value
    return flat
