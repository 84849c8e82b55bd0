"""A search from request to result, in one Tune run."""

from collections.abc import Mapping
from typing import Any

from kdtune.papers import PAPERS
from kdtune.report.goals import Goal
from kdtune.report.progress import Display
from kdtune.report.settings import describe
from kdtune.search.asha import ASHA
from kdtune.search.callbacks import MEASURED, ProgressCallback, TrackingCallback
from kdtune.search.cluster import Share, connected
from kdtune.search.interruption import Interruption, stopped_by_signals
from kdtune.search.legs import Relay, RelayScheduler
from kdtune.search.log import Begun, History, LoggedTrial, SearchLog
from kdtune.search.log_callback import LogCallback
from kdtune.search.request import SearchRequest
from kdtune.search.samplers import StudyCallback
from kdtune.search.stages import SearchResult, Stages
from kdtune.search.trial_follower import TrialFollower
from kdtune.search.tuning import run_tune
from kdtune.tracking import MLflowSink
from kdtune.tracking.system import SystemMetrics
from trainables import Distill


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
    log: SearchLog,
    history: History,
) -> SearchResult:
    """Run a search to its end, its budget or an interruption.

    Args:
        request: The search, after :func:`~kdtune.search.checks.check_request`.
        sink: Where runs are written; the caller ends and closes it.
        display: Shows the progress of each stage.
        interruption: Asked for a stop by whoever catches signals.
        log: Where all is noted that a later process needs to go on.
        history: What earlier processes noted there; empty for a new search.

    Raises:
        SearchBroken: If Tune itself failed; holds what was done until then.
        OSError: If the log cannot be written; nothing has been started then.
    """
    with stopped_by_signals(interruption), connected(request.address):
        share = Share.of_cluster(
            request.cpus_per_trial,
            request.gpus_per_trial,
            accelerator=request.accelerator,
            concurrency=request.max_concurrent,
        )
        begun = history.begun or _begin(request, sink, log, workers=share.concurrency)
        stages = Stages(request, history, workers=begun.workers)
        followers: list[TrialFollower] = []

        def recall(trial: LoggedTrial) -> None:
            place = relay.leg_of(trial.trial_id).trial_ids.index(trial.trial_id)
            for follower in followers:
                follower.recall(trial, place)

        relay = Relay(
            stages.legs(),
            on_leg=lambda leg: display.stage(leg.title, leg.trials),
            on_recall=recall,
            max_concurrent=share.concurrency,
            log=log,
            history=history,
            interruption=interruption,
        )
        # The log last: what it has, MLflow must have too, as a resume tells nothing twice.
        followers += [
            _tracking(request, sink, relay),
            stages.record,
            _progress(display, relay, request.goal),
            _logging(request, log, relay, sink, interruption),
        ]
        for follower in followers:
            follower.timed_out = relay.timed_out
        try:
            with SystemMetrics(sink):
                run_tune(
                    Distill,
                    storage=request.location.uri,
                    searcher=relay,
                    scheduler=RelayScheduler(relay),
                    trials=stages.most_trials,
                    share=share,
                    callbacks=[*followers, StudyCallback(stages.sampler)],
                    interruption=interruption,
                    retries=request.retries,
                )
        except Exception as error:
            raise SearchBroken(stages.result()) from error
    return stages.result()


def _begin(request: SearchRequest, sink: MLflowSink, log: SearchLog, *, workers: int) -> Begun:
    begun = Begun(
        asked=request.asked,
        digest=request.space.digest,
        search_id=sink.search_id,
        workers=workers,
    )
    log.put(begun)
    return begun


def _logging(
    request: SearchRequest,
    log: SearchLog,
    relay: Relay,
    sink: MLflowSink,
    interruption: Interruption,
) -> LogCallback:
    return LogCallback(
        log,
        objectives=[goal.metric for goal in request.objectives],
        mode=request.goal.mode,
        elapsed_s=relay.elapsed_s,
        journal_error=lambda: sink.journal_error,
        interruption=interruption,
    )


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
