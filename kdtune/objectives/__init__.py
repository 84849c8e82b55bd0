"""Distillation methods, one file each; a new file registers itself."""

from kdtune.discovery import import_submodules
from kdtune.objectives.base import OBJECTIVES, Objective, Team

import_submodules(__name__, __path__)

__all__ = ["OBJECTIVES", "Objective", "Team"]
