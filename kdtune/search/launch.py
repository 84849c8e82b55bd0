"""A search from request to result: teachers, then trials, then finalists."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.search import Searcher

from kdtune.config import teacher_trial
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import Dataset
from kdtune.report.progress import Display
from kdtune.search.callbacks import ProgressCallback, RunLabel, TrackingCallback
from kdtune.search.checks import check_request, teacher_pool
from kdtune.search.cluster import concurrency, connected
from kdtune.search.finalists import Arm, arms, seeded
from kdtune.search.listed import ListedConfigs
from kdtune.search.outcomes import Outcome, OutcomeCallback
from kdtune.search.request import METRIC, MODE, SearchRequest
from kdtune.search.samplers import StudyCallback, make_sampler
from kdtune.search.schedulers import make_scheduler
from kdtune.search.stage import Interruption, Resources, run_stage
from kdtune.teachers.store import TeacherStore
from kdtune.tracking import MLflowSink
from kdtune.training.teacher import key_of
from kdtune.training.trial import resolve_device
from trainables import Distill, Finalist, TrainTeacher


@dataclass(frozen=True, kw_only=True)
class FinalRun:
    """One run of one arm of the final comparison."""

    arm: Arm
    seed: int
    outcome: Outcome


@dataclass(kw_only=True)
class SearchResult:
    """What a search found; each part is empty where the search was stopped before it.

    Attributes:
        trials: In the order in which they were suggested.
        finals: Finalists and baselines, seed by seed.
        failed_teachers: Teachers that could not be trained.
    """

    trials: list[Outcome] = field(default_factory=list)
    finals: list[FinalRun] = field(default_factory=list)
    failed_teachers: list[Outcome] = field(default_factory=list)


def launch(
    request: SearchRequest,
    *,
    sink: MLflowSink,
    display: Display,
    interruption: Interruption,
) -> SearchResult:
    """Run a search to its end, its budget or an interruption.

    Args:
        request: The search; checked first, as a whole.
        sink: Where runs are written; the caller ends and closes it.
        display: Shows the progress of each stage.
        interruption: Asked for a stop by whoever catches signals.

    Raises:
        ValueError: If the request cannot be served; nothing has been started then.
    """
    dataset = check_request(request)
    with connected(request.address):
        resources = Resources(
            cpus=request.cpus_per_trial,
            gpus=request.gpus_per_trial,
            concurrency=concurrency(request.cpus_per_trial, request.gpus_per_trial),
        )
        stages = _Stages(request, resources, sink, display, interruption)
        result = SearchResult()
        result.failed_teachers = stages.train_teachers(dataset)
        if not interruption.signal:
            result.trials = stages.search()
        best = finalist_configs(result.trials, request.finalists)
        if best and not interruption.signal:
            result.finals = stages.finalists(best)
        return result


def finalist_configs(trials: Sequence[Outcome], count: int) -> list[FlatConfig]:
    """Configurations of the ``count`` best finished trials; ties go to the earlier trial."""
    finished = [t for t in trials if t.kind == "finished" and t.value is not None]
    ranked = sorted(finished, key=lambda t: -(t.value or 0.0))
    return [trial.config for trial in ranked[:count]]


class _Stages:
    """The three stages of one search: what they share, and what each does with it."""

    def __init__(
        self,
        request: SearchRequest,
        resources: Resources,
        sink: MLflowSink,
        display: Display,
        interruption: Interruption,
    ) -> None:
        self.request = request
        self.resources = resources
        self.sink = sink
        self.display = display
        self.interruption = interruption

    def train_teachers(self, dataset: Dataset) -> list[Outcome]:
        """Train the teachers that are not stored yet; return those that failed."""
        configs = self._missing_teachers(dataset)
        if not configs:
            return []
        labels = [_label("teacher", f"teacher {i}") for i in range(1, len(configs) + 1)]
        outcomes = self._listed(TrainTeacher, "Teachers", configs, labels)
        return [outcome for outcome in outcomes if outcome.kind != "finished"]

    def search(self) -> list[Outcome]:
        """The trials, as sampler and scheduler decide."""
        request = self.request
        sampler = make_sampler(
            request.sampler,
            request.space,
            metric=METRIC,
            mode=MODE,
            seed=request.seed,
            max_concurrent=self.resources.concurrency,
            ordered=request.ordered,
        )
        scheduler = make_scheduler(
            request.scheduler,
            metric=METRIC,
            mode=MODE,
            max_t=max(int(str(e)) for e in request.space.values("train.epochs")),
            grace_period=request.grace_period,
            reduction_factor=request.reduction_factor,
            brackets=request.brackets,
            seed=request.seed,
            ordered=request.ordered,
        )
        return self._run(
            Distill,
            "Search",
            sampler,
            request.trials,
            TrackingCallback(
                self.sink, base_tags=self._tags(), metric=METRIC, mode=MODE, ends_search=False
            ),
            StudyCallback(sampler),
            scheduler=scheduler,
            time_budget_s=request.time_budget_s,
        )

    def finalists(self, best: Sequence[FlatConfig]) -> list[FinalRun]:
        """Every arm with every seed, tested once each."""
        seeds = [self.request.seed + 1 + i for i in range(self.request.finalist_seeds)]
        runs = [
            (arm, config)
            for arm in arms(best)
            for config in seeded(arm, seeds=seeds, train_on=self.request.finalists_on)
        ]
        labels = [
            _label(arm.kind, f"{arm.label}, seed {config['seed']}", arm=arm.label)
            for arm, config in runs
        ]
        configs = [config for _, config in runs]
        outcomes = self._listed(Finalist, "Finalists", configs, labels, checkpoint_at_end=True)
        return [
            FinalRun(arm=arm, seed=int(str(config["seed"])), outcome=outcome)
            for (arm, config), outcome in zip(runs, outcomes, strict=False)
        ]

    def _missing_teachers(self, dataset: Dataset) -> list[dict[str, Scalar]]:
        missing: dict[str, dict[str, Scalar]] = {}
        for config in teacher_pool(self.request.space):
            assert config.teacher is not None
            trial = teacher_trial(config)
            store = config.teacher.store
            key = key_of(trial, dataset, resolve_device(trial.train.device))
            if key not in TeacherStore(store):
                missing[key] = {**trial.flat(), "teacher.store": store}
        return list(missing.values())

    def _listed(
        self,
        trainable: type[tune.Trainable],
        title: str,
        configs: Sequence[FlatConfig],
        labels: Sequence[RunLabel],
        *,
        checkpoint_at_end: bool = False,
    ) -> list[Outcome]:
        """Run a list of configurations, whatever each of them does."""
        searcher = ListedConfigs(configs)
        tracking = TrackingCallback(
            self.sink,
            base_tags=self._tags(),
            metric=METRIC,
            mode=MODE,
            label=lambda trial_id, _: labels[searcher.positions[trial_id]],
            ends_search=False,
        )
        return self._run(
            trainable, title, searcher, len(configs), tracking, checkpoint_at_end=checkpoint_at_end
        )

    def _run(
        self,
        trainable: type[tune.Trainable],
        title: str,
        searcher: Searcher,
        trials: int,
        *callbacks: Callback,
        **options: Any,
    ) -> list[Outcome]:
        record = OutcomeCallback(metric=METRIC, mode=MODE)
        with self.display.stage(title, trials):
            progress = ProgressCallback(self.display, metric=METRIC, mode=MODE)
            ran = run_stage(
                trainable,
                name=title.lower(),
                folder=self.request.folder,
                searcher=searcher,
                trials=trials,
                resources=self.resources,
                callbacks=[*callbacks, record, progress],
                interruption=self.interruption,
                **options,
            )
        return record.outcomes(ran)

    def _tags(self) -> dict[str, str]:
        return {"space": self.request.space.name, "search": self.request.name}


def _label(kind: str, name: str, **tags: str) -> RunLabel:
    return RunLabel(name=name, kind=kind, tags=tags)
