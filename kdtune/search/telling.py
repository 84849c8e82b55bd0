"""What a search says on the console, before and after the work."""

import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kdtune.report.finalists import ArmResult
from kdtune.report.finalists import finalists as finalist_table
from kdtune.report.leaderboard import leaderboard
from kdtune.search.advice import advice
from kdtune.search.finalists import PUBLISHED
from kdtune.search.interruption import Interruption
from kdtune.search.log import History
from kdtune.search.request import SearchRequest
from kdtune.search.results import trial_rows
from kdtune.search.stages import SearchResult
from kdtune.tracking import SinkReport, default_tracking_uri, without_credentials
from kdtune.tracking.view import VIEW

RESULTS = "kdtune-results"
"""The usual folder of all results, for which the printed commands need no ``--storage``."""


def say(console: Console, text: str) -> None:
    """A line as it is, however long: it may be pasted."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def say_what_is_recalled(console: Console, history: History) -> None:
    """How much of a search that goes on is done."""
    if history.begun:
        over = sum(trial.end is not None for trial in history.trials.values())
        rest = len(history.trials) - over
        say(console, f"Going on: {over} runs are over, {rest} continue where they stood.")


def say_what_is_left_out(console: Console, request: SearchRequest) -> None:
    """What of the space the overrides exclude."""
    space = request.space
    for what, left_out in (("Arms not searched", space.dropped_arms), ("Not tried", space.dropped)):
        if left_out:
            names = ", ".join(each.name for each in left_out)
            say(console, f"{what}, as the overrides contradict them: {names}")
    for key, arms in request.partial.items():
        say(console, f"{key} is set for {', '.join(arms)} alone; the other arms have no such key")


def show(
    console: Console, request: SearchRequest, result: SearchResult, arms: Sequence[ArmResult]
) -> None:
    """The tables, and what there is to say about them."""
    goals = request.objectives
    if result.trials:
        console.print(leaderboard(trial_rows(result, goals), goals=goals))
    if arms:
        console.print(finalist_table(arms))
        if PUBLISHED not in {arm.arm for arm in arms}:
            say(console, "Without a published recipe: nothing says which teacher it would have.")
    ended = [*result.teachers, *result.trials, *(run.outcome for run in result.finals)]
    errors = list({end.trial_id: end for end in ended if end.error}.values())
    if errors:
        last = errors[0].error.strip().splitlines()[-1]
        say(console, f"{len(errors)} runs failed; the first said: {last}")
    for sentence in advice(result.trials, request.goal):
        say(console, sentence)
    if not any(t.kind == "finished" for t in result.trials):
        say(console, "No trial finished, so there are no finalists.")


def farewell(
    console: Console,
    request: SearchRequest,
    report: SinkReport,
    page: Path | None,
    students: Sequence[Path],
    program: str,
) -> None:
    """Where everything lies, and what to type to look at it."""
    if not report.complete:
        console.print(str(report), markup=False, style="yellow")
    say(console, f"Results:   {request.folder}")
    if page:
        say(console, f"Report:    {page}")
    if students:
        say(console, f"Students:  {shlex.join([program, 'export', str(students[0])])}")
    if students and request.register_as:
        say(console, f"Model:     models:/{request.register_as}/latest")
    say(console, f"MLflow UI: {_ui_command(request, program)}")
    if report.experiment_id:
        runs = f"#/experiments/{report.experiment_id}/runs?workflowType=machine_learning"
        runs += f"&viewStateShareKey={VIEW}"
        say(console, f"           then open http://127.0.0.1:5000/{runs}")


def say_how_to_go_on(
    console: Console, request: SearchRequest, stop: Interruption, *, program: str, broken: bool
) -> None:
    """Why a search ended before its end, and the command that continues it."""
    if stop.signal:
        name = signal.Signals(stop.signal).name
        say(console, f"Stopped by {name}; what is done is kept.")
    if stop.error:
        where = f"'{stop.error.filename}': " if stop.error.filename else ""
        say(console, f"Stopped, as results cannot be kept: {where}{stop.error.strerror}.")
    if broken:
        say(console, "The search broke off by a fault of its own; what is done is kept.")
    if stop.asked or broken:
        again = shlex.join([program, "resume", request.name, *_place(request)])
        say(console, f"Go on:     {again}")


def say_that_time_is_over(
    console: Console, request: SearchRequest, result: SearchResult, *, program: str
) -> None:
    """What a time budget left undone, and the command that gives more."""
    under_way = sum(trial.kind == "stopped" for trial in result.trials)
    missing = request.trials - len(result.trials)
    if request.time_budget_s and (under_way or missing):
        again = shlex.join([program, "resume", request.name, *_place(request), "--hours", "+1"])
        say(
            console,
            f"Time was over: {under_way} trials were under way and {missing} not begun. "
            f"More: {again}",
        )


def _place(request: SearchRequest) -> list[str]:
    usual = not request.remote and request.storage == Path.cwd() / RESULTS
    return [] if usual else ["--storage", request.remote or str(request.storage)]


def _ui_command(request: SearchRequest, program: str) -> str:
    """What opens the UI: an address for a server, a command for a database."""
    uri = request.tracking_uri
    if uri.startswith(("http://", "https://")):
        return without_credentials(uri)
    if uri != default_tracking_uri(request.storage):
        return shlex.join([program, "ui", "--tracking-uri", without_credentials(uri)])
    usual = request.storage == Path.cwd() / RESULTS
    return shlex.join([program, "ui", *([] if usual else ["--storage", str(request.storage)])])
