"""One augmentation policy a file; a file added here is found without being named anywhere."""

from kdtune.discovery import import_submodules

import_submodules(__name__, __path__)
