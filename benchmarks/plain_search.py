"""A search as a user of Ray Tune would write it: what ``search.py`` measures kdtune against.

A function trainable around the plain loop, Ray's own MLflow callback, two trials at once. Each
trial loads the images and the teacher's weights, as nothing is shared between trials. Everything
else is at Ray's defaults, bar the dashboard, which is left out.

    python benchmarks/plain_search.py FOLDER

``FOLDER`` holds what `search.py` put there: ``task.json``, ``images.npz``, ``teacher.pt``. The
accuracies go to ``accuracies.json``, in the order of the trials.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from plain_loop import Arrays, Distillation, Settings
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

from kdtune import models


def distil(config: dict[str, Any]) -> None:
    """One trial."""
    folder, task = Path(config["folder"]), config["task"]
    torch.manual_seed(task["seed"] + config["trial"]["place"])
    with np.load(folder / "images.npz") as stored:
        arrays = Arrays(**stored, mean=tuple(task["mean"]), std=tuple(task["std"]))
    shape = {"classes": task["classes"], "size": arrays.train.shape[1]}
    teacher = models.build(task["teacher"], **shape, seed=0)
    teacher.load_state_dict(torch.load(folder / "teacher.pt", weights_only=True))
    student = models.build(task["student"], **shape, seed=task["seed"] + config["trial"]["place"])
    settings = Settings(**config["trial"]["settings"])
    run = Distillation(student, teacher, arrays, settings)
    for _ in range(settings.epochs):
        tune.report({**run.train(), **run.evaluate()})


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    trials = task.pop("trials")
    ray.init(num_cpus=task["concurrent"], include_dashboard=False, logging_level=logging.ERROR)
    done = tune.run(
        tune.with_resources(distil, {"cpu": 1, "gpu": task["gpus_per_trial"]}),
        config={"folder": str(folder), "task": task, "trial": tune.grid_search(trials)},
        metric="val/accuracy",
        mode="max",
        max_concurrent_trials=task["concurrent"],
        storage_path=str(folder / "tune"),
        callbacks=[
            MLflowLoggerCallback(
                tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="plain"
            )
        ],
        verbose=0,
    )
    found = {t.config["trial"]["place"]: t.last_result["val/accuracy"] for t in done.trials}
    (folder / "accuracies.json").write_text(json.dumps([found[n] for n in sorted(found)]))
    ray.shutdown()


if __name__ == "__main__":
    main()
