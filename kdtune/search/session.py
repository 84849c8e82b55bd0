"""One search as a user sees it: signals, tracking, what is printed, what is kept."""

import shlex
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from kdtune.replacing import replace_file
from kdtune.report.progress import Display
from kdtune.search.checks import check_request
from kdtune.search.cost import cost
from kdtune.search.interruption import Interruption
from kdtune.search.keeping import held
from kdtune.search.launch import SearchBroken, launch
from kdtune.search.log import FILE, Concluded, Event, History, SearchLog, read_log
from kdtune.search.own_run import attach, sink_of
from kdtune.search.request import SearchRequest
from kdtune.search.results import (
    arm_results,
    headline,
    keep,
    keep_final_students,
)
from kdtune.search.resuming import check_digest, check_same, folder_of, reopened
from kdtune.search.stages import STAGES, TRIALS, SearchResult, is_finished
from kdtune.search.telling import (
    farewell,
    say,
    say_how_to_go_on,
    say_that_time_is_over,
    say_what_is_left_out,
    say_what_is_recalled,
    show,
)
from kdtune.storage import Claim
from kdtune.tracking import (
    MLflowSink,
)
from kdtune.tracking.events import PARENT
from kdtune.tracking.journal import read_journal
from kdtune.tracking.sink import CLOSE_TIMEOUT_S

EXIT_NO_RESULT = 1
EXIT_BROKEN = 70
"""A fault of the program, as ``sysexits.h`` has it."""

UPLOAD_TIMEOUT_S = 10.0
"""How much longer the end of a search may take for each student that becomes a model."""

EXIT_IO = 74
"""The log or a result could not be written, as ``sysexits.h`` has it."""

EXIT_SIGNAL = 128
"""Plus the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""


def run_search(
    request: SearchRequest,
    *,
    program: str,
    console: Console | None = None,
    going_on: bool = False,
) -> int:
    """Run a search, print what it found, write it beside the trials.

    Args:
        request: The search.
        program: How a user calls kdtune here, for the commands that are printed.
        console: Where to print; standard output by default.
        going_on: Whether to go on with a search of that name and those arguments, if there is one.

    Returns:
        The exit code of the process.

    Raises:
        ValueError: If the request cannot be served; nothing has been started then.
        OSError: If its folder cannot be written; the same.
    """
    console = console or Console()
    if going_on and FILE in request.location.names():
        return resume_search(
            request.name,
            storage=request.remote or request.storage,
            program=program,
            console=console,
            same_as=request,
            tracking_uri=request.tracking_uri,
            address=request.address,
            max_concurrent=request.max_concurrent,
        )
    check_request(request)
    with held(request.location, console) as claim:
        return _Run(request, History(), claim, program=program, console=console).run()


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
    console = console or Console()
    location = folder_of(name, storage)
    with held(location, console) as claim:
        earlier = read_log(location.local)
        if same_as and earlier.begun:
            check_same(same_as, earlier.begun)
            if earlier.concluded:
                say(console, f"Search '{name}' is complete already.")
                return 0 if any(map(is_finished, earlier.of(TRIALS))) else EXIT_NO_RESULT
        request, history, decided = reopened(location, **changes)
        return _resume(request, history, claim, decided, program=program, console=console)


def resume_request(
    request: SearchRequest, *, program: str = "kdtune", console: Console | None = None
) -> int:
    """Go on with a search that was begun from Python: by the same request, or one with more trials.

    Raises:
        ValueError: As of :func:`resume_search`.
    """
    console = console or Console()
    with held(folder_of(request.name, request.remote or request.storage), console) as claim:
        history = read_log(request.folder)
        if history.begun is None:
            raise ValueError(f"nothing was begun in '{request.folder}'; call run_search")
        check_digest(request, history.begun)
        return _resume(request, history, claim, (), program=program, console=console)


def _resume(
    request: SearchRequest,
    history: History,
    claim: Claim,
    decided: Sequence[Event],
    *,
    program: str,
    console: Console,
) -> int:
    check_request(request, again=True)
    run = _Run(request, history, claim, program=program, console=console)
    for event in decided:
        run.log.put(event)
    return run.run()


class _Run:
    """One process's work on a search."""

    def __init__(
        self,
        request: SearchRequest,
        history: History,
        claim: Claim,
        *,
        program: str,
        console: Console,
    ) -> None:
        self.request = request
        self.history = history
        self.program = program
        self.console = console
        self.log = SearchLog(request.folder)
        self.interruption = Interruption(taken_over=lambda: claim.lost)

    def run(self) -> int:
        """Run it; returns the exit code of the process."""
        request, begun = self.request, time.monotonic()
        say_what_is_left_out(self.console, request)
        say_what_is_recalled(self.console, self.history)
        sink = sink_of(request, self.history)
        try:
            result, broken = self._launch(sink)
            try:
                earlier_s = sum(map(self.history.used_s, STAGES))
                wall_s = earlier_s + time.monotonic() - begun
                self._conclude(sink, result, wall_s=wall_s, broken=broken)
            except OSError as error:
                self.interruption.fault(error)
        finally:
            self.log.close()
        if broken:
            traceback.print_exception(broken)
        say_how_to_go_on(
            self.console,
            request,
            self.interruption,
            program=self.program,
            broken=bool(broken),
        )
        return EXIT_BROKEN if broken else _exit_code(result, self.interruption)

    def _launch(self, sink: MLflowSink) -> tuple[SearchResult, BaseException | None]:
        request, stop = self.request, self.interruption
        with Display(self.console, goal=request.goal) as display:
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
                if isinstance(error.__cause__, OSError):
                    stop.fault(error.__cause__)
                    return error.result, None
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
        outcome = "failed" if broken else "stopped" if self.interruption.asked else "finished"
        files, students, numbers = [], {}, {}
        # A process that was stopped before it came to the trials knows less than the last one did.
        if result.trials or not self.history.trials:
            files = keep(request, result, arms)
            students = keep_final_students(request, result)
            attach(sink, request, result, history=self.history, files=files, students=students)
            numbers = headline(result, arms, request.objectives) | cost(result, wall_s=wall_s)
        sink.end(outcome, metrics=numbers)
        page = self._write_report()
        if page:
            sink.attach(PARENT, page)
        if outcome == "finished" and all(t.kind == "finished" for t in result.teachers):
            self.log.put(Concluded())
        try:
            show(console, request, result, arms)
            if outcome == "finished":
                say_that_time_is_over(console, request, result, program=self.program)
        finally:
            report = sink.close(CLOSE_TIMEOUT_S + UPLOAD_TIMEOUT_S * len(students))
        farewell(console, request, report, page, list(students.values()), self.program)

    def _write_report(self) -> Path | None:
        """The report beside the trials; what goes wrong there is told, and no fault of the search.

        The journal is whole by now, so the page needs no server.
        """
        from kdtune.report.page import FILE as PAGE
        from kdtune.report.page import report_page

        folder = self.request.folder
        page = folder / PAGE
        try:
            replace_file(page, report_page(read_journal(folder), folder=folder).encode())
        except Exception as error:  # All numbers are kept; the page can be made again.
            again = f"kdtune report {shlex.quote(str(folder))}"
            say(
                self.console,
                f"The report was not written ({type(error).__name__}: {error}); try: {again}",
            )
            return None
        return page


def _exit_code(result: SearchResult, interruption: Interruption) -> int:
    if interruption.error:
        return EXIT_IO
    if interruption.signal:
        return EXIT_SIGNAL + interruption.signal
    return 0 if any(t.kind == "finished" for t in result.trials) else EXIT_NO_RESULT
