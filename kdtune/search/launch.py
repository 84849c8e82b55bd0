"""A search from request to result: teachers, then trials, then finalists."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdtune.config import TrialConfig, teacher_trial
from kdtune.contracts import FlatConfig, Scalar
from kdtune.papers import PAPERS
from kdtune.report.goals import ACCURACY, Goal
from kdtune.report.progress import Display
from kdtune.report.settings import describe
from kdtune.search.asha import ASHA
from kdtune.search.callbacks import MEASURED, ProgressCallback, RunLabel, TrackingCallback
from kdtune.search.checks import teacher_pool
from kdtune.search.cluster import Share, connected
from kdtune.search.deciders import new_sampler, new_scheduler
from kdtune.search.finalists import Arm, arms, distinct, seeded
from kdtune.search.front import front, spread
from kdtune.search.legs import Leg, Relay, RelayScheduler
from kdtune.search.listed import ListedConfigs
from kdtune.search.outcomes import Outcome, OutcomeCallback
from kdtune.search.request import SearchRequest
from kdtune.search.samplers import StudyCallback
from kdtune.search.schedulers import make_scheduler
from kdtune.search.tuning import Interruption, run_tune, stopped_by_signals
from kdtune.teachers.store import TeacherStore, key_of
from kdtune.tracking import MLflowSink
from kdtune.tracking.system import SystemMetrics
from kdtune.training.device import resolve_device
from kdtune.training.teacher import identity_of
from trainables import Distill

TEACHERS, TRIALS, FINALISTS = "Teachers", "Search", "Finalists"
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


class SearchBroken(Exception):
    """The machinery of a search failed, not one of its trials; ``result`` is what was done."""

    def __init__(self, result: SearchResult) -> None:
        super().__init__("the search broke off")
        self.result = result


def launch(
    request: SearchRequest,
    *,
    sink: MLflowSink,
    display: Display,
    interruption: Interruption,
) -> SearchResult:
    """Run a search to its end, its budget or an interruption.

    Args:
        request: The search, after :func:`~kdtune.search.checks.check_request`.
        sink: Where runs are written; the caller ends and closes it.
        display: Shows the progress of each stage.
        interruption: Asked for a stop by whoever catches signals.

    Raises:
        SearchBroken: If Tune itself failed; holds what was done until then.
    """
    with connected(request.address), stopped_by_signals(interruption):
        share = Share.of_cluster(request.cpus_per_trial, request.gpus_per_trial)
        search = _Search(request, share)
        relay = Relay(
            search.legs(),
            on_leg=lambda leg: display.stage(leg.title, leg.trials),
            max_concurrent=share.concurrency,
        )
        try:
            with SystemMetrics(sink):
                run_tune(
                    Distill,
                    folder=request.folder,
                    searcher=relay,
                    scheduler=RelayScheduler(relay),
                    trials=search.most_trials,
                    share=share,
                    callbacks=[
                        _tracking(request, sink, relay),
                        StudyCallback(search.sampler),
                        search.record,
                        _progress(display, relay, request.goal),
                    ],
                    interruption=interruption,
                )
        except Exception as error:
            raise SearchBroken(search.result()) from error
    return search.result()


def _tracking(request: SearchRequest, sink: MLflowSink, relay: Relay) -> TrackingCallback:
    def rung(trial_id: str) -> dict[str, str]:
        scheduler = relay.leg_of(trial_id).scheduler
        return {"rung": str(scheduler.rung_of(trial_id))} if isinstance(scheduler, ASHA) else {}

    return TrackingCallback(
        sink,
        base_tags=own_tags(request),
        metric=request.goal.metric,
        mode=request.goal.mode,
        label=relay.label,
        last_tags=rung,
        ends_search=False,
    )


def own_tags(request: SearchRequest) -> dict[str, str]:
    """What all runs of a search are tagged with."""
    name = request.space.name
    paper = {"paper": name} if name in PAPERS else {}
    return {"space": name, "search": request.name, **MEASURED, **paper}


def _progress(display: Display, relay: Relay, goal: Goal) -> ProgressCallback:
    def line(trial_id: str, config: Mapping[str, Any]) -> str:
        label = relay.label(trial_id, config)
        return label.title or f"{label.name}  {describe(config)}"

    return ProgressCallback(display, metric=goal.metric, mode=goal.mode, label=line)


class _Search:
    """The legs of one search, each built when the one before it is over."""

    def __init__(self, request: SearchRequest, share: Share) -> None:
        self.request = request
        self.record = OutcomeCallback(metric=request.goal.metric, mode=request.goal.mode)
        self.sampler = new_sampler(request, max_concurrent=share.concurrency)
        self.scheduler = new_scheduler(request)
        pool = [teacher_trial(config) for config in teacher_pool(request.space)]
        self._teachers = missing_teachers(pool)
        self._teachers_reused = len(pool) - len(self._teachers)
        self._final_arms: list[Arm] = []
        self._final_runs: list[tuple[Arm, FlatConfig]] = []
        self._begun: list[Leg] = []

    @property
    def most_trials(self) -> int:
        """How many trials all legs have at most, baselines included."""
        request = self.request
        finals = (request.finalists + 2) * request.finalist_seeds if request.finalists else 0
        return len(self._teachers) + request.trials + finals

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
        finals = list(zip(self._final_runs, ends.get(FINALISTS, []), strict=False))
        return SearchResult(
            teachers=[end for end in ends.get(TEACHERS, []) if end],
            trials=[end for end in ends.get(TRIALS, []) if end],
            finals=[
                FinalRun(arm=arm, outcome=end)
                for arm in self._final_arms
                for (run, _), end in finals
                if end and run.label == (arm.same_as or arm.label)
            ],
            teachers_reused=self._teachers_reused,
        )

    def _teacher_leg(self) -> Leg:
        return teacher_leg(self._teachers)

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
        )

    def _final_leg(self) -> Leg:
        def label(place: int, config: Mapping[str, Any]) -> RunLabel:
            arm, _ = self._final_runs[place]
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
        return listed_leg(FINALISTS, [config for _, config in self._final_runs], label)


def teacher_leg(teachers: Sequence[FlatConfig]) -> Leg:
    """The training of teachers, each by its own flat configuration."""

    def label(place: int, config: Mapping[str, Any]) -> RunLabel:
        epochs, smoothing = config["train.epochs"], config["method.label_smoothing"]
        title = f"{config['student']}, {epochs} epochs, smoothing {smoothing}"
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


def missing_teachers(trials: Iterable[TrialConfig]) -> list[dict[str, Scalar]]:
    """Which of the teachers that ``trials`` train are not stored yet, each once; reads the data."""
    missing: dict[str, dict[str, Scalar]] = {}
    for trial in trials:
        key = key_of(identity_of(trial, _device_type(trial.train.device)))
        if key not in TeacherStore(trial.store):
            missing[key] = trial.flat()
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
