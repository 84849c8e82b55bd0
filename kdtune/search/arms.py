"""The alternatives of a search space, and published settings of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdtune.contracts import FlatConfig
from kdtune.search.dimensions import Dimension

NO_TEACHER = ("teacher", "label_smoothing", "teacher_epochs", "teacher.*")
"""For ``Arm.without``: all that describes a teacher."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One alternative of a space: a method, with what the other arms do not share.

    Attributes:
        method: The name under ``method=``.
        name: Unique in its space; the method's name if left out. Needed where arms share a method
            and differ in what they fix and search.
        axes: Searched keys that the space does not share.
        fixed: Set keys. One that the space shares, searched or set, has this value here.
        without: Keys shared by the space that trials of this arm do not have; ``teacher.*`` stands
            for all keys that begin with ``teacher.``.

    Raises:
        ValueError: If ``without`` is one text, or names a key that the arm itself sets.
    """

    method: str
    name: str = ""
    axes: Mapping[str, Dimension] = field(default_factory=dict)
    fixed: FlatConfig = field(default_factory=dict)
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.without, str):
            raise ValueError(f"without must be a tuple of keys, got '{self.without}'")
        object.__setattr__(self, "name", self.name or self.method)
        object.__setattr__(self, "without", tuple(self.without))
        both = [key for key in (*self.axes, *self.fixed) if self.lacks(key)]
        if both:
            raise ValueError(f"arm '{self.name}' must not be without '{both[0]}', which it sets")

    def lacks(self, key: str) -> bool:
        """Whether ``without`` names ``key``."""
        return key in self.without or any(
            key.startswith(each[:-1]) for each in self.without if each.endswith(".*")
        )

    def inherits(self, key: str) -> bool:
        """Whether a shared ``key`` is as it is in the rest of the space."""
        return key not in self.fixed and not self.lacks(key)

    def overridden(self, settings: FlatConfig) -> "Arm":
        """The arm with those of its own keys that ``settings`` names set to their values there."""
        own = {key: value for key, value in settings.items() if key in (*self.axes, *self.fixed)}
        axes = {key: axis for key, axis in self.axes.items() if key not in own}
        return Arm(
            method=self.method,
            name=self.name,
            axes=axes,
            fixed={**self.fixed, **own},
            without=self.without,
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A published setting, as a full point of a space.

    Attributes:
        name: Short and unique in its space.
        source: Where it was published.
        values: A value for every axis of its arm. What the space fixes may be repeated.
        arm: Name of its arm. It may be left out where there is one arm only, or one only of the
            method that ``values`` names under ``method``.
    """

    name: str
    source: str
    values: FlatConfig
    arm: str = ""
