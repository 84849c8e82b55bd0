"""A saved view of MLflow's list of runs, with the columns that tell kdtune's runs apart."""

import json
import time

VIEW = "kdtune"
"""Its key: ``...&viewStateShareKey=kdtune`` at the end of an experiment's address opens it."""
COLUMNS = (
    "metrics.`test/accuracy`",
    "metrics.`val/accuracy`",
    *("params.`method`", "params.`dataset`", "params.`teacher`", "params.`student`"),
    *("params.`temperature`", "params.`alpha`"),
    *("tags.`kind`", "tags.`source`", "tags.`paper`", "tags.`outcome`"),
)


def experiment_tags() -> dict[str, str]:
    """Tags of a new experiment: what it is, and the view, which the menu *Views* lists."""
    now_ms = time.time_ns() // 1_000_000
    state = {
        "searchFilter": "",
        "orderByKey": COLUMNS[0],
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": COLUMNS,
    }
    view = {
        "name": "Results",
        "createdAt": now_ms,
        "updatedAt": now_ms,
        "state": json.dumps(state),
    }
    return {
        # Training runs, not traces of language models.
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }
