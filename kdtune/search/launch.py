"""A search from request to result: teachers, then trials, then finalists."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kdtune.config import teacher_trial
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import Dataset
from kdtune.report.progress import Display
from kdtune.report.settings import describe
from kdtune.search.callbacks import ProgressCallback, RunLabel, TrackingCallback
from kdtune.search.checks import check_request, teacher_pool
from kdtune.search.cluster import Share, connected
from kdtune.search.finalists import Arm, arms, seeded
from kdtune.search.legs import Leg, Relay, RelayScheduler
from kdtune.search.listed import ListedConfigs
from kdtune.search.outcomes import Outcome, OutcomeCallback
from kdtune.search.request import METRIC, MODE, SearchRequest
from kdtune.search.samplers import SpaceSampler, StudyCallback, make_sampler
from kdtune.search.schedulers import make_scheduler
from kdtune.search.tuning import Interruption, run_tune
from kdtune.teachers.store import TeacherStore
from kdtune.tracking import MLflowSink
from kdtune.training.teacher import key_of
from kdtune.training.trial import resolve_device
from trainables import Distill

TEACHERS, TRIALS, FINALISTS = "Teachers", "Search", "Finalists"
LabelOf = Callable[[int], RunLabel]


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
        finals: Finalists and baselines, seed by seed.
    """

    teachers: Sequence[Outcome] = ()
    trials: Sequence[Outcome] = ()
    finals: Sequence[FinalRun] = ()


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
        share = Share.of_cluster(request.cpus_per_trial, request.gpus_per_trial)
        search = _Search(request, dataset, share)

        def show(leg: Leg) -> None:
            display.stage(leg.title, leg.trials)

        relay = Relay(
            search.legs(),
            on_leg=show,
            max_concurrent=share.concurrency,
        )
        tags = {"space": request.space.name, "search": request.name}
        tracking = TrackingCallback(
            sink, base_tags=tags, metric=METRIC, mode=MODE, label=relay.label, ends_search=False
        )

        def line(trial_id: str, config: Mapping[str, Any]) -> str:
            label = relay.label(trial_id, config)
            return label.title or f"{label.name}  {describe(config)}"

        progress = ProgressCallback(display, metric=METRIC, mode=MODE, label=line)
        run_tune(
            Distill,
            folder=request.folder,
            searcher=relay,
            scheduler=RelayScheduler(relay),
            trials=search.most_trials,
            share=share,
            callbacks=[tracking, StudyCallback(search.sampler), search.record, progress],
            interruption=interruption,
        )
    return search.result()


class _Search:
    """The legs of one search, each built when the one before it is over."""

    def __init__(self, request: SearchRequest, dataset: Dataset, share: Share) -> None:
        self.request = request
        self.dataset = dataset
        self.share = share
        self.record = OutcomeCallback(metric=METRIC, mode=MODE)
        self.sampler = self._new_sampler()
        self._teachers = self._missing_teachers()
        self._final_runs: list[tuple[Arm, FlatConfig]] = []
        self._begun: list[Leg] = []

    @property
    def most_trials(self) -> int:
        """How many trials all legs have at most, baselines included."""
        request = self.request
        finals = (request.finalists + 2) * request.finalist_seeds if request.finalists else 0
        return len(self._teachers) + request.trials + finals

    def legs(self) -> Iterator[Leg]:
        """Teachers that are not stored yet, the trials, the finalists; empty ones are left out."""
        for leg in (self._teacher_leg, self._trial_leg, self._final_leg):
            built = leg()
            if built.trials:
                self._begun.append(built)
                yield built

    def result(self) -> SearchResult:
        """The outcomes of all legs that have begun."""
        ends = {leg.title: list(map(self.record.outcome, leg.trial_ids)) for leg in self._begun}
        finals = zip(self._final_runs, ends.get(FINALISTS, []), strict=False)
        return SearchResult(
            teachers=[end for end in ends.get(TEACHERS, []) if end],
            trials=[end for end in ends.get(TRIALS, []) if end],
            finals=[FinalRun(arm=arm, outcome=end) for (arm, _), end in finals if end],
        )

    def _teacher_leg(self) -> Leg:
        def label(place: int) -> RunLabel:
            config = self._teachers[place]
            epochs, smoothing = config["train.epochs"], config["method.label_smoothing"]
            title = f"{config['student']}, {epochs} epochs, smoothing {smoothing}"
            return RunLabel(name=f"teacher {place + 1}", kind="teacher", tags={}, title=title)

        return self._listed(TEACHERS, self._teachers, label)

    def _trial_leg(self) -> Leg:
        def label(place: int) -> RunLabel:
            return RunLabel(name=f"trial {place}", kind="trial", tags={"trial": str(place)})

        request = self.request
        epochs = max(int(str(e)) for e in request.space.values("train.epochs"))
        scheduler = make_scheduler(
            request.scheduler,
            metric=METRIC,
            mode=MODE,
            max_t=epochs,
            grace_period=request.grace_period or math.ceil(epochs / 5),
            reduction_factor=request.reduction_factor,
            brackets=request.brackets,
            seed=request.seed,
            ordered=request.ordered,
        )
        return Leg(
            title=TRIALS,
            searcher=self.sampler,
            scheduler=scheduler,
            trials=request.trials,
            label=label,
            budget_s=request.time_budget_s,
        )

    def _final_leg(self) -> Leg:
        def label(place: int) -> RunLabel:
            arm, config = self._final_runs[place]
            name = f"{arm.label}, seed {config['seed']}"
            return RunLabel(name=name, kind=arm.kind, tags={"arm": arm.label})

        best = finalist_configs(self.result().trials, self.request.finalists)
        seeds = [self.request.seed + 1 + i for i in range(self.request.finalist_seeds)]
        self._final_runs = [
            (arm, config)
            for arm in (arms(best) if best else [])
            for config in seeded(arm, seeds=seeds, train_on=self.request.finalists_on)
        ]
        return self._listed(FINALISTS, [config for _, config in self._final_runs], label)

    def _listed(self, title: str, configs: Sequence[FlatConfig], label: LabelOf) -> Leg:
        return Leg(
            title=title,
            searcher=ListedConfigs(configs),
            scheduler=make_scheduler("none", metric=METRIC, mode=MODE, max_t=1),
            trials=len(configs),
            label=label,
        )

    def _new_sampler(self) -> SpaceSampler:
        request = self.request
        return make_sampler(
            request.sampler,
            request.space,
            metric=METRIC,
            mode=MODE,
            seed=request.seed,
            max_concurrent=self.share.concurrency,
            ordered=request.ordered,
        )

    def _missing_teachers(self) -> list[dict[str, Scalar]]:
        missing: dict[str, dict[str, Scalar]] = {}
        for config in teacher_pool(self.request.space):
            trial = teacher_trial(config)
            key = key_of(trial, self.dataset, _device_of_trials(trial.train.device))
            if key not in TeacherStore(trial.store):
                missing[key] = trial.flat()
        return list(missing.values())


def _device_of_trials(name: str) -> torch.device:
    """The device that ``name`` means to the trials, which may see other devices than we do."""
    return resolve_device(name) if name == "auto" else torch.device(name)


def finalist_configs(trials: Sequence[Outcome], count: int) -> list[FlatConfig]:
    """Configurations of the ``count`` best finished trials; ties go to the earlier trial."""
    finished = [t for t in trials if t.kind == "finished" and t.value is not None]
    ranked = sorted(finished, key=lambda t: -(t.value or 0.0))
    return [trial.config for trial in ranked[:count]]
