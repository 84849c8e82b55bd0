"""The CIFAR zoo, one family a file; every module of this package is imported to register it."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
