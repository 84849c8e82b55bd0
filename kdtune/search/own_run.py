"""The run of a search itself, in MLflow and beside the trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdtune.config import decode, known_keys
from kdtune.contracts import Scalar
from kdtune.search.datasets import inputs_of
from kdtune.search.deciders import cutting
from kdtune.search.front import front
from kdtune.search.launch import own_tags
from kdtune.search.log import History
from kdtune.search.request import SearchRequest
from kdtune.search.space import Space
from kdtune.search.stages import FINALISTS, SearchResult
from kdtune.tracking import MLflowSink, canonical, without_credentials
from kdtune.tracking.events import PARENT
from kdtune.tracking.journal import FOLDER as JOURNAL

NO_LONGER = "earlier finalist"
"""Tag ``arm`` of a finalist that better trials of a search that grew have replaced."""


def sink_of(request: SearchRequest, history: History) -> MLflowSink:
    """Where a search logs; one that goes on has the runs that it had."""
    space = request.space
    unlogged = {
        *("space", "storage", "remote", "tracking_uri", "command", "asked"),
        *("partial", "register_as"),
    }
    resolved = {"objectives", "grace_period", "reduction_factor", "brackets"}
    about = request.model_dump(exclude=unlogged | resolved, mode="json") | cutting(request)
    about["objectives"] = ", ".join(map(str, request.objectives))
    reads_test = {"role": "finalist" if request.finalists else "trial"}
    return MLflowSink(
        tracking_uri=request.tracking_uri,
        experiment=request.experiment,
        run_name=request.name,
        params={**{f"search.{key}": value for key, value in about.items()}, **_fixed(space)},
        tags={
            "kind": "search",
            "command": without_credentials(request.command),
            **own_tags(request),
            **_grown(request),
        },
        note=_note(request),
        inputs=inputs_of({**space.fixed, **reads_test}),
        journal=request.folder / JOURNAL,
        search_id=history.begun.search_id if history.begun else "",
    )


def _grown(request: SearchRequest) -> dict[str, str]:
    """A search's parameters are those that it began with: MLflow lets none be changed."""
    asked, grown = request.asked, []
    if asked.get("trials", request.trials) != request.trials:
        grown.append(f"{asked['trials']} to {request.trials} trials")
    if asked.get("time_budget_s", request.time_budget_s) != request.time_budget_s:
        grown.append(f"{asked['time_budget_s']} to {request.time_budget_s} s")
    return {"grown": ", ".join(grown)} if grown else {}


def _fixed(space: Space) -> dict[str, Scalar]:
    """What the space fixes for its arms, in the types in which its trials log it."""
    typed: dict[str, Scalar] = {}
    for key, value in space.fixed.items():
        method = next(name for name in space.methods() if key in known_keys(name))
        if value is not None:
            typed |= {key: decode({"method": method, key: canonical(value)})[key]}
    return typed


def _note(request: SearchRequest) -> str:
    axes = [row for row in request.space.table() if row.kind not in ("fixed", "absent")]
    searched = [f"- {row.arm} `{row.key}`: {row.range}".replace("  ", " ") for row in axes]
    command = f"`{without_credentials(request.command)}`"
    return "\n".join([request.space.summary, "", *searched, "", command])


def attach(
    sink: MLflowSink,
    request: SearchRequest,
    result: SearchResult,
    *,
    history: History,
    files: Sequence[Path],
    students: Mapping[str, Path],
) -> None:
    """What belongs to the runs besides numbers: the front, and the finalists as models."""
    goals, register = request.objectives, request.register_as
    members = front(result.trials, goals) if len(goals) > 1 else []
    for place, trial in enumerate(result.trials):
        if place in members or (len(goals) > 1 and trial.trial_id in history.trials):
            sink.tag(trial.trial_id, {"pareto": canonical(place in members)})
    for file in files:
        sink.attach(PARENT, file)
    if result.finals:
        _rank_again(sink, result, history)
    for run in result.finals:
        trial_id = run.outcome.trial_id
        if run.arm.kind == "finalist" and trial_id in students:
            student = students[trial_id]
            sink.attach(trial_id, student, kind="model", place=student.name, register=register)
            register = ""


def _rank_again(sink: MLflowSink, result: SearchResult, history: History) -> None:
    """Say of each finalist that was run before the search grew what it is now."""
    arms = {run.outcome.trial_id: run.arm for run in result.finals if not run.arm.same_as}
    for trial in history.of(FINALISTS):
        arm = arms.get(trial.trial_id)
        sink.tag(trial.trial_id, {"arm": arm.label if arm else NO_LONGER})
        if arm is None and trial.end is None:  # Nobody will run it to its end.
            sink.end_run(trial.trial_id, outcome="stopped")
