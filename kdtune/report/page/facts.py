"""What a record says of a search, typed: its trials from best to worst, and what finalists scored.

Texts of the record become values again; what is missing stays missing, and nothing is guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kdtune.compare.measured import typed
from kdtune.contracts import Scalar
from kdtune.report.finalists import BASELINE, Summary, summarise
from kdtune.report.goals import ACCURACY, Goal
from kdtune.report.leaderboard import Row, ranked
from kdtune.report.settings import AXES, OPTIONS, describe
from kdtune.tracking.record import Point, RunRecord, SearchRecord

PUBLISHED = "published recipe"
TEST = "test/accuracy"
SPOKEN = {
    "val/accuracy": "validation accuracy",
    "val/top5": "validation accuracy among five guesses",
    "val/loss": "validation loss",
}
OF_A_RUN = {
    *("seed", "role", "train.on", "teacher.store", "train.threads", "train.device"),
    *("teacher.signals", "teacher.signals_gb", "train.precision"),
}
"""Settings that tell runs of one recipe apart, or belong to the machine."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial.

    Attributes:
        row: As the leaderboard has it.
        run: Its record.
        arm: Of the space; empty where there is but one.
        planned: Epochs of a trial that nothing cuts; None if unknown.
        curve: The first objective by epoch, warm-ups left out.
    """

    row: Row
    run: RunRecord
    arm: str
    planned: int | None
    curve: Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm of the final comparison.

    Attributes:
        name: ``finalist 1``, ``no teacher``, ``published recipe``.
        baseline: Whether it is there to be compared with.
        config: Its flat configuration, without what differs between its runs.
        scores: Test accuracy by seed, shares in [0, 1].
        chosen_by: The first objective by seed.
        teacher: Test accuracy of its teacher; None if it has none, or that is not told.
        runs: How many runs it has, failed ones included.
        same_as: The arm whose runs these are, if not its own.
    """

    name: str
    baseline: bool
    config: Mapping[str, Scalar]
    scores: Mapping[int, float]
    chosen_by: Mapping[int, float]
    teacher: float | None
    runs: int
    same_as: str = ""

    @property
    def summary(self) -> Summary | None:
        """Of the test accuracies; None if there are none."""
        return summarise(list(self.scores.values())) if self.scores else None


@dataclass(frozen=True)
class Facts:
    """All that the page tells, read off one record."""

    record: SearchRecord
    goals: Sequence[Goal] = field(default=(ACCURACY,))

    @classmethod
    def of(cls, record: SearchRecord) -> "Facts":
        """The facts of ``record``; its objectives are those that its search was given."""
        text = record.search.params.get("search.objectives", "")
        return cls(record, tuple(map(_goal, text.split(", "))) if text else (ACCURACY,))

    @property
    def goal(self) -> Goal:
        """The first objective."""
        return self.goals[0]

    @property
    def measured(self) -> str:
        """What the first objective is called in a sentence."""
        return SPOKEN.get(self.goal.metric, self.goal.measure.label)

    @cached_property
    def trials(self) -> list[Trial]:
        """From best to worst, in the order of the leaderboard."""
        runs = self.record.of_kind("trial")
        found = {
            int(run.tags.get("trial", place)): self._trial(run, int(run.tags.get("trial", place)))
            for place, run in enumerate(runs)
        }
        return [found[row.trial] for row in ranked([t.row for t in found.values()], self.goal)]

    def _trial(self, run: RunRecord, number: int) -> Trial:
        curve = [point for point in run.history.get(self.goal.metric, ()) if point.epoch > 0]
        further = tuple(run.value(goal.metric) for goal in self.goals[1:])
        row = Row(
            trial=number,
            config=typed(run.params),
            outcome=run.outcome or "running",
            epoch=epochs_done(run),
            value=curve[-1].value if curve else None,
            further=further,
            front=run.tags.get("pareto") == "true",
        )
        planned = row.config.get("train.epochs")
        return Trial(
            row=row,
            run=run,
            arm=run.tags.get("space.arm", ""),
            planned=planned if isinstance(planned, int) else None,
            curve=curve,
        )

    @cached_property
    def finished(self) -> list[Trial]:
        """The trials that ran to their planned end with a value, best first."""
        return [t for t in self.trials if t.row.outcome == "finished" and t.row.value is not None]

    @cached_property
    def keys(self) -> list[str]:
        """The settings that tell the trials apart: method, the axes, then others, sorted.

        Of a single trial: method, axes and the options of its choices.
        """
        configs = [trial.row.config for trial in self.trials]
        known = sorted({key for config in configs for key in config} - OF_A_RUN)

        def counts(key: str) -> bool:
            if len(configs) == 1:
                return key == "method" or key in AXES or key.startswith(OPTIONS)
            return len({config[key] for config in configs if config.get(key) is not None}) > 1

        first = ("method", *AXES)
        return [key for key in (*first, *(k for k in known if k not in first)) if counts(key)]

    @cached_property
    def arms(self) -> list[Arm]:
        """Finalists, then baselines; one that shares another's runs comes last."""
        runs: dict[str, list[RunRecord]] = {}
        for run in self.record.of_kind("finalist", "baseline"):
            runs.setdefault(run.tags.get("arm", run.name), []).append(run)
        own = [self._arm(name, members) for name, members in runs.items()]
        shared = [
            self._arm(other, members, same_as=name)
            for name, members in runs.items()
            for other in members[0].tags.get("also", "").split(", ")
            if other
        ]
        return sorted([*own, *shared], key=lambda arm: (arm.baseline, bool(arm.same_as)))

    def _arm(self, name: str, runs: Sequence[RunRecord], same_as: str = "") -> Arm:
        return Arm(
            name=name,
            baseline=bool(same_as) or runs[0].kind == "baseline",
            config=recipe(typed(runs[0].params)),
            scores=_by_seed(runs, TEST),
            chosen_by=_by_seed(runs, self.goal.metric),
            teacher=next(iter(_by_seed(runs, "teacher/test_accuracy").values()), None),
            runs=len(runs),
            same_as=same_as,
        )

    def trial_of(self, arm: Arm) -> Trial | None:
        """The trial that an arm trains again."""
        return next((t for t in self.trials if recipe(t.row.config) == arm.config), None)

    def arm(self, name: str) -> Arm | None:
        """The arm of that name, if it was tested."""
        return next((arm for arm in self.arms if arm.name == name and arm.scores), None)

    @property
    def no_teacher(self) -> Arm | None:
        """The student on labels alone, if it was tested."""
        return self.arm(BASELINE)


def recipe(config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """``config`` without what tells runs of one recipe apart."""
    return {key: value for key, value in config.items() if key not in OF_A_RUN}


def in_a_line(config: Mapping[str, Scalar]) -> str:
    """A configuration in a line: its axes, or all it has where it has none of ours."""
    return describe(config) or describe(config, config)


def epochs_done(run: RunRecord) -> int:
    """The last epoch that a run reported; 0 before any."""
    return max((points[-1].epoch for points in run.history.values() if points), default=0)


def _by_seed(runs: Sequence[RunRecord], metric: str) -> dict[int, float]:
    found = {int(run.params.get("seed", 0)): run.value(metric) for run in runs}
    return {seed: value for seed, value in sorted(found.items()) if value is not None}


def _goal(text: str) -> Goal:
    metric, _, mode = text.rpartition(":")
    return Goal(metric, "min" if mode == "min" else "max")
