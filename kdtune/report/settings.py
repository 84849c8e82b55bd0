"""How settings and scores are written for a person."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.table import Table

AXES = {
    "temperature": "T",
    "alpha": "alpha",
    "label_smoothing": "smooth",
    "teacher_epochs": "t.epochs",
    "augment": "augment",
    "prune_ratio": "prune",
}
"""The six axes of every space, and their short names."""

COLOURS = {
    "running": "cyan",
    "finished": "green",
    "cut": "yellow",
    "diverged": "magenta",
    "failed": "red",
    "stopped": "red",
}

MISSING = "\u2013"


OPTIONS = ("method.", "augment.", "prune.")
"""What the names of a choice's own settings begin with."""


def describe(config: Mapping[str, Any], keys: Iterable[str] | None = None) -> str:
    """One line of settings: ``kd T=4 alpha=0.9 smooth=0.1``.

    Args:
        config: A flat configuration.
        keys: What to show, in order; keys that ``config`` has not are skipped. By default the
            method, the axes, and the options that ``config`` sets.
    """
    if keys is None:
        keys = ("method", *AXES, *(key for key in config if key.startswith(OPTIONS)))
    parts = []
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        name = "" if key == "method" else f"{AXES.get(key, key)}="
        parts.append(name + shown(value))
    return " ".join(parts)


def shown(value: Any) -> str:
    """A setting as a person writes it: at most 4 significant digits, no needless zeros."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(value: float | None) -> str:
    """A share in [0, 1] as a percentage with 2 decimals, without its sign."""
    return MISSING if value is None else f"{100 * value:.2f}"


def others(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys beside the axes that tell configurations apart, sorted.

    An option does where not all have it with one value; any other key where those that have it
    differ: what all teachers share says nothing, though trials without a teacher lack it.
    """
    configs = list(configs)
    keys = {key for config in configs for key in config} - set(AXES) - {"seed"}

    def differs(key: str) -> bool:
        holders = configs if key.startswith(OPTIONS) else [c for c in configs if key in c]
        return len({repr(config.get(key)) for config in holders}) > 1

    return sorted(filter(differs, keys))


def plain_table(title: str) -> Table:
    """A titled table with one rule below its header: close-set, so that it fits 80 columns."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
