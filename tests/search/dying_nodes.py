"""Two searches on a cluster of Ray nodes, whose workers are killed during the second one.

Writes to ``STORAGE/killed.json`` during which stage each node was killed. The first search is the
undisturbed one, ``calm``; the second is called ``disturbed``.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from kdtune.cli import MLFLOW_ENVIRONMENT, RAY_ENVIRONMENT

if __name__ == "__main__":  # Before Ray is imported.
    os.environ |= RAY_ENVIRONMENT | MLFLOW_ENVIRONMENT

import eager_search
import ray
from drivers import events
from eager_search import Eager
from ray import cloudpickle
from ray._private.state import actors
from ray.cluster_utils import Cluster

from kdtune.search import launch
from kdtune.search.log import Reported, Suggested
from kdtune.search.request import SearchRequest
from kdtune.search.requesting import build_request
from kdtune.search.session import run_search

HEAD = {"num_cpus": 0, "include_dashboard": False}
WORKERS = 3
TRIALS, EPOCHS, TEACHER_EPOCHS = 4, 6, 8


def main(storage: Path) -> int:
    cloudpickle.register_pickle_by_value(eager_search)
    launch.Distill = Eager  # type: ignore[misc]
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    for _ in range(WORKERS):
        cluster.add_node(wait=False, num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(cluster.address, log_to_driver=False)
    calm = run_search(request(storage / "calm"), program="kdtune")
    asked = request(storage / "disturbed")
    killer = Killer(cluster, asked.folder)
    killer.start()
    disturbed = run_search(asked, program="kdtune")
    killer.over.set()
    killer.join()
    (storage / "killed.json").write_text(json.dumps(killer.killed))
    ray.shutdown()
    cluster.shutdown()
    return calm or disturbed


def request(storage: Path) -> SearchRequest:
    """Each has a storage of its own, so that each trains its teacher."""
    return build_request(
        "quickstart",
        shortcuts={"train.epochs": EPOCHS, "data.train_limit": 400},
        settings=[
            *(f"teacher_epochs={TEACHER_EPOCHS}", f"teacher.full_epochs={TEACHER_EPOCHS}"),
            "label_smoothing=0.0",
        ],
        name=storage.name,
        storage=storage,
        tracking_uri=None,
        experiment=None,
        gpus_per_trial=0,
        cpus_per_trial=1,
        seed=0,
        trials=TRIALS,
        finalists=1,
        finalist_seeds=1,
    )


class Killer(threading.Thread):
    """Kills a node while the teacher is half trained, and one halfway through the trials.

    Each time it is one on which an actor lives.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.killed: list[str] = []
        self._cluster = cluster
        self._folder = folder

    def run(self) -> None:
        for stage, reports in (("Teachers", TEACHER_EPOCHS // 2), ("Search", 2 * TRIALS)):
            while self._reports_of(stage) < reports:
                if self.over.wait(0.02):
                    return
            self._kill_a_node_at_work()
            self.killed.append(stage)

    def _reports_of(self, stage: str) -> int:
        seen = events(self._folder)
        own = {e.trial_id for e in seen if isinstance(e, Suggested) and e.leg == stage}
        return sum(isinstance(e, Reported) and e.trial_id in own for e in seen)

    def _kill_a_node_at_work(self) -> None:
        while True:
            at_work = {a["Address"]["NodeID"] for a in actors().values() if a["State"] == "ALIVE"}
            for node in self._cluster.worker_nodes:
                if node.node_id in at_work:
                    self._cluster.remove_node(node, allow_graceful=False)
                    return
            time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
