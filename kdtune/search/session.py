"""One search as a user sees it: signals, tracking, what is printed, what is kept."""

import shlex
import signal
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from kdtune.config import decode, known_keys
from kdtune.contracts import Scalar
from kdtune.report.finalists import ArmResult
from kdtune.report.finalists import finalists as finalist_table
from kdtune.report.leaderboard import leaderboard
from kdtune.report.progress import Display
from kdtune.search.advice import advice
from kdtune.search.checks import check_request
from kdtune.search.cost import cost
from kdtune.search.datasets import inputs_of
from kdtune.search.deciders import cutting
from kdtune.search.finalists import PUBLISHED
from kdtune.search.front import front
from kdtune.search.interruption import Interruption, stopped_by_signals
from kdtune.search.launch import SearchBroken, launch, own_tags
from kdtune.search.log import Concluded, Grown, History, SearchLog, read_log
from kdtune.search.request import SearchRequest
from kdtune.search.results import (
    arm_results,
    headline,
    keep,
    keep_final_students,
    trial_rows,
)
from kdtune.search.resuming import check_digest, check_same, folder_of, reopened
from kdtune.search.space import Space
from kdtune.search.stages import SearchResult
from kdtune.storage import Claim, Location
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

EXIT_IO = 74
"""The log or a result could not be written, as ``sysexits.h`` has it."""

EXIT_SIGNAL = 128
"""Plus the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""

RESULTS = "kdtune-results"
"""The usual folder of all results, for which the printed commands need no ``--storage``."""


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
        OSError: If its folder cannot be written; the same.
    """
    check_request(request)
    with _claim(request.location):
        return _Run(request, History(), program=program, console=console or Console()).run()


def is_begun(request: SearchRequest) -> bool:
    """Whether there is a search of that name to go on with."""
    return request.folder.is_dir() and read_log(request.folder).begun is not None


def resume_search(
    name: str,
    *,
    storage: str | Path,
    program: str,
    console: Console | None = None,
    same_as: SearchRequest | None = None,
    **changes: Any,
) -> int:
    """Go on with a search that was stopped or died, or let one grow.

    Args:
        name: Of the search.
        storage: Folder or URI of all results.
        program, console: As in :func:`run_search`.
        same_as: What the search must have begun with.
        **changes: As in :func:`~kdtune.search.resuming.reopened`.

    Returns:
        The exit code of the process.

    Raises:
        ValueError: If it cannot go on: there is none of that name, another process runs it, it is
            complete, or it cannot be made again. Nothing has been changed then.
    """
    location = folder_of(name, storage)
    with _claim(location):
        request, history, grown = reopened(location, **changes)
        if same_as and history.begun:
            check_same(same_as, history.begun)
        return _resume(request, history, grown, program=program, console=console)


def resume_request(
    request: SearchRequest, *, program: str = "kdtune", console: Console | None = None
) -> int:
    """Go on with a search that was begun from Python: by the same request, or one with more trials.

    Raises:
        ValueError: As of :func:`resume_search`.
    """
    with _claim(folder_of(request.name, request.remote or request.storage)):
        history = read_log(request.folder)
        if history.begun is None:
            raise ValueError(f"nothing was begun in '{request.folder}'; call run_search")
        check_digest(request, history.begun)
        return _resume(request, history, None, program=program, console=console)


def _resume(
    request: SearchRequest,
    history: History,
    grown: Grown | None,
    *,
    program: str,
    console: Console | None,
) -> int:
    check_request(request, again=True)
    run = _Run(request, history, program=program, console=console or Console())
    if grown:
        run.log.put(grown)
    return run.run()


def _claim(location: Location) -> Claim:
    return Claim(location, what=f"the search in '{location.uri}'")


