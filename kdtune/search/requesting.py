"""From what was typed to a complete :class:`SearchRequest`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from kdtune.config import TEACHER_TRAINING, ConfigError, decode, known_keys
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import absolute_name
from kdtune.report.goals import goal_of
from kdtune.search.request import SearchRequest
from kdtune.search.space import Arm, Choice, Space, load
from kdtune.storage import Location
from kdtune.tracking import resolve_tracking_uri, without_credentials
from kdtune.tracking.location import anchored
from kdtune.training.teacher import STORED


def build_request(
    space_name: str,
    *,
    shortcuts: FlatConfig,
    settings: Sequence[str],
    name: str | None,
    storage: str | Path,
    tracking_uri: str | None,
    experiment: str | None,
    gpus_per_trial: float | None,
    cpus_per_trial: int,
    seed: int,
    objectives: Sequence[str] = (),
    skip: Sequence[str] = (),
    **fields: Any,
) -> SearchRequest:
    """Apply all overrides to a space and fill in what was left open.

    Args:
        space_name: As in :func:`kdtune.search.space.load`.
        shortcuts: Flat keys that have an option of their own.
        settings: Texts ``KEY=VALUE``; they win over shortcuts.
        name, tracking_uri, experiment, gpus_per_trial: None for the default.
        storage, cpus_per_trial, seed: As in :class:`SearchRequest`.
        objectives: As in :func:`kdtune.report.goals.goal_of`; none for the default.
        skip: Names of arms to leave out.
        **fields: Its other fields.

    Raises:
        ValueError: On an unknown space, arm, key, value or objective.
    """
    location = Location.parse(storage)
    space = load(space_name).without_arms(skip)
    gpus = float(torch.cuda.is_available()) if gpus_per_trial is None else gpus_per_trial
    overrides = {
        "seed": seed,
        "train.threads": cpus_per_trial,
        "train.device": "cuda" if gpus else "cpu",
        "teacher.store": location.child("teachers").uri,
        **shortcuts,
        **(typed := typed_settings(space, settings)),
    }
    asked = {**fields, "objectives": list(objectives), "skip": list(skip)}
    asked["command"] = without_credentials(fields.get("command", ""))
    space = _settled(space, overrides)
    fields["partial"] = _partial(space, {**shortcuts, **typed})
    if objectives:
        fields["objectives"] = tuple(map(goal_of, objectives))
    dataset_name = str(space.fixed["dataset"])
    started = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
    uri = anchored(resolve_tracking_uri(tracking_uri, None, location.local))
    settled: dict[str, Any] = {
        "name": name or f"{space.name}-{started}",
        "experiment": experiment or f"{space.name} on {dataset_name.rpartition('/')[2]}",
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus,
        "seed": seed,
    }
    asked |= {
        **settled,
        "space_name": space_name,
        # Nothing that depends on where the command is given.
        "shortcuts": {**shortcuts, "dataset": dataset_name},
        "settings": [each for each in settings if each.partition("=")[0].strip() != "dataset"],
        "storage": location.uri,
        "tracking_uri": without_credentials(uri) if tracking_uri else None,
    }
    try:
        return SearchRequest(
            space=space,
            storage=location.local,
            remote="" if location.is_local else location.uri,
            tracking_uri=uri,
            asked=asked,
            **settled,
            **fields,
        )
    except ValidationError as error:
        found = error.errors()[0]
        option = str(found["loc"][0]).removesuffix("_s").removesuffix("_as").replace("_", "-")
        rule = found["msg"].removeprefix("Input ").replace("should", "must")
        raise ConfigError(f"--{option}: {rule}, got {found['input']!r}") from None


def _settled(space: Space, overrides: Mapping[str, Scalar]) -> Space:
    """The space with all overrides, where they go; a local dataset gets an absolute path."""
    weights = str(overrides.get("teacher.weights") or "")
    if weights:
        space = _without_teacher_axes(space)
        if not weights.startswith(STORED):
            overrides = {**overrides, "teacher.weights": str(Path(weights).absolute())}
    space = _with_full_teachers(space, overrides)
    space = _with_arm_keys(space, overrides).with_overrides(overrides)
    if "dataset" not in space.fixed:
        raise ConfigError(f"space '{space.name}' must fix its dataset; give --dataset")
    root = space.fixed.get("data.root")
    dataset = absolute_name(str(space.fixed["dataset"]), root=str(root) if root else None)
    return space.with_overrides({"dataset": dataset})


def typed_settings(space: Space, settings: Sequence[str]) -> dict[str, Scalar]:
    """``KEY=VALUE`` texts as typed values; a key is looked up in the methods of the space.

    Raises:
        ConfigError: On a text of another form, an unknown key or a value of another type.
    """
    texts = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, got '{text}'")
        texts[key.strip()] = value.strip()
    arm = texts.pop("arm", None)
    own = space.methods() if arm is None else [space.arm(arm).method]
    methods = [texts["method"]] if "method" in texts else own
    typed: dict[str, Scalar] = {} if arm is None else {"arm": arm}
    for key, value in texts.items():
        method = next((m for m in methods if key in known_keys(m)), None)
        if method is None:
            # Says whose key it is, or which one is near.
            method = methods[0]
        typed[key] = decode({key: value} if key == "method" else {"method": method, key: value})[
            key
        ]
    return typed


def _partial(space: Space, settings: FlatConfig) -> dict[str, tuple[str, ...]]:
    """For each key that some arms could have and have not: the arms that do.

    Raises:
        ConfigError: If no arm has it.
    """
    found = {}
    for key in settings.keys() - {"arm", "method"}:
        holders = space.holders(key)
        if not holders:
            raise ConfigError(
                f"'{key}' means nothing to what is left of space '{space.name}': "
                f"{', '.join(space.arm_names)}; drop it, or choose another arm"
            )
        others = (arm for arm in space.arms if arm.name not in holders and not arm.lacks(key))
        if any(key in known_keys(arm.method) for arm in others):
            found[key] = tuple(holders)
    return found


def _with_arm_keys(space: Space, overrides: FlatConfig) -> Space:
    """The space with the keys that only some methods know given to the arms of those methods."""
    known = {method: {*known_keys(method), "arm"} for method in space.methods()}

    def own(arm: Arm) -> Arm:
        keys = {k for k in overrides if not all(k in keys for keys in known.values())}
        new = (keys & known[arm.method]) - {*arm.axes, *arm.fixed, *space.axes, *space.fixed}
        new = {key for key in new if not arm.lacks(key)}
        return replace(arm, fixed={**arm.fixed, **{key: overrides[key] for key in new}})

    return replace(space, arms=tuple(map(own, space.arms)))


def _with_full_teachers(space: Space, overrides: FlatConfig) -> Space:
    """Where the user sets ``teacher_epochs``, a recipe's full teacher has that length."""
    full, wanted = space.fixed.get("teacher.full_epochs"), overrides.get("teacher_epochs")
    if wanted is None or "teacher_epochs" not in space.axes:
        return space
    recipes = [
        replace(recipe, values={**recipe.values, "teacher_epochs": wanted})
        if "teacher_epochs" in recipe.values
        else recipe
        for recipe in space.recipes
        if recipe.values.get("teacher_epochs", full) == full
    ]
    kept = {recipe.name for recipe in recipes}
    return replace(
        space,
        axes={**space.axes, "teacher_epochs": Choice((wanted,))},
        recipes=tuple(recipes),
        dropped=space.dropped + tuple(r for r in space.recipes if r.name not in kept),
    )


def _without_teacher_axes(space: Space) -> Space:
    """The space for a ready-made teacher: its training is neither searched, fixed nor in a recipe.

    Recipes that want a special teacher are dropped.
    """
    full = space.fixed.get("teacher.full_epochs")
    plain = {"label_smoothing": 0.0, "teacher_epochs": full}

    def kept(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key not in TEACHER_TRAINING}

    served = [r for r in space.recipes if all(r.values.get(k, v) == v for k, v in plain.items())]
    recipes = {repr((r.arm, kept(r.values))): replace(r, values=kept(r.values)) for r in served}
    return replace(
        space,
        fixed=kept(space.fixed),
        axes=kept(space.axes),
        arms=tuple(replace(a, axes=kept(a.axes), fixed=kept(a.fixed)) for a in space.arms),
        recipes=tuple(recipes.values()),
        dropped=space.dropped + tuple(r for r in space.recipes if r not in served),
    )
