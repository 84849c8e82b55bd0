"""Records of searches as their journals tell them, made up without training."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from kdtune.config import parse, without_teacher
from kdtune.contracts import Scalar
from kdtune.tracking.canonical import canonical_params
from kdtune.tracking.events import (
    PARENT,
    DatasetUse,
    Ended,
    Event,
    Measured,
    Started,
    Tagged,
)
from kdtune.tracking.record import SearchRecord, search_record

EPOCHS = 8
FIXED: dict[str, Scalar] = {
    "dataset": "digits",
    "teacher": "resnet8",
    "student": "resnet8x0.125",
    "train.epochs": EPOCHS,
    "train.batch_size": 64,
    "train.lr": 0.1,
    "teacher.full_epochs": 30,
    "teacher.augment": "none",
    "teacher.store": "/somewhere/kdtune-results/teachers",
}
RECIPE: dict[str, Scalar] = {
    **FIXED,
    "method": "kd",
    "temperature": 4.0,
    "alpha": 0.9,
    "label_smoothing": 0.0,
    "teacher_epochs": 30,
    "augment": "none",
    "prune_ratio": 0.0,
}
SEARCH: dict[str, Scalar] = {
    **FIXED,
    "seed": 0,
    "search.objectives": "val/accuracy:max",
    "search.seed": 0,
    "search.finalist_seeds": 5,
    "search.finalists": 3,
    "search.sampler": "tpe",
    "search.scheduler": "asha",
    "search.finalists_on": "train",
}
TAGS = {
    "kind": "search",
    "space": "quickstart",
    "search": "made-up",
    "command": "kdtune search --name made-up",
    "version.kdtune": "1.2.3",
    "mlflow.source.git.commit": "0123456789abcdef",
}


TRAIN = DatasetUse(name="digits", digest="f1n9e7", context="train", source="digits")


class Recorded:
    """A search that is told event by event; ``record`` is what a journal of it says."""

    def __init__(
        self,
        *,
        name: str = "made-up",
        params: Mapping[str, Scalar] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.events: list[Event] = []
        self._clock = count(1_700_000_000_000, 250)
        self._trials = 0
        self._start(PARENT, name, {**SEARCH, **(params or {})}, {**TAGS, **(tags or {})})

    def record(self) -> SearchRecord:
        return search_record(self.events, experiment="tests", tracking_uri="sqlite:///mlflow.db")

    def trial(
        self,
        *values: float,
        outcome: str = "",
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        **settings: Scalar,
    ) -> int:
        """A trial with these validation accuracies, by default cut if it ended early.

        ``outcome`` is as in a record, or ``running``.
        """
        flat = parse({**RECIPE, **settings, "role": "trial", "seed": 0}).flat()
        return self.plain_trial(flat, *values, outcome=outcome, tags=tags, metrics=metrics)

    def plain_trial(
        self,
        flat: Mapping[str, Scalar],
        *values: float,
        outcome: str = "",
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> int:
        """The same with a whole configuration."""
        number, self._trials = self._trials, self._trials + 1
        own = {"kind": "trial", "trial": str(number), **(tags or {})}
        ended = outcome or ("finished" if len(values) == EPOCHS else "cut")
        self._run(f"t{number}", f"trial {number}", flat, own, values, ended, metrics or {})
        return number

    def final(
        self,
        arm: str,
        scores: Sequence[float | None],
        *,
        kind: str = "finalist",
        val: float = 0.9,
        also: str = "",
        teacher_scores: float = 0.0,
        **settings: Scalar,
    ) -> None:
        """Runs of one arm with test scores by seed; None for one that failed."""
        for seed, score in enumerate(scores, start=1):
            flat = {**RECIPE, **settings, "role": "finalist", "seed": seed}
            if arm == "no teacher":
                flat = without_teacher(flat)
            tags = {"kind": kind, "arm": arm, **({"also": also} if also else {})}
            tested = {} if score is None else {"test/accuracy": score}
            if teacher_scores:
                tested["teacher/test_accuracy"] = teacher_scores
            outcome = "failed" if score is None else "finished"
            values = [] if score is None else [val] * EPOCHS
            name = f"{arm}, seed {seed}"
            self._run(name, name, parse(flat).flat(), tags, values, outcome, tested)

    def teacher(self, epochs: int = 30) -> None:
        """A teacher that was trained for the search."""
        tags = {"kind": "teacher"}
        self._run("teacher", "teacher 1", dict(FIXED), tags, [0.98] * epochs, "finished", {})

    def end(self, outcome: str = "finished", **metrics: float) -> "Recorded":
        """The search is over."""
        now = next(self._clock)
        named = {f"search/{name}": value for name, value in metrics.items()}
        self.events.append(Measured(key=PARENT, epoch=0, metrics=named, time_ms=now))
        tags = {"outcome": outcome}
        self.events.append(Ended(key=PARENT, outcome=outcome, tags=tags, time_ms=now))
        return self

    def tag(self, number: int, **tags: str) -> None:
        """Tags that a trial gets later."""
        self.events.append(Tagged(key=f"t{number}", tags=tags, time_ms=next(self._clock)))

    def _start(
        self, key: str, name: str, params: Mapping[str, Scalar], tags: Mapping[str, str]
    ) -> None:
        now, texts = next(self._clock), canonical_params(params)
        self.events.append(
            Started(key=key, name=name, params=texts, tags=tags, time_ms=now, inputs=(TRAIN,))
        )

    def _run(
        self,
        key: str,
        name: str,
        params: Mapping[str, Scalar],
        tags: Mapping[str, str],
        values: Sequence[float],
        outcome: str,
        last: Mapping[str, float],
    ) -> None:
        self._start(key, name, params, tags)
        for epoch, value in enumerate(values, start=1):
            metrics = {"val/accuracy": value, "time/epoch_s": 2.0}
            if epoch == len(values):
                metrics |= last
            now = next(self._clock)
            self.events.append(Measured(key=key, epoch=epoch, metrics=metrics, time_ms=now))
        error = {"error": "Traceback\nRuntimeError: out of luck"} if outcome == "failed" else {}
        if outcome != "running":
            now, ended = next(self._clock), {"outcome": outcome, **error}
            self.events.append(Ended(key=key, outcome=outcome, tags=ended, time_ms=now))


def rising(last: float, epochs: int = EPOCHS) -> Iterator[float]:
    """A learning curve that ends at ``last``."""
    return (last * (epoch + 1) / epochs for epoch in range(epochs))


def whole_search() -> Recorded:
    """Three finished trials, two cut ones, three finalists and both baselines."""
    made = Recorded()
    made.teacher()
    made.trial(*rising(0.96), temperature=15.0, alpha=0.5)
    made.trial(*rising(0.95))
    made.trial(*rising(0.94), temperature=8.0, alpha=0.2)
    made.trial(0.2, 0.3, temperature=2.0, augment="mixup")
    made.trial(0.3, 0.4, temperature=1.0, augment="standard", prune_ratio=0.5)
    made.final("finalist 1", [0.930, 0.933, 0.944, 0.914], val=0.94, temperature=15.0, alpha=0.5)
    second = [0.955, 0.961, 0.950, 0.947]
    made.final("finalist 2", second, val=0.96, also="published recipe", teacher_scores=0.98)
    made.final("finalist 3", [0.933, 0.928, 0.955, 0.900], val=0.93, temperature=8.0, alpha=0.2)
    made.final("no teacher", [0.928, 0.933, 0.936, 0.894], kind="baseline", temperature=15.0)
    return made.end(teachers_reused=3.0)
