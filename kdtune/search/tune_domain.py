"""Ray Tune domains for a space with several arms, which has to draw the arm first.

``tune.sample_from`` would do, but hands its function no random generator; these domains draw from
the one that Tune's own sampler carries, so ``random_state`` seeds all keys alike.
"""

from collections.abc import Mapping
from typing import Any

from ray.tune.search.sample import Categorical, Domain

from kdtune.contracts import Scalar


class ArmMethod(str):
    """The method of an arm that was drawn: a text like any other that also knows the arm."""

    arm: str

    def __new__(cls, method: str, arm: str) -> "ArmMethod":
        text = super().__new__(cls, method)
        text.arm = arm
        return text

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.arm


class MethodOfArm(Categorical):
    """Draws an arm, and stands in the configuration as that arm's method.

    Args:
        methods: The method of each arm, by the arm's name.
    """

    def __init__(self, methods: Mapping[str, str]) -> None:
        super().__init__([ArmMethod(method, arm) for arm, method in methods.items()])


class ByArm(Domain):
    """A key that not all arms have, or not all alike.

    Args:
        options: Per arm, the domain to draw from or the value to take. In all other arms the key
            is None, which the configuration parser reads as not given.
        methods: The method of each arm. A method that somebody set by hand means its only arm.
    """

    def __init__(
        self, options: Mapping[str, Domain | Scalar], *, methods: Mapping[str, str]
    ) -> None:
        self.options = dict(options)
        self.methods = dict(methods)

    def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        """One value, or ``size`` of them for as many configurations."""
        if isinstance(config, list):
            values = [self._one(item, random_state) for item in config]
            return values if size > 1 else values[0]
        return self._one(config, random_state)

    def _one(self, spec: Any, random_state: Any) -> Any:
        # Attribute access on purpose: Tune guards it, and resolves the method first.
        config = spec.config if "config" in spec else spec
        option = self.options.get(self._arm(config.method))
        return option.sample(random_state=random_state) if isinstance(option, Domain) else option

    def _arm(self, method: str) -> str:
        if isinstance(method, ArmMethod):
            return method.arm
        arms = [arm for arm, of in self.methods.items() if of == method]
        if len(arms) != 1:
            raise ValueError(
                f"'{method}' must be the method of one arm, and is that of {arms}; "
                "use param_space(arm=...)"
            )
        return arms[0]

    def is_valid(self, value: Any) -> bool:
        """Whether some arm may take ``value``."""
        return value is None or any(
            option.is_valid(value) if isinstance(option, Domain) else option == value
            for option in self.options.values()
        )

    @property
    def domain_str(self) -> str:
        return ", ".join(f"{arm}: {option}" for arm, option in self.options.items())
