"""One search as a user sees it: signals, tracking, what is printed, what is kept."""

import csv
import json
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from kdtune.contracts import Scalar
from kdtune.report.finalists import ArmResult, finalist_rows
from kdtune.report.finalists import finalists as finalist_table
from kdtune.report.leaderboard import Row, leaderboard, leaderboard_rows
from kdtune.report.progress import Display
from kdtune.search.launch import SearchResult, launch
from kdtune.search.request import SearchRequest
from kdtune.search.tuning import Interruption
from kdtune.tracking import MLflowSink, SinkReport, default_tracking_uri

EXIT_NO_RESULT = 1
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
    interruption = Interruption()
    sink = _sink(request)
    with _signals(interruption), Display(console) as display:
        result = launch(request, sink=sink, display=display, interruption=interruption)
    code = _exit_code(result, interruption)
    arms = arm_results(result)
    sink.end("stopped" if interruption.signal else "finished", metrics=_headline(result, arms))
    _keep(request, result, arms)
    if interruption.signal:
        name = signal.Signals(interruption.signal).name
        _say(console, f"Stopped by {name}. What is done is kept; trained teachers serve again.")
    _show(console, request, result, arms)
    report = sink.close()
    _farewell(console, request, report, program)
    return code


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
    """Test accuracies per arm, the teacher of the first finalist last."""
    scores: dict[str, list[float]] = {}
    configs: dict[str, Mapping[str, Scalar]] = {}
    taught: list[float] = []
    for run in result.finals:
        label = run.arm.label
        configs[label] = run.arm.config
        scores.setdefault(label, [])
        if run.outcome.kind == "finished" and "test/accuracy" in run.outcome.result:
            scores[label].append(run.outcome.result["test/accuracy"])
            if label == "finalist 1":
                taught.append(run.outcome.result["teacher/test_accuracy"])
    arms = [ArmResult(arm=a, values=values, config=configs[a]) for a, values in scores.items()]
    teacher = [ArmResult(arm="teacher", values=taught[:1])] if taught else []
    return [*arms, *teacher]


def _sink(request: SearchRequest) -> MLflowSink:
    space = request.space
    about = request.model_dump(exclude={"space", "storage", "tracking_uri", "command"}, mode="json")
    return MLflowSink(
        tracking_uri=request.tracking_uri,
        experiment=request.experiment,
        run_name=request.name,
        params={**{f"search.{key}": value for key, value in about.items()}, **space.fixed},
        tags={"kind": "search", "space": space.name, "command": request.command},
        note=_note(request),
    )


def _note(request: SearchRequest) -> str:
    axes = [row for row in request.space.table() if row.kind != "fixed"]
    searched = [f"- `{row.key}`: {row.range}" for row in axes]
    return "\n".join([request.space.summary, "", f"`{request.command}`", "", *searched])


@contextmanager
def _signals(interruption: Interruption) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into an orderly stop; a second one acts at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        interruption.request(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


def _show(
    console: Console, request: SearchRequest, result: SearchResult, arms: Sequence[ArmResult]
) -> None:
    if result.trials:
        console.print(leaderboard(trial_rows(result)))
    if arms:
        console.print(finalist_table(arms))
    failed = [*result.teachers, *result.trials, *(run.outcome for run in result.finals)]
    errors = [outcome for outcome in failed if outcome.error]
    if errors:
        last = errors[0].error.strip().splitlines()[-1]
        _say(console, f"{len(errors)} runs failed; the first said: {last}")
    if not any(t.kind == "finished" for t in result.trials):
        _say(console, "No trial finished, so there are no finalists.")


def _farewell(console: Console, request: SearchRequest, report: SinkReport, program: str) -> None:
    """Where everything lies, and what to type to look at it."""
    if report.lost:
        console.print(str(report), markup=False, style="yellow")
    local = request.tracking_uri == default_tracking_uri(request.storage)
    where = (
        ["--storage", str(request.storage)] if local else ["--tracking-uri", request.tracking_uri]
    )
    if local and request.storage == Path.cwd() / "kdtune-results":
        where = []
    _say(console, f"Results:   {request.folder}")
    _say(console, f"MLflow UI: {shlex.join([program, 'ui', *where])}")


def _say(console: Console, text: str) -> None:
    """A line as it is, however long: it may be pasted."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
