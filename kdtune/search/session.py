"""One search as a user sees it: signals, tracking, what is printed, what is kept."""

import csv
import json
import shlex
import signal
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from kdtune.contracts import Scalar
from kdtune.report.finalists import ArmResult, finalist_rows
from kdtune.report.finalists import finalists as finalist_table
from kdtune.report.leaderboard import Row, leaderboard, leaderboard_rows
from kdtune.report.progress import Display
from kdtune.search.finalists import PUBLISHED
from kdtune.search.launch import FinalRun, SearchBroken, SearchResult, launch
from kdtune.search.request import SearchRequest
from kdtune.search.tuning import Interruption, stopped_by_signals
from kdtune.tracking import (
    MLflowSink,
    SinkReport,
    default_tracking_uri,
    without_credentials,
)

EXIT_NO_RESULT = 1
EXIT_BROKEN = 70
"""A fault of the program, as ``sysexits.h`` has it."""

EXIT_SIGNAL = 128
"""Plus the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""


def run_search(request: SearchRequest, *, program: str, console: Console | None = None) -> int:
    """Run a search, print what it found, write it beside the trials.

    Args:
        request: The search.
        program: How a user calls kdtune here, for the commands that are printed.
        console: Where to print; standard output by default.

    Returns:
        The exit code of the process.

    Raises:
        ValueError: If the request cannot be served; nothing has been started then.
    """
    console = console or Console()
    for recipe in request.space.dropped:
        _say(console, f"Not tried, as the overrides contradict it: {recipe.name}")
    for arm in request.space.dropped_arms:
        _say(console, f"Not searched, as the overrides contradict it: arm {arm.name}")
    interruption = Interruption()
    sink = _sink(request)
    broken: BaseException | None = None
    with stopped_by_signals(interruption), Display(console) as display:
        try:
            result = launch(request, sink=sink, display=display, interruption=interruption)
        except SearchBroken as error:
            result, broken = error.result, error.__cause__
    arms = arm_results(result)
    _keep(request, result, arms)
    outcome = "failed" if broken else "stopped" if interruption.signal else "finished"
    sink.end(outcome, metrics=_headline(result, arms))
    try:
        if interruption.signal:
            name = signal.Signals(interruption.signal).name
            _say(console, f"Stopped by {name}. What is done is kept; trained teachers serve again.")
        _show(console, result, arms)
    finally:
        report = sink.close()
    _farewell(console, request, report, program)
    if broken:
        traceback.print_exception(broken)
        _say(console, "The search broke off by a fault of its own; what is done is kept.")
        return EXIT_BROKEN
    return _exit_code(result, interruption)


def trial_rows(result: SearchResult) -> list[Row]:
    """The trials as the leaderboard takes them."""
    return [
        Row(
            trial=index,
            config=trial.config,
            outcome=trial.kind,
            epoch=trial.epoch,
            value=trial.value,
        )
        for index, trial in enumerate(result.trials)
    ]


def arm_results(result: SearchResult) -> list[ArmResult]:
    """Test accuracies per arm, last the teacher of the first arm that has one."""
    runs: dict[str, list[FinalRun]] = {}
    for run in result.finals:
        runs.setdefault(run.arm.label, []).append(run)
    arms = [
        ArmResult(
            arm=label,
            config=own[0].arm.config,
            same_as=own[0].arm.same_as,
            values=_reported(own, "test/accuracy"),
            runs=len(own),
        )
        for label, own in runs.items()
    ]
    taught = [_reported(own, "teacher/test_accuracy") for own in runs.values()]
    teacher = [ArmResult(arm="teacher", values=each[:1], runs=1) for each in taught if each]
    return [*arms, *teacher[:1]]


def _reported(runs: Sequence[FinalRun], metric: str) -> list[float]:
    """The metric of those runs that were tested; a diverged one was, at its broken state."""
    return [run.outcome.result[metric] for run in runs if metric in run.outcome.result]


def _sink(request: SearchRequest) -> MLflowSink:
    space = request.space
    about = request.model_dump(exclude={"space", "storage", "tracking_uri", "command"}, mode="json")
    return MLflowSink(
        tracking_uri=request.tracking_uri,
        experiment=request.experiment,
        run_name=request.name,
        params={**{f"search.{key}": value for key, value in about.items()}, **space.fixed},
        tags={
            "kind": "search",
            "space": space.name,
            "search": request.name,
            "command": without_credentials(request.command),
        },
        note=_note(request),
    )


def _note(request: SearchRequest) -> str:
    axes = [row for row in request.space.table() if row.kind != "fixed"]
    searched = [f"- `{row.key}`: {row.range}" for row in axes]
    command = f"`{without_credentials(request.command)}`"
    return "\n".join([request.space.summary, "", *searched, "", command])


def _exit_code(result: SearchResult, interruption: Interruption) -> int:
    if interruption.signal:
        return EXIT_SIGNAL + interruption.signal
    return 0 if any(t.kind == "finished" for t in result.trials) else EXIT_NO_RESULT


def _headline(result: SearchResult, arms: Sequence[ArmResult]) -> dict[str, float]:
    """The few numbers that the search's own run shows in MLflow."""
    finished = [t.value for t in result.trials if t.kind == "finished" and t.value is not None]
    headline = {"search/best_val_accuracy": max(finished)} if finished else {}
    for arm in arms:
        if arm.summary is not None:
            headline[f"final/{arm.arm.replace(' ', '_')}"] = arm.summary.mean
    return headline


