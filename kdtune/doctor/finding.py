"""What a check of an installation says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        level: ``warn`` for what works but not well, ``FAIL`` for what a search would break on.
        text: What was found.
        remedy: What to do; empty where nothing is wrong.
    """

    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an installation is to serve for.

    Attributes:
        storage: Folder or URI of all results.
        tracking_uri: Of MLflow.
        address: Of a running Ray cluster; empty for a Ray that starts here.
        start_ray: Whether Ray is started, or joined.
        timeout_s: For each check that runs in a process of its own.
    """

    storage: str
    tracking_uri: str
    address: str = ""
    start_ray: bool = True
    timeout_s: float = 120.0


Check = Callable[[Asked], Iterator[Finding]]
"""Looks at one thing; what it raises is a failure of that thing."""


def ok(text: str) -> Finding:
    """All is well."""
    return Finding("ok", text)


def warn(text: str, remedy: str) -> Finding:
    """It works, though not as well as it could."""
    return Finding("warn", text, remedy)


def fail(text: str, remedy: str) -> Finding:
    """A search would break on it."""
    return Finding("FAIL", text, remedy)
