"""The stages of a search: teachers, then trials, then finalists."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdtune.config import TrialConfig, apart, parse, teacher_trial, together
from kdtune.contracts import FlatConfig, Scalar
from kdtune.report.goals import ACCURACY, Goal
from kdtune.search.callbacks import RunLabel
from kdtune.search.checks import teacher_pool
from kdtune.search.deciders import new_sampler, new_scheduler
from kdtune.search.finalists import Arm, arms, distinct, seeded
from kdtune.search.front import front, spread
from kdtune.search.legs import Leg
from kdtune.search.listed import ListedConfigs
from kdtune.search.log import History, LoggedTrial
from kdtune.search.outcomes import Outcome, OutcomeCallback
from kdtune.search.request import SearchRequest
from kdtune.search.schedulers import make_scheduler
from kdtune.teachers.store import TeacherStore, key_of
from kdtune.training.device import resolve_device
from kdtune.training.teacher import identity_of

STAGES = TEACHERS, TRIALS, FINALISTS = "Teachers", "Search", "Finalists"
LabelOf = Callable[[int, Mapping[str, Any]], RunLabel]


@dataclass(frozen=True, kw_only=True)
class FinalRun:
    """One run of one arm of the final comparison."""

    arm: Arm
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found; each part is empty where the search was stopped before it.

    Attributes:
        teachers: Those that had to be trained.
        trials: In the order in which they were suggested.
        finals: Finalists and baselines, seed by seed; a run that serves two arms is listed twice.
        teachers_reused: How many more the space can ask for, which were stored already.
    """

    teachers: Sequence[Outcome] = ()
    trials: Sequence[Outcome] = ()
    finals: Sequence[FinalRun] = ()
    teachers_reused: int = 0


class Stages:
    """The legs of one search, each built when the one before it is over.

    Args:
        request: The search.
        history: What earlier processes did of it: that is not done again.
        workers: How many trials the sampler takes to run at once; the same all along.
    """

    def __init__(self, request: SearchRequest, history: History, *, workers: int) -> None:
        self.request = request
        self.record = OutcomeCallback(metric=request.goal.metric, mode=request.goal.mode)
        self.sampler = new_sampler(request, max_concurrent=workers)
        self.scheduler = new_scheduler(request)
        self._history = history
        pool = [teacher_trial(config) for config in teacher_pool(request.space)]
        missing = missing_teachers(pool)
        self._teachers_reused = len(pool) - len(missing)
        begun = [parse(trial.config) for trial in history.of(TEACHERS) if trial.end is None]
        coming = [teacher for run in begun for teacher in apart(run)]
        new = together(teacher for teacher in missing if teacher not in coming)
        self._teachers = [trial.flat() for trial in new]
        self._final_arms: list[Arm] = []
        self._final_runs: list[tuple[Arm, FlatConfig]] = []
        self._begun: list[Leg] = []

    @property
    def most_trials(self) -> int:
        """How many trials all legs have at most, baselines included."""
        request = self.request
        finals = (request.finalists + 2) * request.finalist_seeds if request.finalists else 0
        # A teacher may be stored by now whose run is not over.
        unfinished = sum(trial.end is None for trial in self._history.trials.values())
        return len(self._teachers) + request.trials + finals + unfinished

    def legs(self) -> Iterator[Leg]:
        """Teachers that are not stored yet, the trials, the finalists; empty ones are left out.

        A teacher that cannot be trained ends the search: its trials would go wrong one by one.
        """
        for leg in (self._teacher_leg, self._trial_leg, self._final_leg):
            if any(teacher.kind != "finished" for teacher in self.result().teachers):
                return
            built = leg()
            if built.trials:
                self._begun.append(built)
                yield built

    def result(self) -> SearchResult:
        """The outcomes of all legs that have begun."""
        ends = {leg.title: list(map(self.record.outcome, leg.trial_ids)) for leg in self._begun}
        finals = {_frozen(end.config): end for end in ends.get(FINALISTS, []) if end}
        return SearchResult(
            teachers=[end for end in ends.get(TEACHERS, []) if end],
            trials=[end for end in ends.get(TRIALS, []) if end],
            finals=[
                FinalRun(arm=arm, outcome=finals[_frozen(config)])
                for arm in self._final_arms
                for run, config in self._final_runs
                if run.label == (arm.same_as or arm.label) and _frozen(config) in finals
            ],
            teachers_reused=self._teachers_reused,
        )

    def _teacher_leg(self) -> Leg:
        def serves(trial: LoggedTrial) -> bool:
            # One that was trained may have been deleted since, or be damaged.
            return trial.end is None or (is_finished(trial) and trial.config not in self._teachers)

        logged = [trial for trial in self._history.of(TEACHERS) if serves(trial)]
        return self._going_on(teacher_leg(self._teachers), self._teachers, logged)

    def _trial_leg(self) -> Leg:
        request = self.request
        several = len(request.space.arms) > 1

        def label(place: int, config: Mapping[str, Any]) -> RunLabel:
            own = {"space.arm": request.space.arm_of(config)} if several else {}
            tags = {"trial": str(place), **own}
            return RunLabel(name=f"trial {place}", kind="trial", tags=tags)

        return Leg(
            title=TRIALS,
            searcher=self.sampler,
            scheduler=self.scheduler,
            trials=request.trials,
            label=label,
            budget_s=request.time_budget_s,
            recalled=self._history.of(TRIALS),
            used_s=self._history.used_s(TRIALS),
        )

    def _final_leg(self) -> Leg:
        def label(place: int, config: Mapping[str, Any]) -> RunLabel:
            arm = next(arm for arm, own in self._final_runs if own == config)
            name = f"{arm.label}, seed {config['seed']}"
            also = [other.label for other in self._final_arms if other.same_as == arm.label]
            tags = {"arm": arm.label, **({"also": ", ".join(also)} if also else {})}
            return RunLabel(name=name, kind=arm.kind, tags=tags)

        request = self.request
        best = finalist_configs(self.result().trials, request.finalists, request.objectives)
        seeds = [request.seed + 1 + i for i in range(request.finalist_seeds)]
        self._final_arms = arms(best, fixed=request.space.fixed) if best else []
        self._final_runs = [
            (arm, config)
            for arm in self._final_arms
            if not arm.same_as
            for config in seeded(arm, seeds=seeds, train_on=request.finalists_on)
        ]
        wanted = [config for _, config in self._final_runs]
        # A search that has grown may have better ones than those that it tested before.
        logged = [t for t in self._history.of(FINALISTS) if t.config in wanted]
        return self._going_on(listed_leg(FINALISTS, wanted, label), wanted, logged)

    def _going_on(
        self, leg: Leg, wanted: Sequence[FlatConfig], logged: Sequence[LoggedTrial]
    ) -> Leg:
        """``leg`` with trials of an earlier process in place of those that it had begun."""
        begun = [trial.config for trial in logged]
        new = [config for config in wanted if config not in begun]
        return replace(
            leg,
            searcher=ListedConfigs(new),
            trials=len(logged) + len(new),
            recalled=logged,
            used_s=self._history.used_s(leg.title),
        )


