"""kdtune's command line, but every trial gets an actor of its own: ``search.py`` measures it.

python benchmarks/fresh_actors.py search ...
"""

import os
from functools import partial
from typing import Any

from kdtune.cli import MLFLOW_ENVIRONMENT, RAY_ENVIRONMENT, main


def without_reuse() -> None:
    """Change the one argument of Tune that is not kdtune's to choose from outside."""
    for key, value in (RAY_ENVIRONMENT | MLFLOW_ENVIRONMENT).items():
        os.environ.setdefault(key, value)
    from ray import tune  # after its environment is set

    run: Any = tune.run

    def fresh(*args: Any, **settings: Any) -> Any:
        return partial(run, *args)(**{**settings, "reuse_actors": False})

    tune.run = fresh


if __name__ == "__main__":
    without_reuse()
    main()
