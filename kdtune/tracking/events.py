"""What can be told of a run, as plain values: what the journal holds, and MLflow is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PARENT = ""
"""The key of the run that stands for the whole search."""

STATUS = {
    "finished": "FINISHED",
    "cut": "FINISHED",
    "diverged": "FINISHED",
    "failed": "FAILED",
    "stopped": "KILLED",
}
"""How a run can end, and what MLflow calls it: only a crash or a stop is not a result."""


@dataclass(frozen=True, kw_only=True)
class DatasetUse:
    """A dataset that a run reads, as MLflow's dataset inputs hold it.

    Attributes:
        name: Canonical, such as ``cifar10``.
        digest: Of the decoded pixels and labels, at most 36 characters.
        context: What for: ``train``, ``val`` or ``test``.
        source: Where it came from, such as ``parquet:/data/cifar10``.
        profile: Sizes as JSON: images, classes, channels, side, corruption.
    """

    name: str
    digest: str
    context: str
    source: str
    profile: str = ""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run begins, or goes on after an interruption.

    Attributes:
        key: Name of the run within its search.
        name: What a person reads in the list of runs.
        params: Canonical texts.
        tags: Canonical texts.
        time_ms: Milliseconds since the epoch.
        inputs: What it reads.
    """

    key: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    time_ms: int
    inputs: tuple[DatasetUse, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Finite metrics of one run at one epoch; ``tags`` says what had to be left out."""

    key: str
    epoch: int
    metrics: Mapping[str, float]
    time_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run is over; ``outcome`` is a key of :data:`STATUS`."""

    key: str
    outcome: str
    tags: Mapping[str, str]
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """Tags that a run gets later, such as its place on a Pareto front."""

    key: str
    tags: Mapping[str, str]
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class Attached:
    """A file or folder that is kept with a run.

    Attributes:
        key: Name of the run within its search.
        path: Of the file or folder; relative paths begin at the folder of the search.
        kind: ``artifact``, or ``model`` for the folder of a saved student, which becomes an MLflow
            model.
        place: Folder among the run's artifacts, or the name of the model.
        register: Name under which a model is registered; empty for none.
        time_ms: Milliseconds since the epoch.
    """

    key: str
    path: str
    kind: str
    place: str
    register: str = ""
    time_ms: int


Event = Started | Measured | Ended | Tagged | Attached
