"""Import every module of a package, so that one new file is all that a new entry needs."""

import importlib
import pkgutil
from collections.abc import Iterable


def import_submodules(package: str, paths: Iterable[str]) -> None:
    """Import the direct submodules of ``package``; call from its ``__init__`` with ``__path__``."""
    for module in pkgutil.iter_modules(paths):
        importlib.import_module(f"{package}.{module.name}")