class _Run:
    """One process's work on a search."""

    def __init__(
        self, request: SearchRequest, history: History, *, program: str, console: Console
    ) -> None:
        self.request = request
        self.history = history
        self.program = program
        self.console = console
        self.log = SearchLog(request.folder)
        self.interruption = Interruption()

    def run(self) -> int:
        """Run it; returns the exit code of the process."""
        request, begun = self.request, time.monotonic()
        _say_what_is_left_out(self.console, request)
        _say_what_is_recalled(self.console, self.history)
        sink = _sink(request, self.history)
        try:
            result, broken = self._launch(sink)
            try:
                self._conclude(sink, result, wall_s=time.monotonic() - begun, broken=broken)
            except OSError as error:
                self.interruption.fault(error)
        finally:
            self.log.close()
        if broken:
            traceback.print_exception(broken)
            _say(self.console, "The search broke off by a fault of its own; what is done is kept.")
        self._say_how_to_go_on(unfinished=bool(broken))
        return EXIT_BROKEN if broken else _exit_code(result, self.interruption)

    def _launch(self, sink: MLflowSink) -> tuple[SearchResult, BaseException | None]:
        request, stop = self.request, self.interruption
        with stopped_by_signals(stop), Display(self.console, goal=request.goal) as display:
            try:
                return launch(
                    request,
                    sink=sink,
                    display=display,
                    interruption=stop,
                    log=self.log,
                    history=self.history,
                ), None
            except SearchBroken as error:
                return error.result, error.__cause__

    def _conclude(
        self,
        sink: MLflowSink,
        result: SearchResult,
        *,
        wall_s: float,
        broken: BaseException | None,
    ) -> None:
        """Everything that follows the last trial: files, the report, what is printed."""
        request, console = self.request, self.console
        arms = arm_results(result, request.objectives)
        files = keep(request, result, arms)
        students = keep_final_students(request, result)
        _attach(request, result, sink, files=files, students=students)
        outcome = "failed" if broken else "stopped" if self.interruption.asked else "finished"
        numbers = headline(result, arms, request.objectives)
        sink.end(outcome, metrics={**numbers, **cost(result, wall_s=wall_s)})
        page = _write_report(console, request)
        if page:
            sink.attach(PARENT, page)
        if outcome == "finished":
            self.log.put(Concluded())
        try:
            _show(console, request, result, arms)
        finally:
            report = sink.close(CLOSE_TIMEOUT_S + UPLOAD_TIMEOUT_S * len(students))
        _farewell(console, request, report, page, list(students.values()), self.program)

    def _say_how_to_go_on(self, *, unfinished: bool) -> None:
        stop = self.interruption
        if stop.signal:
            name = signal.Signals(stop.signal).name
            _say(self.console, f"Stopped by {name}; what is done is kept, and trials have saved.")
        if stop.error:
            where = f"'{stop.error.filename}'" if stop.error.filename else self.request.folder
            _say(self.console, f"Stopped: {where} cannot be written ({stop.error.strerror}).")
        if stop.asked or unfinished:
            usual = self.request.storage == Path.cwd() / RESULTS
            place = [] if usual else ["--storage", self.request.remote or str(self.request.storage)]
            again = shlex.join([self.program, "resume", self.request.name, *place])
            _say(self.console, f"Go on:     {again}")


def _say_what_is_recalled(console: Console, history: History) -> None:
    if history.begun:
        over = sum(trial.end is not None for trial in history.trials.values())
        rest = len(history.trials) - over
        _say(console, f"Going on: {over} runs are over, {rest} continue where they stood.")


def _say_what_is_left_out(console: Console, request: SearchRequest) -> None:
    space = request.space
    for what, left_out in (("Arms not searched", space.dropped_arms), ("Not tried", space.dropped)):
        if left_out:
            names = ", ".join(each.name for each in left_out)
            _say(console, f"{what}, as the overrides contradict them: {names}")
    for key, arms in request.partial.items():
        _say(console, f"{key} is set for {', '.join(arms)} alone; the other arms have no such key")


def _sink(request: SearchRequest, history: History) -> MLflowSink:
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
            **({"grown": f"{request.trials} trials"} if history.grown else {}),
        },
        note=_note(request),
        inputs=inputs_of({**space.fixed, **reads_test}),
        journal=request.folder / JOURNAL,
        search_id=history.begun.search_id if history.begun else "",
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
    if interruption.error:
        return EXIT_IO
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
    for sentence in advice(result.trials, request.goal):
        _say(console, sentence)
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
    usual = request.storage == Path.cwd() / RESULTS
    return shlex.join([program, "ui", *([] if usual else ["--storage", str(request.storage)])])


def _say(console: Console, text: str) -> None:
    """A line as it is, however long: it may be pasted."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
