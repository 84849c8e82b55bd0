"""Searches for minutes on end, while everything that can die is killed; then the books are checked.

Needs nothing but this checkout: the cluster is several Ray nodes on this machine, the tracking
server is an ``mlflow server`` over HTTP. Searches follow each other until the time is over, and
each is held to account from its log, its journal and MLflow: every trial that was begun ended
once, every epoch was reported once, every run is there once, and none is open.

    python tests/drills/soak.py --minutes 20 --seed 1

Exit codes: 0 if all is accounted for, 1 if not. Faults follow a seed, but what they hit depends on
the speed of the machine.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "search"))
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
# Short, as the paths of sockets are limited; and not where others look for a cluster of theirs.
os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="kd-")

import psutil
from accounting import Account, account
from drivers import Driver, kill
from mlflow_server import MLflowServer
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from kdtune.search.log import read_log

NODES = 3
TRIALS = 12
ASKED = (
    *("--trials", str(TRIALS), "--epochs", "16", "--finalists", "1", "--finalist-seeds", "2"),
    *("--set", "label_smoothing=0.0", "--set", "teacher_epochs=10"),
    *("--set", "teacher.full_epochs=10", "--gpus-per-trial", "0"),
    *("--max-concurrent", str(NODES), "--retries", "1000"),
)
FAULTS = {
    "trial process killed": 8,
    "node killed": 4,
    "tracking server killed": 2,
    "driver killed": 3,
    "driver got SIGTERM": 1,
}
"""What may happen, and how often in proportion."""

HEAD = {"num_cpus": 0, "include_dashboard": False}
"""The first node runs no trial, and is never killed: the driver's own node is another matter."""

MEAN_PAUSE_S = 8.0
"""Between two faults, on average."""

console = Console(width=100)


