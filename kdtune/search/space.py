"""The declarative search space: one object that Tune, Optuna, the docs and the recipes share.

A space has settings that never change, axes that every method has, and one arm per method with
the axes that only this method has. Published recipes are full points of it, tried first.
"""

import importlib
import itertools
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kdtune.contracts import FlatConfig, Scalar
from kdtune.registry import nearest
from kdtune.search.dimensions import Choice, Dimension, Float, Int, scalars

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["Arm", "Choice", "Dimension", "Float", "Int", "Recipe", "Row", "Space", "load", "names"]


_ABSENT = object()


class Row(NamedTuple):
    """One line of a space's table: ``arm`` is empty for what all methods share."""

    key: str
    kind: str
    range: str
    arm: str


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One method of a space, with what only this method has.

    Attributes:
        method: The name under ``method=``.
        axes: Searched keys that the other methods of the space do not share.
        fixed: Set keys that the other methods of the space do not share.
    """

    method: str
    axes: Mapping[str, Dimension] = field(default_factory=dict)
    fixed: FlatConfig = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A published setting, as a full point of a space.

    Attributes:
        name: Short and unique in its space.
        source: Where it was published.
        values: A value for every axis of its arm, and ``method`` if the space has several arms.
            What the space fixes may be repeated.
    """

    name: str
    source: str
    values: FlatConfig


