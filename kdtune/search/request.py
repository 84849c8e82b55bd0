"""What a user asks of a search."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, InstanceOf, model_validator

from kdtune.report.goals import ACCURACY, Goal
from kdtune.search.space import Space
from kdtune.settings import Settings
from kdtune.storage import Location

RETRIES = 2
"""How often a trial may fail and be tried again, unless the user says."""


class SearchRequest(Settings):
    """One search, complete.

    Attributes:
        space: With all overrides applied.
        name: Of the search; its results lie in ``storage / name``.
        storage: Folder of all results.
        tracking_uri: Of MLflow.
        experiment: MLflow experiment that the search joins.
        command: What was typed, for the record.
        trials: How many configurations are tried.
        partial: Keys that the user set and not all arms have, with the arms that do.
        objectives: What for; the first is the one that single numbers are of.
        sampler: Its name.
        scheduler: Its name; by default ``asha``, and ``none`` with several objectives.
        grace_period: Epochs before any trial is cut; None for a fifth of a full trial's, which
            gives two rungs with the usual reduction factor.
        reduction_factor: One in so many trials passes a rung.
        brackets: How many brackets ASHA has.
        seed: Of the sampler, the scheduler and the trials; finalists use the seeds after it.
        finalists: How many of the best are trained again; 0 for none.
        finalist_seeds: Runs per finalist and baseline.
        finalists_on: What finalists are trained on.
        register_as: Name in MLflow's model registry of which the best finalist's student becomes
            the next version; empty for none.
        cpus_per_trial, gpus_per_trial: A trial's share of the machine; GPUs may be fractions.
        accelerator: Kind of GPU to run on, such as ``A10G``, where a cluster has several; empty for
            any. Results are the same bit for bit on one kind only.
        address: Of a running Ray cluster; empty to start Ray here.
        ordered: Whether decisions follow trial order, so that a seed gives one leaderboard.
        time_budget_s: Ends the trials of the search after so many seconds; the finalists follow.
        max_concurrent: How many trials run at once; None for what fits on the cluster at first.
        retries: How often a trial may fail and go on from its last checkpoint.
        remote: URI of the storage for which ``storage`` stands on this machine; empty if
            ``storage`` itself is where results lie.
        asked: Arguments of :func:`~kdtune.search.requesting.build_request` that make this request
            again, for a search that goes on in another process; empty if there are none.
    """

    space: InstanceOf[Space]
    name: Annotated[str, Field(pattern=r"^[\w][\w .@+-]{0,127}$")]
    storage: Path
    tracking_uri: str
    experiment: str
    command: str = ""
    trials: Annotated[int, Field(ge=1)] = 20
    objectives: tuple[InstanceOf[Goal], ...] = (ACCURACY,)
    partial: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    sampler: str = "tpe"
    scheduler: str = "asha"
    grace_period: Annotated[int, Field(ge=1)] | None = None
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    brackets: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0)] = 0
    finalists: Annotated[int, Field(ge=0)] = 3
    finalist_seeds: Annotated[int, Field(ge=1)] = 5
    finalists_on: Literal["train", "train+val"] = "train"
    register_as: Annotated[str, Field(pattern=r"^([\w][\w .+-]{0,127})?$")] = ""
    cpus_per_trial: Annotated[int, Field(ge=1)] = 1
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0.0
    accelerator: str = ""
    address: str = ""
    ordered: bool = True
    time_budget_s: Annotated[float, Field(gt=0)] | None = None
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    retries: Annotated[int, Field(ge=0)] = RETRIES
    remote: str = ""
    asked: dict[str, Any] = Field(default_factory=dict, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _choose_scheduler(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("scheduler") is None:
            several = len(given.get("objectives", ())) > 1
            return {**given, "scheduler": "none" if several else "asha"}
        return given

    @property
    def goal(self) -> Goal:
        """The first objective."""
        return self.objectives[0]

    @property
    def folder(self) -> Path:
        """Where everything of this search lies."""
        return self.storage / self.name

    @property
    def location(self) -> Location:
        """The same, wherever it is kept."""
        return Location.parse(self.remote or self.storage).child(self.name)
