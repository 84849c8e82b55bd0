"""The declarative search space: one object that Tune, Optuna, the docs and the recipes share.

A space has settings that never change, axes that its trials have in common, and arms: alternatives
with axes and settings of their own, usually one per method. Published recipes are full points of
it, tried first.
"""

import hashlib
import importlib
import itertools
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kdtune.contracts import FlatConfig, Scalar
from kdtune.registry import nearest
from kdtune.search.arms import NO_TEACHER, Arm, Recipe
from kdtune.search.dimensions import Choice, Dimension, Float, Int, scalars

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = [
    "NO_TEACHER",
    "Arm",
    "Choice",
    "Dimension",
    "Float",
    "Int",
    "Recipe",
    "Row",
    "Space",
    "load",
    "names",
]


_ABSENT = object()


class Row(NamedTuple):
    """One line of a space's table: ``arm`` is empty for what all arms share."""

    key: str
    kind: str
    range: str
    arm: str


@dataclass(frozen=True, kw_only=True)
class Space:
    """A search space over flat configurations.

    Attributes:
        name: The module's name under ``search_spaces``.
        summary: One sentence.
        fixed: Settings of all arms but those that set or leave out the key themselves.
        axes: Searched keys of the same arms.
        arms: At least one.
        recipes: Published settings, tried first and in this order.
        tables: Published tables that its results can be compared with, such as ``park2020 T1``.
        dropped: Recipes that an override contradicts; see :meth:`with_overrides`.
        dropped_arms: Arms that an override contradicts.

    Raises:
        ValueError: If a key is given twice, ``method`` is set outside the arms, or a recipe names
            no arm, leaves an axis out, sets a key that is no axis, or leaves its range.
    """

    name: str
    summary: str
    fixed: FlatConfig = field(default_factory=dict)
    axes: Mapping[str, Dimension] = field(default_factory=dict)
    arms: tuple[Arm, ...]
    recipes: tuple[Recipe, ...] = ()
    tables: tuple[str, ...] = ()
    dropped: tuple[Recipe, ...] = ()
    dropped_arms: tuple[Arm, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", tuple(self.arms))
        self._check_arms()
        _check_unique("recipe", [recipe.name for recipe in self.recipes])
        object.__setattr__(self, "recipes", tuple(self._completed(r) for r in self.recipes))

    # What the space holds

    def arm(self, name: str) -> Arm:
        """The arm called ``name``.

        Raises:
            ValueError: If the space has none; the message names the nearest.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(f"space '{self.name}' has no arm '{name}'{nearest(name, self.arm_names)}")

    @property
    def arm_names(self) -> list[str]:
        """The names of the arms, in their order."""
        return [arm.name for arm in self.arms]

    def methods(self) -> list[str]:
        """The methods of the arms, each once, in their order."""
        return list(dict.fromkeys(arm.method for arm in self.arms))

    def keys(self) -> list[str]:
        """All keys that some trial of the space sets, sorted."""
        return sorted({key for arm in self.arms for key in self._entries(arm)})

    def holders(self, key: str) -> list[str]:
        """The names of the arms whose trials set ``key``, in their order."""
        return [arm.name for arm in self.arms if key in self._entries(arm)]

    def arm_of(self, config: FlatConfig) -> str:
        """The name of the arm that a trial of the space was drawn from; empty if of none.

        Where two arms could have drawn it, the first.
        """
        for arm in self.arms:
            settings, axes = self._settings(arm), self.active(arm.name)
            if (
                config.keys() == settings.keys() | axes.keys()
                and all(config[key] == settings[key] for key in settings.keys() - axes.keys())
                and all(axis.contains(config[key]) for key, axis in axes.items())
            ):
                return arm.name
        return ""

    def active(self, arm: str) -> dict[str, Dimension]:
        """The axes of a trial of the arm of that name, shared ones first.

        Raises:
            ValueError: If the space has no such arm.
        """
        own = self.arm(arm)
        return {**{key: axis for key, axis in self.axes.items() if own.inherits(key)}, **own.axes}

    def values(self, key: str) -> tuple[Scalar, ...]:
        """All values that trials of the space may give ``key``; e.g. to train all its teachers.

        Raises:
            ValueError: If the space does not set ``key``, or searches it over a continuous range.
        """
        holders = [self._entries(arm) for arm in self.arms]
        found = [holder[key] for holder in holders if key in holder]
        if not found:
            raise ValueError(f"space '{self.name}' sets no '{key}'{nearest(key, self.keys())}")
        listed: list[Scalar] = []
        for entry in found:
            options = _options(entry)
            if options is None:
                raise ValueError(f"'{key}' of space '{self.name}' is continuous, not a finite set")
            listed += [value for value in options if value not in listed]
        return tuple(listed)

    def table(self) -> list[Row]:
        """The space for a reader: axes first, then what is fixed, then what arms do without."""
        used = set(self.keys())
        several = len(self.arms) > 1
        rows = [Row("arm", "choice", Choice(tuple(self.arm_names)).text(), "")] if several else []
        rows += [Row(k, axis.kind, axis.text(), "") for k, axis in self.axes.items() if k in used]
        for arm in self.arms:
            rows += [Row(k, axis.kind, axis.text(), arm.name) for k, axis in arm.axes.items()]
        if not several:
            rows.append(Row("method", "fixed", self.arms[0].method, ""))
        rows += [Row(k, "fixed", str(value), "") for k, value in self.fixed.items() if k in used]
        for arm in self.arms:
            if several and arm.name != arm.method:
                rows.append(Row("method", "fixed", arm.method, arm.name))
            rows += [Row(k, "fixed", str(value), arm.name) for k, value in arm.fixed.items()]
        return rows + [Row(k, "absent", "", arm.name) for arm in self.arms for k in arm.without]

    @property
    def digest(self) -> str:
        """Tells whether a space is the same as it was: axes, settings, arms and recipes."""
        recipes = [
            (recipe.name, recipe.arm, sorted(recipe.values.items())) for recipe in self.recipes
        ]
        return hashlib.sha256(repr((self.table(), recipes)).encode()).hexdigest()[:16]

    # What trials are drawn from it

    def config(self, arm: str, values: FlatConfig) -> dict[str, Scalar]:
        """The flat configuration of one trial of an arm: what is fixed, the method, ``values``."""
        return {**self._settings(self.arm(arm)), **values}

    def points_to_evaluate(self) -> list[dict[str, Scalar]]:
        """The recipes as Optuna's parameters, under the names that :meth:`suggest` asks for."""
        return [self._point(recipe.arm, recipe.values) for recipe in self.recipes]

    def point(self, config: FlatConfig) -> dict[str, Scalar]:
        """The parameters of an Optuna trial whose :meth:`suggest` is ``config``.

        Raises:
            ValueError: If it is none of the space.
        """
        arm = self.arm_of(config)
        if not arm:
            raise ValueError(f"no arm of space '{self.name}' has the configuration {dict(config)}")
        return self._point(arm, config)

    def recipe_config(self, recipe: Recipe) -> dict[str, Scalar]:
        """The flat configuration of a trial that runs ``recipe``."""
        return self.config(recipe.arm, recipe.values)

    def sample(self, rng: np.random.Generator, arm: str = "") -> dict[str, Scalar]:
        """The flat configuration of one random trial, of any arm or of one; no inactive key."""
        name = arm or self.arms[int(rng.integers(len(self.arms)))].name
        return self.config(name, {k: axis.draw(rng) for k, axis in self.active(name).items()})

    def suggest(self, trial: "BaseTrial") -> dict[str, Scalar]:
        """The flat configuration that an Optuna trial proposes; asks for active axes only.

        Its parameters are called as their keys, and the arm, where there are several, ``arm``. A
        key that several arms search, each for itself, is a parameter of its own in each of them,
        ``<arm>/<key>``: it need not mean the same there.
        """
        arm = self.arms[0].name
        if len(self.arms) > 1:
            arm = str(trial.suggest_categorical("arm", self.arm_names))
        names = self._parameters(arm)
        values = {k: axis.suggest(names[k], trial) for k, axis in self.active(arm).items()}
        return self.config(arm, values)

    def grid(self, levels: int) -> Iterator[dict[str, Scalar]]:
        """All points with at most ``levels`` values on each range, arm by arm."""
        for arm in self.arm_names:
            axes = self.active(arm)
            for point in itertools.product(*(axis.grid(levels) for axis in axes.values())):
                yield self.config(arm, dict(zip(axes, point, strict=True)))

    def param_space(self, **overrides: Scalar) -> dict[str, Any]:
        """The ``config`` of ``tune.run`` and the ``param_space`` of a ``Tuner``.

        With several arms, the arm is drawn together with ``method``, and a key that only some of
        them have is None in trials of the others, which the configuration parser reads as not
        given.

        Args:
            **overrides: As for :meth:`with_overrides`; ``**{"train.epochs": 3}`` for dotted keys.
        """
        space = self.with_overrides(overrides) if overrides else self
        entries = {arm.name: space._entries(arm) for arm in space.arms}
        if len(entries) == 1:
            return {key: _tuned(entry) for key, entry in entries[space.arms[0].name].items()}
        from kdtune.search.tune_domain import ByArm, MethodOfArm

        shared = {**space.fixed, **space.axes}
        common = {k: e for k, e in shared.items() if all(arm.inherits(k) for arm in space.arms)}
        options: dict[str, dict[str, Any]] = {}
        for name, own in entries.items():
            for key in own.keys() - common.keys() - {"method"}:
                options.setdefault(key, {})[name] = _tuned(own[key])
        methods = {arm.name: arm.method for arm in space.arms}
        return {
            **{key: _tuned(entry) for key, entry in common.items()},
            "method": MethodOfArm(methods),
            **{key: ByArm(options[key], methods=methods) for key in sorted(options)},
        }

    def with_overrides(self, fixed: Mapping[str, object]) -> "Space":
        """The space with some keys set by the user; an axis that is set is no longer searched.

        ``method`` keeps the arms of that method, ``arm`` the arm of that name. A recipe that says
        otherwise is dropped and kept under ``dropped``. So is, under ``dropped_arms``, an arm that
        fixes a key to something else that others search. Ranges do not bind the user: the
        configuration parser checks the values.

        Raises:
            ValueError: If a value is no JSON scalar, or no arm is left.
        """
        settings = scalars(fixed)
        chosen = self._chosen(settings.pop("arm", None), settings.pop("method", None))
        searched = {key for arm in chosen for key in self.active(arm.name)}
        decisive = {key: value for key, value in settings.items() if key in searched}
        arms = [a for a in chosen if all(a.fixed.get(k, v) == v for k, v in decisive.items())]
        own = {key for arm in chosen for key in (*arm.axes, *arm.fixed)}
        common = {*self.fixed, *self.axes, *(key for key in settings if key not in own)}
        kept = [arm.name for arm in arms]
        agreed = [r for r in self.recipes if r.arm in kept and _agrees(r, settings)]
        return replace(
            self,
            fixed={**self.fixed, **{k: v for k, v in settings.items() if k in common}},
            axes={key: axis for key, axis in self.axes.items() if key not in settings},
            arms=tuple(arm.overridden(settings) for arm in arms),
            recipes=tuple(agreed),
            dropped=self.dropped + tuple(r for r in self.recipes if r not in agreed),
            dropped_arms=self.dropped_arms + tuple(arm for arm in chosen if arm.name not in kept),
        )

    def without_arms(self, names: Iterable[str]) -> "Space":
        """The space without the arms of those names, and without their recipes.

        Raises:
            ValueError: If there is no such arm, or none is left.
        """
        gone = {self.arm(name).name for name in names}
        return replace(
            self,
            arms=tuple(arm for arm in self.arms if arm.name not in gone),
            recipes=tuple(recipe for recipe in self.recipes if recipe.arm not in gone),
        )

    # Private

    def _chosen(self, name: Scalar, method: Scalar) -> list[Arm]:
        """The arms of that name and method; None for any."""
        arms = self.arms if name is None else (self.arm(str(name)),)
        found = [arm for arm in arms if method in (None, arm.method)]
        if not found:
            where = f"space '{self.name}'" if name is None else f"arm '{name}'"
            hint = nearest(str(method), {arm.method for arm in arms})
            raise ValueError(f"{where} has no arm for method '{method}'{hint}")
        return found

    def _settings(self, arm: Arm) -> dict[str, Scalar]:
        """What is fixed in the trials of ``arm``."""
        shared = {key: value for key, value in self.fixed.items() if arm.inherits(key)}
        return {**shared, **arm.fixed, "method": arm.method}

    def _entries(self, arm: Arm) -> dict[str, Scalar | Dimension]:
        """All keys of a trial of ``arm``, with their value or axis."""
        return {**self._settings(arm), **self.active(arm.name)}

    def _point(self, arm: str, values: FlatConfig) -> dict[str, Scalar]:
        chosen: dict[str, Scalar] = {"arm": arm} if len(self.arms) > 1 else {}
        return chosen | {name: values[key] for key, name in self._parameters(arm).items()}

    def _parameters(self, arm: str) -> dict[str, str]:
        """Optuna's name for each active axis of an arm."""
        holders = Counter(key for each in self.arms for key in each.axes)
        return {k: f"{arm}/{k}" if holders[k] > 1 else k for k in self.active(arm)}

    def _check_arms(self) -> None:
        if not self.arms:
            raise ValueError(f"space '{self.name}' needs at least one arm, got none")
        _check_unique("arm", self.arm_names)
        object.__setattr__(self, "fixed", scalars(self.fixed))
        for arm in self.arms:
            scalars(arm.fixed)
            _check_unique("key", [*self.fixed, *self.axes, *arm.axes])
            _check_unique("key", [*arm.fixed, *arm.axes])
            for key in ("method", "arm"):
                if key in (*self.fixed, *self.axes, *arm.fixed, *arm.axes):
                    raise ValueError(f"'{key}' is what the arms are for; set it in no other place")

    def _completed(self, recipe: Recipe) -> Recipe:
        """``recipe`` with its arm and method written out and each value in its axis's own type."""
        where = f"recipe '{recipe.name}' of space '{self.name}'"
        given = scalars(recipe.values)
        arm = self._arm_of(recipe, given.pop("method", None), where)
        axes, fixed = self.active(arm.name), self._settings(arm)
        for key, value in given.items():
            if key not in axes and fixed.get(key, _ABSENT) != value:
                raise ValueError(
                    f"{where} sets '{key}', no axis of '{arm.name}'{nearest(key, axes)}"
                )
        missing = [key for key in axes if key not in given]
        if missing:
            raise ValueError(f"{where} must give every axis of '{arm.name}'; add {missing}")
        for key, axis in axes.items():
            if not axis.contains(given[key]):
                raise ValueError(f"{where}: {key} must lie in {axis.text()}, got {given[key]!r}")
        cleaned = {key: axis.clean(given[key]) for key, axis in axes.items()}
        return replace(recipe, arm=arm.name, values={"method": arm.method, **given, **cleaned})

    def _arm_of(self, recipe: Recipe, method: Scalar, where: str) -> Arm:
        if recipe.arm and recipe.arm not in self.arm_names:
            raise ValueError(f"{where} names no arm{nearest(recipe.arm, self.arm_names)}")
        able = [a for a in self.arms if recipe.arm in ("", a.name) and method in (None, a.method)]
        if not able:
            hint = nearest(str(method), self.methods())
            raise ValueError(f"{where} must name an arm under 'method', got {method!r}{hint}")
        if len(able) > 1:
            choices = ", ".join(arm.name for arm in able)
            raise ValueError(f"{where} must name its arm: arm= one of {choices}")
        return able[0]


def names() -> list[str]:
    """The spaces that ship with kdtune: the modules of ``search_spaces``, sorted."""
    package = importlib.import_module("search_spaces")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load(name: str) -> Space:
    """The space called ``name``.

    Raises:
        ValueError: If there is none; the message names the nearest and all choices.
    """
    known = names()
    if name not in known:
        raise ValueError(f"unknown space '{name}'{nearest(name, known)}")
    space: Space = importlib.import_module(f"search_spaces.{name}").SPACE
    return space


def _check_unique(kind: str, keys: Sequence[str]) -> None:
    for position, key in enumerate(keys):
        if key in keys[:position]:
            raise ValueError(f"each {kind} of a space is given once, got '{key}' twice")


def _options(entry: Scalar | Dimension) -> tuple[Scalar, ...] | None:
    if entry is None or isinstance(entry, str | int | float | bool):
        return (entry,)
    return entry.values()


def _tuned(entry: Scalar | Dimension) -> Any:
    """A fixed value as it is, an axis as Tune's domain."""
    if entry is None or isinstance(entry, str | int | float | bool):
        return entry
    return entry.tune()


def _agrees(recipe: Recipe, settings: FlatConfig) -> bool:
    return all(settings.get(key, value) == value for key, value in recipe.values.items())
