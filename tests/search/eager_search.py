"""The command line, with trials that save a checkpoint after every report.

Half a minute passes between two checkpoints of a real trial, which is longer than a test.
"""

import os

from kdtune.cli import MLFLOW_ENVIRONMENT, RAY_ENVIRONMENT, main

if __name__ == "__main__":  # Before Ray is imported.
    os.environ |= RAY_ENVIRONMENT | MLFLOW_ENVIRONMENT

from kdtune.search import launch
from trainables import Distill


class Eager(Distill):
    """Never waits with a checkpoint; reaches the workers by value, which lack this file."""

    def _is_due(self) -> bool:
        return True


if __name__ == "__main__":
    launch.Distill = Eager  # type: ignore[misc]
    main()
