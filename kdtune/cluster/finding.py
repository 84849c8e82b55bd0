"""What a check of a cluster's description finds."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "to fill in", "not checked"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that the user should know.

    Args:
        level: ``error`` for what fails or is dangerous, ``warning`` for what costs money or is
            perhaps not meant, ``to fill in`` for a placeholder, ``not checked`` for a rule that
            could not be applied here.
        place: The key, as ``available_node_types.gpu.resources``; empty for the whole file.
        text: The rule, what is there, and the remedy.
    """

    level: Level
    place: str
    text: str


def error(place: str, text: str) -> Finding:
    """What fails or is dangerous."""
    return Finding(level="error", place=place, text=text)


def warning(place: str, text: str) -> Finding:
    """What costs money or is perhaps not meant."""
    return Finding(level="warning", place=place, text=text)
