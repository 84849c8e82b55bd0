"""``kdtune doctor``: whether an installation can run a search, and what to do if not."""

from collections.abc import Iterator, Mapping

from kdtune.doctor import engines, machine, places, versions
from kdtune.doctor.finding import Asked, Check, Finding, fail

__all__ = ["CHECKS", "Asked", "Finding", "examine"]

CHECKS: Mapping[str, Check] = {
    "python": versions.python,
    "packages": versions.packages,
    "known problems": versions.known_problems,
    "torch": engines.torch,
    "gpu": engines.gpu,
    "processors": machine.processors,
    "memory": machine.memory,
    "shared memory": machine.shared_memory,
    "open files": machine.open_files,
    "clock": machine.clock,
    "names": machine.names,
    "storage": places.storage,
    "teachers": places.teachers,
    "cache": places.cache,
    "temporary files": places.temporary,
    "tracking": places.tracking,
    "ray token": engines.ray_token,
    "ray": engines.ray,
}
"""By name, in their order; each yields at least one finding."""


def examine(asked: Asked) -> Iterator[tuple[str, Finding]]:
    """Run every check, whatever becomes of the others."""
    for name, check in CHECKS.items():
        try:
            for finding in check(asked):
                yield name, finding
        except Exception as error:
            text = f"the check broke: {type(error).__name__}: {error}"
            yield name, fail(text, "read the error; the installation may be incomplete")