def is_finished(trial: LoggedTrial) -> bool:
    """Whether a trial ran to its end."""
    return trial.end is not None and trial.end.kind == "finished"


def _frozen(config: FlatConfig) -> frozenset[tuple[str, Scalar]]:
    return frozenset(config.items())


def teacher_leg(teachers: Sequence[FlatConfig]) -> Leg:
    """The training of teachers, each by its own flat configuration."""

    def label(place: int, config: Mapping[str, Any]) -> RunLabel:
        epochs, smoothing = config["train.epochs"], config["method.label_smoothing"]
        after = f" (kept after {snapshots})" if (snapshots := config.get("train.snapshots")) else ""
        title = f"{config['student']}, {epochs} epochs{after}, smoothing {smoothing}"
        return RunLabel(name=f"teacher {place + 1}", kind="teacher", tags={}, title=title)

    return listed_leg(TEACHERS, teachers, label)


def listed_leg(title: str, configs: Sequence[FlatConfig], label: LabelOf) -> Leg:
    """A stage whose trials are known beforehand, each of which runs to its end."""
    return Leg(
        title=title,
        searcher=ListedConfigs(configs),
        scheduler=make_scheduler("none"),
        trials=len(configs),
        label=label,
    )


def missing_teachers(trials: Iterable[TrialConfig]) -> list[TrialConfig]:
    """Those of ``trials`` whose teachers are not stored yet, each once; reads the data."""
    missing: dict[str, TrialConfig] = {}
    for trial in trials:
        key = key_of(identity_of(trial, _device_type(trial.train.device)))
        if key not in TeacherStore(trial.store):
            missing[key] = trial
    return list(missing.values())


def _device_type(name: str) -> str:
    """What ``name`` means to the trials, whose node may have other devices than this one."""
    return resolve_device(name).type if name == "auto" else name


def finalist_configs(
    trials: Sequence[Outcome], count: int, goals: Sequence[Goal] = (ACCURACY,)
) -> list[FlatConfig]:
    """The ``count`` best configurations of finished trials; ties go to the earlier trial.

    With several goals they are spread along the Pareto front, the best in the first goal first.
    """
    if len(goals) > 1:
        members = front(trials, goals)
        return spread(distinct([trials[place].config for place in members]), count)
    finished = [t for t in trials if t.kind == "finished" and t.value is not None]
    ranked = sorted(finished, key=lambda trial: goals[0].cost(trial.value))
    return distinct([trial.config for trial in ranked])[:count]
