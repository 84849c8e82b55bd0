"""A Ray Tune domain whose range depends on the method drawn beside it."""

from collections.abc import Mapping
from typing import Any

from ray.tune.search.sample import Domain

from kdtune.contracts import Scalar


class ByMethod(Domain):
    """A key that only some methods use.

    ``tune.sample_from`` would do, but hands its function no random generator; this domain draws
    from the one that Tune's own sampler carries, so ``random_state`` seeds all keys alike.

    Args:
        options: Per method, the domain to draw from or the value to take. For all other methods
            the key is None, which the configuration parser reads as not given.
    """

    def __init__(self, options: Mapping[str, Domain | Scalar]) -> None:
        self.options = dict(options)

    def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        """One value, or ``size`` of them for as many configurations."""
        if isinstance(config, list):
            values = [self._one(item, random_state) for item in config]
            return values if size > 1 else values[0]
        return self._one(config, random_state)

    def _one(self, spec: Any, random_state: Any) -> Any:
        # Attribute access on purpose: Tune guards it, and resolves the method first.
        config = spec.config if "config" in spec else spec
        option = self.options.get(config.method)
        return option.sample(random_state=random_state) if isinstance(option, Domain) else option

    def is_valid(self, value: Any) -> bool:
        """Whether some method may take ``value``."""
        return value is None or any(
            option.is_valid(value) if isinstance(option, Domain) else option == value
            for option in self.options.values()
        )

    @property
    def domain_str(self) -> str:
        return ", ".join(f"{method}: {option}" for method, option in self.options.items())
