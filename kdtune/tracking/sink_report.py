"""What became of everything that was logged."""

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SinkReport:
    """What reached MLflow, and what did not.

    Attributes:
        tracking_uri: Where it went; passwords blanked out.
        experiment: Its name.
        experiment_id: MLflow's id of it, empty if the server was never reached.
        run_id: MLflow's id of the search's own run, empty if it was never made.
        runs: How many runs there are in MLflow, the search's own included.
        written: Records written; a record is a run's start, its end, a metric value, a parameter,
            a tag, a dataset or a file.
        present: Records that were there already.
        lost: Records that did not get there.
        error: The first thing that went wrong, empty if nothing did.
        folder: Of the search, where its journal is; empty if it keeps none.
        unjournaled: Events that are not in the journal.
        journal_error: Why not.
    """

    tracking_uri: str
    experiment: str
    experiment_id: str = ""
    run_id: str = ""
    runs: int = 0
    written: int = 0
    present: int = 0
    lost: int = 0
    error: str = ""
    folder: str = ""
    unjournaled: int = 0
    journal_error: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything is in MLflow, and in the journal if there is one."""
        return not (self.lost or self.unjournaled)

    def __str__(self) -> str:
        where = f"experiment '{self.experiment}' at {self.tracking_uri}"
        parts = [] if self.lost else [f"{self.runs} runs in MLflow, {where}"]
        if self.lost:
            total = self.lost + self.written + self.present
            why = self.error or "the server was too slow"
            parts.append(f"{self.lost} of {total} records did not reach MLflow, {where}: {why}")
            parts.append(self._remedy())
        if self.unjournaled:
            parts.append(f"{self.unjournaled} events are not in the journal: {self.journal_error}")
        return ". ".join(parts)

    def _remedy(self) -> str:
        if self.folder:
            command = shlex.join(["kdtune", "sync", self.folder])
            return f"Once the server answers, '{command}' writes what the journal has"
        return (
            "The search's own results are complete; check that the server runs and that its "
            "address is right"
        )
