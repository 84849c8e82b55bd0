"""One search as a user sees it: signals, tracking, what is printed, what is kept."""

import shlex
import signal
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from kdtune.config import decode, known_keys
from kdtune.contracts import Scalar
from kdtune.report.finalists import ArmResult
from kdtune.report.finalists import finalists as finalist_table
from kdtune.report.leaderboard import leaderboard
from kdtune.report.progress import Display
from kdtune.search.checks import check_request
from kdtune.search.cost import cost
from kdtune.search.datasets import inputs_of
from kdtune.search.deciders import cutting
from kdtune.search.finalists import PUBLISHED
from kdtune.search.front import front
from kdtune.search.launch import SearchBroken, SearchResult, launch, own_tags
from kdtune.search.request import SearchRequest
from kdtune.search.results import (
    arm_results,
    headline,
    keep,
    keep_final_students,
    trial_rows,
)
from kdtune.search.space import Space
from kdtune.search.tuning import Interruption, stopped_by_signals
from kdtune.tracking import (
    MLflowSink,
    SinkReport,
    canonical,
    default_tracking_uri,
    without_credentials,
)
from kdtune.tracking.events import PARENT
from kdtune.tracking.journal import FOLDER as JOURNAL
from kdtune.tracking.journal import read_journal
from kdtune.tracking.sink import CLOSE_TIMEOUT_S
from kdtune.tracking.view import VIEW

EXIT_NO_RESULT = 1
EXIT_BROKEN = 70
"""A fault of the program, as ``sysexits.h`` has it."""

UPLOAD_TIMEOUT_S = 10.0
"""How much longer the end of a search may take for each student that becomes a model."""

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
    check_request(request)
    begun = time.monotonic()
    console = console or Console()
    _say_what_is_left_out(console, request)
    interruption = Interruption()
    sink = _sink(request)
    broken: BaseException | None = None
    with stopped_by_signals(interruption), Display(console, goal=request.goal) as display:
        try:
            result = launch(request, sink=sink, display=display, interruption=interruption)
        except SearchBroken as error:
            result, broken = error.result, error.__cause__
    arms = arm_results(result, request.objectives)
    files = keep(request, result, arms)
    students = keep_final_students(request, result)
    _attach(request, result, sink, files=files, students=students)
    outcome = "failed" if broken else "stopped" if interruption.signal else "finished"
    numbers = headline(result, arms, request.objectives)
    sink.end(outcome, metrics={**numbers, **cost(result, wall_s=time.monotonic() - begun)})
    page = _write_report(console, request)
    if page:
        sink.attach(PARENT, page)
    try:
        if interruption.signal:
            name = signal.Signals(interruption.signal).name
            _say(console, f"Stopped by {name}. What is done is kept; trained teachers serve again.")
        _show(console, request, result, arms)
    finally:
        report = sink.close(CLOSE_TIMEOUT_S + UPLOAD_TIMEOUT_S * len(students))
    _farewell(console, request, report, page, list(students.values()), program)
    if broken:
        traceback.print_exception(broken)
        _say(console, "The search broke off by a fault of its own; what is done is kept.")
        return EXIT_BROKEN
    return _exit_code(result, interruption)


def _say_what_is_left_out(console: Console, request: SearchRequest) -> None:
    space = request.space
    for what, left_out in (("Arms not searched", space.dropped_arms), ("Not tried", space.dropped)):
        if left_out:
            names = ", ".join(each.name for each in left_out)
            _say(console, f"{what}, as the overrides contradict them: {names}")
    for key, arms in request.partial.items():
        _say(console, f"{key} is set for {', '.join(arms)} alone; the other arms have no such key")


def _sink(request: SearchRequest) -> MLflowSink:
    space = request.space
    unlogged = {"space", "storage", "tracking_uri", "command", "partial", "register_as"}
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
        },
        note=_note(request),
        inputs=inputs_of({**space.fixed, **reads_test}),
        journal=request.folder / JOURNAL,
    )


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


def _exit_code(result: SearchResult, interruption: Interruption) -> int:
    if interruption.signal:
        return EXIT_SIGNAL + interruption.signal
    return 0 if any(t.kind == "finished" for t in result.trials) else EXIT_NO_RESULT


def _attach(
    request: SearchRequest,
    result: SearchResult,
    sink: MLflowSink,
    *,
    files: Sequence[Path],
    students: Mapping[str, Path],
) -> None:
    """What belongs to the runs besides numbers: the front, and the finalists as models."""
    goals, register = request.objectives, request.register_as
    for place in front(result.trials, goals) if len(goals) > 1 else ():
        sink.tag(result.trials[place].trial_id, {"pareto": "true"})
    for file in files:
        sink.attach(PARENT, file)
    for run in result.finals:
        trial_id = run.outcome.trial_id
        if run.arm.kind == "finalist" and trial_id in students:
            student = students[trial_id]
            sink.attach(trial_id, student, kind="model", place=student.name, register=register)
            register = ""


def _write_report(console: Console, request: SearchRequest) -> Path | None:
    """The report beside the trials; what goes wrong there is told, and is no fault of the search.

    The journal is whole by now, so the page needs no server.
    """
    from kdtune.report.page import FILE, report_page

    page = request.folder / FILE
    try:
        page.write_text(report_page(read_journal(request.folder), folder=request.folder), "utf-8")
    except Exception as error:  # All numbers are kept; the page can be made again.
        again = f"kdtune report {shlex.quote(str(request.folder))}"
        _say(console, f"The report was not written ({type(error).__name__}: {error}); try: {again}")
        return None
    return page


def _show(
    console: Console, request: SearchRequest, result: SearchResult, arms: Sequence[ArmResult]
) -> None:
    goals = request.objectives
    if result.trials:
        console.print(leaderboard(trial_rows(result, goals), goals=goals))
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


def _farewell(
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
    _say(console, f"Results:   {request.folder}")
    if page:
        _say(console, f"Report:    {page}")
    if students:
        _say(console, f"Students:  {shlex.join([program, 'export', str(students[0])])}")
    if students and request.register_as:
        _say(console, f"Model:     models:/{request.register_as}/latest")
    _say(console, f"MLflow UI: {_ui_command(request, program)}")
    if report.experiment_id:
        runs = f"#/experiments/{report.experiment_id}/runs?workflowType=machine_learning"
        runs += f"&viewStateShareKey={VIEW}"
        _say(console, f"           then open http://127.0.0.1:5000/{runs}")


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