class Machine:
    """The cluster and the tracking server, whose parts die and come back."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args=HEAD)
        self.server = MLflowServer(folder)
        self.server_is_up = False
        self.restart_server()
        while len(self.cluster.worker_nodes) < NODES:
            self.add_node()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add_node(self) -> None:
        """Bring a killed node back, if one is missing."""
        if len(self.cluster.worker_nodes) == NODES:
            return
        self.cluster.add_node(num_cpus=1)

    def kill_node(self, draw: random.Random) -> bool:
        """Kill one of several nodes; the last one stays."""
        nodes = sorted(self.cluster.worker_nodes, key=lambda node: str(node.node_id))
        if len(nodes) < 2:
            return False
        self.cluster.remove_node(draw.choice(nodes), allow_graceful=False)
        return True

    def kill_trial(self, draw: random.Random) -> bool:
        """Kill the process of a trial, if one is at work."""
        found = [p for p in psutil.process_iter(["name", "cmdline"]) if self._is_trial(p)]
        if not found:
            return False
        kill(draw.choice(sorted(found, key=lambda process: process.pid)))
        return True

    def _is_trial(self, process: psutil.Process) -> bool:
        title = " ".join(process.info["cmdline"] or [])
        if not (title.startswith("ray::") and "Trainable" in title):
            return False
        raylets = {
            each.process.pid
            for node in self.cluster.worker_nodes
            for each in node.all_processes["raylet"]
        }
        try:  # Of this cluster, not of another that somebody runs here.
            return process.ppid() in raylets
        except psutil.Error:
            return False

    def kill_server(self) -> bool:
        if not self.server_is_up:
            return False
        self.server.kill()
        self.server_is_up = False
        return True

    def restart_server(self) -> None:
        """Start it again, if it is down."""
        if not self.server_is_up:
            self.server.start()
            self.server_is_up = True

    def close(self) -> None:
        self.cluster.shutdown()
        self.server.kill()
        shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)


class Soak:
    """One drill.

    Args:
        folder: For all that is left behind.
        seed: Of the faults.
        minutes: For which faults are injected; the search that runs then ends in peace.
    """

    def __init__(self, folder: Path, *, seed: int, minutes: float) -> None:
        self.folder = folder
        self.draw = random.Random(seed)
        self.deadline = time.monotonic() + 60 * minutes
        self.machine = Machine(folder)
        self.driver: Driver | None = None
        self.injected: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()
        self.accounts: dict[str, Account] = {}
        self.boards: Counter[str] = Counter()
        self._repairs: list[tuple[float, Callable[[], None]]] = []

    def run(self) -> None:
        """One search after the other until the time is over.

        Raises:
            RuntimeError: If a command ends in another way than it should.
        """
        try:
            while time.monotonic() < self.deadline:
                self._search(f"soak-{len(self.accounts) + 1}")
        finally:
            if self.driver is not None and self.driver.process.poll() is None:
                self.driver.kill()
            self.machine.close()

    def _search(self, name: str) -> None:
        """One search, from its beginning to its books."""
        before, storage = self.injected.copy(), self.folder / name
        driver = self._start(name)
        while (code := self._code_within(self.draw.expovariate(1 / MEAN_PAUSE_S))) is None:
            fault = self._inject() if time.monotonic() < self.deadline else ""
            if fault.startswith("driver"):
                if read_log(storage / name).concluded:
                    break
                driver = self._start(name)
        if code:
            raise RuntimeError(f"'{name}' ended with {code}:\n{driver.printed[-3000:]}")
        self._repair(everything=True)
        self.accounts[name] = found = self._account(name)
        hit = self.injected - before
        self.survived += hit if not found.faults else Counter()
        self.boards[(storage / name / "leaderboard.json").read_text()] += 1
        console.print(f"{name}: {found.trials} runs, {found.reports} epochs; hit by {dict(hit)}")
        for wrong in found.faults:
            console.print(f"  {wrong}", style="red")

    def _start(self, name: str) -> Driver:
        """The command that begins a search, or goes on with it."""
        place = ("--name", name, "--experiment", name, "--storage", str(self.folder / name))
        where = ("--tracking-uri", self.machine.server.uri, "--address", self.machine.address)
        words = ("search", *place, *where, *ASKED, "--resume")
        self.driver = Driver(*words, output=self.folder / "printed.txt")
        return self.driver

    def _code_within(self, seconds: float) -> int | None:
        """The exit code of the driver; None if it still runs after so long."""
        assert self.driver is not None
        until = time.monotonic() + seconds
        while (code := self.driver.process.poll()) is None and time.monotonic() < until:
            self._repair()
            time.sleep(0.1)
        return code

    def _inject(self) -> str:
        """One fault; what it was, empty if there was nothing to hit."""
        (fault,) = self.draw.choices(list(FAULTS), list(FAULTS.values()))
        did = self._did(fault)
        self.injected[fault] += did
        return fault if did else ""

    def _did(self, fault: str) -> bool:
        assert self.driver is not None
        match fault:
            case "trial process killed":
                return self.machine.kill_trial(self.draw)
            case "node killed":
                self._later(self.machine.add_node)
                return self.machine.kill_node(self.draw)
            case "tracking server killed":
                self._later(self.machine.restart_server)
                return self.machine.kill_server()
            case "driver killed":
                self.driver.kill(alone=True)
            case _:
                self.driver.signal(signal.SIGTERM)
                code = self.driver.ends()
                # Before the search begins and when it has ended, the signal acts at once.
                if code not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
                    raise RuntimeError(f"SIGTERM gave {code}:\n{self.driver.printed[-3000:]}")
        return True

    def _later(self, repair: Callable[[], None]) -> None:
        self._repairs.append((time.monotonic() + self.draw.uniform(5, 15), repair))

    def _repair(self, *, everything: bool = False) -> None:
        due = [each for each in self._repairs if everything or each[0] <= time.monotonic()]
        self._repairs = [each for each in self._repairs if each not in due]
        for _, repair in due:
            repair()

    def _account(self, name: str) -> Account:
        storage = self.folder / name
        sync = [sys.executable, "-m", "kdtune", "sync", name, "--storage", str(storage)]
        done = subprocess.run(sync, capture_output=True, text=True, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"sync ended with {done.returncode}: {done.stdout}{done.stderr}")
        return account(storage / name, tracking_uri=self.machine.server.uri, trials=TRIALS)


def report(soak: Soak) -> bool:
    """Print the table; whether nothing was lost, doubled or left open."""
    table = Table("fault", "injected", "survived")
    for fault in FAULTS:
        table.add_row(fault, str(soak.injected[fault]), str(soak.survived[fault]))
    console.print(table)
    found = list(soak.accounts.values())
    ends = sum((account.ends for account in found), Counter[str]())
    numbers = {
        "searches": len(found),
        "runs": sum(account.trials for account in found),
        **{f"runs {kind}": count for kind, count in sorted(ends.items())},
        "epochs reported": sum(account.reports for account in found),
        "lost": sum(len(account.lost) for account in found),
        "doubled": sum(len(account.doubled) for account in found),
        "left open": sum(len(account.left_open) for account in found),
        "distinct leaderboards": len(soak.boards),
    }
    for what, count in numbers.items():
        console.print(f"{what}: {count}")
    (soak.folder / "soak.json").write_text(
        json.dumps({"injected": soak.injected, "survived": soak.survived, **numbers}, indent=2)
    )
    return bool(found) and not any(account.faults for account in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="how long faults are injected")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--folder", type=Path, help="new folder for the results")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="kdtune-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"seed {given.seed}, {given.minutes:g} minutes, results in {folder}")
    soak = Soak(folder.absolute(), seed=given.seed, minutes=given.minutes)
    soak.run()
    return 0 if report(soak) else 1


if __name__ == "__main__":
    sys.exit(main())
