"""A Tune searcher that hands out a given list of configurations, in order."""

from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from kdtune.contracts import FlatConfig


class ListedConfigs(Searcher):
    """For stages whose trials are known beforehand: teachers and finalists.

    Args:
        configs: One trial each.
    """

    def __init__(self, configs: Sequence[FlatConfig]) -> None:
        super().__init__()
        self._configs = [dict(config) for config in configs]
        self._given = 0

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Any, **_: Any
    ) -> bool:
        """Nothing to set: the configurations are complete."""
        return not config

    def suggest(  # type: ignore[override]  # Ray's own type leaves out its FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str:
        """The next configuration."""
        if self._given == len(self._configs):
            return str(self.FINISHED)
        self._given += 1
        return dict(self._configs[self._given - 1])

    def suggest_again(self, trial_id: str, config: FlatConfig) -> None:
        """Nothing to repeat: the list has only what is new."""

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing to learn from a result."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a stage is rebuilt from its list."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