def _keep(request: SearchRequest, result: SearchResult, arms: Sequence[ArmResult]) -> None:
    """Write leaderboard and finalists beside the trials, for scripts and spreadsheets."""
    request.folder.mkdir(parents=True, exist_ok=True)
    _write(request.folder / "leaderboard", leaderboard_rows(trial_rows(result)))
    if arms:
        _write(request.folder / "finalists", finalist_rows(arms))


def _write(stem: Path, rows: Sequence[Mapping[str, Scalar]]) -> None:
    stem.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with stem.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)


def _show(console: Console, result: SearchResult, arms: Sequence[ArmResult]) -> None:
    if result.trials:
        console.print(leaderboard(trial_rows(result)))
    if arms:
        console.print(finalist_table(arms))
        if PUBLISHED not in {arm.arm for arm in arms}:
            _say(console, "Without a published recipe: nothing says which teacher it would have.")
    ended = [*result.teachers, *result.trials, *(run.outcome for run in result.finals)]
    errors = list({end.trial_id: end for end in ended if end.error}.values())
    if errors:
        last = errors[0].error.strip().splitlines()[-1]
        _say(console, f"{len(errors)} runs failed; the first said: {last}")
    if not any(t.kind == "finished" for t in result.trials):
        _say(console, "No trial finished, so there are no finalists.")


def _farewell(console: Console, request: SearchRequest, report: SinkReport, program: str) -> None:
    """Where everything lies, and what to type to look at it."""
    if report.lost:
        console.print(str(report), markup=False, style="yellow")
    _say(console, f"Results:   {request.folder}")
    _say(console, f"MLflow UI: {_ui_command(request, program)}")
    if report.experiment_id:
        page = f"#/experiments/{report.experiment_id}/runs?workflowType=machine_learning"
        _say(console, f"           then open http://127.0.0.1:5000/{page}")


def _ui_command(request: SearchRequest, program: str) -> str:
    """What opens the UI: an address for a server, a command for a database."""
    uri = request.tracking_uri
    if uri.startswith(("http://", "https://")):
        return without_credentials(uri)
    if uri != default_tracking_uri(request.storage):
        return shlex.join([program, "ui", "--tracking-uri", without_credentials(uri)])
    usual = request.storage == Path.cwd() / "kdtune-results"
    return shlex.join([program, "ui", *([] if usual else ["--storage", str(request.storage)])])


def _say(console: Console, text: str) -> None:
    """A line as it is, however long: it may be pasted."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
