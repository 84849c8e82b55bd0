"""Whether a file that a journal names lies where the search does."""

from pathlib import Path


def leads_outside(path: str, base: Path) -> bool:
    """Whether ``path``, or anything in that folder, is outside ``base`` once links are followed.

    Args:
        path: Relative to ``base``, or absolute; need not exist.
        base: Folder of the search.
    """
    root = base.resolve()
    try:
        named = (root / path).resolve()
        found = [named, *(file for file in named.rglob("*") if file.is_symlink())]
        return not all(file.resolve().is_relative_to(root) for file in found)
    except (OSError, RuntimeError, ValueError):  # A loop of links, or no path at all.
        return True