@dataclass(frozen=True, kw_only=True)
class Space:
    """A search space over flat configurations.

    Attributes:
        name: The module's name under ``search_spaces``.
        summary: One sentence.
        fixed: Settings that hold for all trials.
        axes: Searched keys that all arms have.
        arms: One per method, at least one.
        recipes: Published settings, tried first and in this order.
        dropped: Recipes that an override contradicts; see :meth:`with_overrides`.

    Raises:
        ValueError: If a key is given twice, ``method`` is set outside the arms, or a recipe names
            an unknown arm, leaves an axis out, sets a key that is no axis, or leaves its range.
    """

    name: str
    summary: str
    fixed: FlatConfig = field(default_factory=dict)
    axes: Mapping[str, Dimension] = field(default_factory=dict)
    arms: tuple[Arm, ...]
    recipes: tuple[Recipe, ...] = ()
    dropped: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", tuple(self.arms))
        self._check_arms()
        _check_unique("recipe", [recipe.name for recipe in self.recipes])
        object.__setattr__(self, "recipes", tuple(self._completed(r) for r in self.recipes))

    # What the space holds

    def methods(self) -> list[str]:
        """The methods of the arms, in their order."""
        return [arm.method for arm in self.arms]

    def keys(self) -> list[str]:
        """All keys that some trial of the space sets, sorted."""
        arm_keys = (key for arm in self.arms for key in (*arm.fixed, *arm.axes))
        return sorted({"method", *self.fixed, *self.axes, *arm_keys})

    def active(self, method: str) -> dict[str, Dimension]:
        """The axes of a trial with ``method``, shared ones first.

        Raises:
            ValueError: If the space has no such arm.
        """
        return {**self.axes, **self._arm(method).axes}

    def values(self, key: str) -> tuple[Scalar, ...]:
        """All values that trials of the space may give ``key``; e.g. to train all its teachers.

        Raises:
            ValueError: If the space does not set ``key``, or searches it over a continuous range.
        """
        if key == "method":
            return tuple(self.methods())
        holders = [{**self.fixed, **arm.fixed, **self.axes, **arm.axes} for arm in self.arms]
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
        """The space for a reader: axes first, then what is fixed."""
        rows = [Row("method", "choice", Choice(tuple(self.methods())).text(), "")]
        rows = rows if len(self.arms) > 1 else []
        rows += [Row(key, axis.kind, axis.text(), "") for key, axis in self.axes.items()]
        for arm in self.arms:
            rows += [Row(k, axis.kind, axis.text(), arm.method) for k, axis in arm.axes.items()]
        if len(self.arms) == 1:
            rows.append(Row("method", "fixed", self.arms[0].method, ""))
        rows += [Row(key, "fixed", str(value), "") for key, value in self.fixed.items()]
        for arm in self.arms:
            rows += [Row(k, "fixed", str(value), arm.method) for k, value in arm.fixed.items()]
        return rows

    # What trials are drawn from it

    def config(self, method: str, values: FlatConfig) -> dict[str, Scalar]:
        """The flat configuration of one trial: what is fixed, the method, and ``values``."""
        return {**self.fixed, **self._arm(method).fixed, "method": method, **values}

    def points_to_evaluate(self) -> list[dict[str, Scalar]]:
        """The recipes as flat points, ``method`` included where it is searched."""
        points = []
        for recipe in self.recipes:
            searched = set(self.active(str(recipe.values["method"])))
            searched |= {"method"} if len(self.arms) > 1 else set()
            points.append({k: value for k, value in recipe.values.items() if k in searched})
        return points

    def recipe_config(self, recipe: Recipe) -> dict[str, Scalar]:
        """The flat configuration of a trial that runs ``recipe``."""
        return self.config(str(recipe.values["method"]), recipe.values)

    def sample(self, rng: np.random.Generator) -> dict[str, Scalar]:
        """The flat configuration of one random trial; holds no inactive key."""
        method = self.arms[int(rng.integers(len(self.arms)))].method
        return self.config(method, {k: axis.draw(rng) for k, axis in self.active(method).items()})

    def suggest(self, trial: "BaseTrial") -> dict[str, Scalar]:
        """The flat configuration that an Optuna trial proposes; asks for active axes only."""
        method = self.arms[0].method
        if len(self.arms) > 1:
            method = str(trial.suggest_categorical("method", self.methods()))
        axes = self.active(method)
        return self.config(method, {key: axis.suggest(key, trial) for key, axis in axes.items()})

    def grid(self, levels: int) -> Iterator[dict[str, Scalar]]:
        """All points with at most ``levels`` values on each range, arm by arm."""
        for arm in self.arms:
            axes = self.active(arm.method)
            for point in itertools.product(*(axis.grid(levels) for axis in axes.values())):
                yield self.config(arm.method, dict(zip(axes, point, strict=True)))

    def param_space(self, **overrides: Scalar) -> dict[str, Any]:
        """The ``config`` of ``tune.run`` and the ``param_space`` of a ``Tuner``.

        With several arms, a key that only some of them have is None in trials of the others,
        which the configuration parser reads as not given.

        Args:
            **overrides: As for :meth:`with_overrides`; ``**{"train.epochs": 3}`` for dotted keys.
        """
        space = self.with_overrides(overrides) if overrides else self
        domains: dict[str, Any] = {**space.fixed}
        domains |= {key: axis.tune() for key, axis in space.axes.items()}
        if len(space.arms) == 1:
            arm = space.arms[0]
            tuned = {key: axis.tune() for key, axis in arm.axes.items()}
            return {**domains, "method": arm.method, **arm.fixed, **tuned}
        return {**domains, "method": Choice(tuple(space.methods())).tune(), **space._by_method()}

    def with_overrides(self, fixed: Mapping[str, object]) -> "Space":
        """The space with some keys set by the user; an axis that is set is no longer searched.

        A recipe that says otherwise is dropped and kept under ``dropped``. Ranges do not bind the
        user: the configuration parser checks the values.

        Raises:
            ValueError: If a value is no JSON scalar, or ``method`` is not an arm of the space.
        """
        settings = scalars(fixed)
        method = settings.pop("method", None)
        arms = self.arms if method is None else (self._arm(str(method)),)
        own = {key for arm in self.arms for key in (*arm.axes, *arm.fixed)}
        shared = {key: value for key, value in settings.items() if key not in own}
        agreed = [r for r in self.recipes if _agrees(r, settings, method)]
        return replace(
            self,
            fixed={**self.fixed, **shared},
            axes={key: axis for key, axis in self.axes.items() if key not in settings},
            arms=tuple(_overridden(arm, settings) for arm in arms),
            recipes=tuple(agreed),
            dropped=self.dropped + tuple(r for r in self.recipes if r not in agreed),
        )

    # Private

    def _arm(self, method: str) -> Arm:
        for arm in self.arms:
            if arm.method == method:
                return arm
        hint = nearest(method, self.methods())
        raise ValueError(f"space '{self.name}' has no arm for method '{method}'{hint}")

    def _by_method(self) -> dict[str, Any]:
        from kdtune.search.tune_domain import ByMethod

        options: dict[str, dict[str, Any]] = {}
        for arm in self.arms:
            tuned = {key: axis.tune() for key, axis in arm.axes.items()}
            for key, option in {**arm.fixed, **tuned}.items():
                options.setdefault(key, {})[arm.method] = option
        return {key: ByMethod(option) for key, option in options.items()}

    def _check_arms(self) -> None:
        if not self.arms:
            raise ValueError(f"space '{self.name}' needs at least one arm, got none")
        _check_unique("arm", self.methods())
        object.__setattr__(self, "fixed", scalars(self.fixed))
        for arm in self.arms:
            scalars(arm.fixed)
            keys = [*self.fixed, *self.axes, *arm.fixed, *arm.axes]
            _check_unique("key", keys)
            if "method" in keys:
                raise ValueError("'method' is what the arms are for; set it in no other place")

    def _completed(self, recipe: Recipe) -> Recipe:
        """``recipe`` with its method written out and each value in its axis's own type."""
        where = f"recipe '{recipe.name}' of space '{self.name}'"
        given = scalars(recipe.values)
        method = given.pop("method", self.arms[0].method if len(self.arms) == 1 else None)
        if method not in self.methods():
            hint = nearest(str(method), self.methods())
            raise ValueError(f"{where} must name an arm under 'method', got {method!r}{hint}")
        axes = self.active(str(method))
        fixed = {**self.fixed, **self._arm(str(method)).fixed}
        for key, value in given.items():
            if key not in axes and fixed.get(key, _ABSENT) != value:
                raise ValueError(f"{where} sets '{key}', no axis of '{method}'{nearest(key, axes)}")
        missing = [key for key in axes if key not in given]
        if missing:
            raise ValueError(f"{where} must give every axis of '{method}'; add {missing}")
        for key, axis in axes.items():
            if not axis.contains(given[key]):
                raise ValueError(f"{where}: {key} must lie in {axis.text()}, got {given[key]!r}")
        cleaned = {key: axis.clean(given[key]) for key, axis in axes.items()}
        return replace(recipe, values={"method": method, **given, **cleaned})


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


def _check_unique(kind: str, keys: list[str]) -> None:
    for position, key in enumerate(keys):
        if key in keys[:position]:
            raise ValueError(f"each {kind} of a space is given once, got '{key}' twice")


def _options(entry: Scalar | Dimension) -> tuple[Scalar, ...] | None:
    if entry is None or isinstance(entry, str | int | float | bool):
        return (entry,)
    return entry.values()


def _agrees(recipe: Recipe, settings: FlatConfig, method: Scalar) -> bool:
    wanted = {**settings, "method": recipe.values["method"] if method is None else method}
    return all(wanted.get(key, value) == value for key, value in recipe.values.items())


def _overridden(arm: Arm, settings: FlatConfig) -> Arm:
    own = {key: value for key, value in settings.items() if key in (*arm.axes, *arm.fixed)}
    axes = {key: axis for key, axis in arm.axes.items() if key not in own}
    return replace(arm, axes=axes, fixed={**arm.fixed, **own})
