"""The CIFAR zoo, one family a file; every module of this package is imported to register it."""

from kdtune.discovery import import_submodules

import_submodules(__name__, __path__)
