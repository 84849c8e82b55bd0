"""Cells of a paper's table, trained here and set beside what was printed.

Teachers first, once each; then every run, several at once; one Tune run for all of it.
"""

import re
import statistics
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, InstanceOf
from rich.console import Console

from kdtune.config import ConfigError, TrialConfig, apart, parse, teacher_trial, together
from kdtune.contracts import Scalar
from kdtune.papers import canonical_metric
from kdtune.report.progress import Display
from kdtune.search.callbacks import MEASURED, ProgressCallback, RunLabel, TrackingCallback
from kdtune.search.cluster import Share, connected
from kdtune.search.interruption import Interruption, stopped_by_signals
from kdtune.search.kept_students import keep_students
from kdtune.search.legs import Leg, Relay, RelayScheduler
from kdtune.search.outcomes import Outcome, OutcomeCallback
from kdtune.search.reproduced_cells import cells_text, number_text
from kdtune.search.reproduction_plan import Plan, Run
from kdtune.search.reproduction_results import Reproduced, reproduced
from kdtune.search.request import RETRIES
from kdtune.search.results import write_rows
from kdtune.search.stages import listed_leg, missing_teachers, teacher_leg
from kdtune.search.tuning import run_tune
from kdtune.settings import Settings
from kdtune.storage import Location
from kdtune.tracking import MLflowSink, SinkReport, without_credentials
from kdtune.tracking.journal import FOLDER, read_journal
from kdtune.tracking.record import RunRecord
from kdtune.tracking.system import SystemMetrics
from trainables import Distill

KIND, RUNS, METRIC = "reproduction", "Runs", "val/accuracy"
NAME = r"\w[\w .@+-]{0,127}"
KEPT = ("val/", "test/", "teacher/")
"""What the results of a run begin with."""


class Reproduction(Settings):
    """What is run, and where its results go.

    Attributes:
        plan: The runs.
        name: Of the whole; its results lie in ``storage / name``.
        storage: Folder of all results.
        tracking_uri: Of MLflow.
        experiment: MLflow experiment that the runs join.
        command: What was typed, for the record.
        address: Of a running Ray cluster; empty to start Ray here.
        cpus, gpus: A run's share of the machine.
    """

    plan: InstanceOf[Plan]
    name: str
    storage: Path
    tracking_uri: str
    experiment: str
    command: str = ""
    address: str = ""
    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0.0

    @property
    def folder(self) -> Path:
        """Where everything of these runs lies."""
        return self.storage / self.name


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What came of a reproduction.

    Attributes:
        outcomes: How the runs ended that were started, in their order.
        cells: The cells that were run, beside what was printed.
        teachers: How the teachers ended that had to be trained.
        report: What reached MLflow.
        signal: That stopped it all, or 0.
        broken: Whether the machinery failed.
    """

    outcomes: Sequence[Outcome]
    cells: Sequence[Reproduced]
    teachers: Sequence[Outcome]
    report: SinkReport
    signal: int = 0
    broken: bool = False


def reproduce(request: Reproduction, *, console: Console) -> Ended:
    """Train what was planned, and write ``runs`` and ``comparison`` (``.csv`` and ``.json``).

    What is done when it is stopped is kept.

    Raises:
        ConfigError: If the name cannot be one of a folder or is taken, or no cluster takes the
            runs; nothing has been started then.
    """
    if not re.fullmatch(NAME, request.name):
        raise ConfigError(
            f"--name must be letters, digits, spaces and any of .@+-_, got '{request.name}'"
        )
    if request.folder.exists():
        raise ConfigError(
            f"there are results called '{request.name}' in '{request.storage}' already; give "
            "another --name, or delete them"
        )
    stages = _Stages(request.plan)
    interruption, broken = Interruption(grace_s=0.0), False
    with stopped_by_signals(interruption), connected(request.address):
        share = Share.of_cluster(request.cpus, request.gpus)
        sink = _sink(request)
        with Display(console) as display, SystemMetrics(sink):
            try:
                _run(request, stages, share, sink, display, interruption)
            except Exception:  # Whatever Tune stumbles over, what is done is kept.
                broken = True
                traceback.print_exc()
    outcomes = stages.outcomes()
    how = "failed" if broken else "stopped" if interruption.signal else "finished"
    sink.end(how, metrics=_means(outcomes))
    report = sink.close()
    request.folder.mkdir(parents=True, exist_ok=True)
    write_rows(request.folder / "runs", [_row(run, end) for run, end in outcomes])
    # Commas between numbers would make odd names of folders.
    names = {end.trial_id: re.sub(r",(?=\d)", "+", _name(run)) for run, end in outcomes}
    keep_students(Location.parse(request.folder), names)
    cells = _compared(request, outcomes)
    write_rows(request.folder / "comparison", [cell.row() for cell in cells])
    return Ended(
        outcomes=[end for _, end in outcomes],
        cells=cells,
        teachers=stages.teachers(),
        report=report,
        signal=interruption.signal,
        broken=broken,
    )


class _Stages:
    """The legs of a reproduction, and how their trials ended."""

    def __init__(self, plan: Plan) -> None:
        self.record = OutcomeCallback(metric=METRIC, mode="max")
        self._plan = plan
        missing = missing_teachers(plan.teachers)
        self._missing = [trial.flat() for trial in together(missing)]
        self._runs: list[Run] = list(plan.runs)
        self._begun: dict[str, Leg] = {}

    @property
    def most_trials(self) -> int:
        """Teachers and runs."""
        return len(self._missing) + len(self._plan.runs)

    def legs(self) -> Iterator[Leg]:
        """Teachers that are not stored yet, then all runs whose teacher could be trained."""
        if self._missing:
            yield self._begin("teachers", teacher_leg(self._missing))
        failed = [parse(end.config) for end in self.teachers() if end.kind != "finished"]
        lost = [teacher for trial in failed for teacher in apart(trial)]
        self._runs = [run for run in self._runs if _teacher(run) not in lost]
        if self._runs:
            configs = [run.config.flat() for run in self._runs]
            yield self._begin("runs", listed_leg(RUNS, configs, self._label))

    def teachers(self) -> list[Outcome]:
        """How those ended that had to be trained."""
        return [end for end in self._ends("teachers") if end]

    def outcomes(self) -> list[tuple[Run, Outcome]]:
        """The runs that were started, and how they ended."""
        pairs = zip(self._runs, self._ends("runs"), strict=False)
        return [(run, end) for run, end in pairs if end]

    def _begin(self, key: str, leg: Leg) -> Leg:
        self._begun[key] = leg
        return leg

    def _ends(self, key: str) -> list[Outcome | None]:
        leg = self._begun.get(key)
        return list(map(self.record.outcome, leg.trial_ids)) if leg else []

    def _label(self, place: int, config: Mapping[str, Any]) -> RunLabel:
        run = self._runs[place]
        numbers = number_text(cell.number for cell in run.cells)
        rows = dict.fromkeys(cell.figure.row_label for cell in run.cells)
        tags = {"cell": numbers, "row": "; ".join(rows)}
        title = f"{_name(run)}: {run.cells[0].figure.row_label}"
        return RunLabel(name=_name(run), kind=KIND, tags=tags, title=title)


def _teacher(run: Run) -> TrialConfig | None:
    """The trial of a run's teacher, if one is trained for it."""
    teacher = run.config.teacher
    trained = teacher is not None and not teacher.weights
    return teacher_trial(run.config) if trained else None


def _name(run: Run) -> str:
    return f"{cells_text([cell.number for cell in run.cells])}, seed {run.config.seed}"


def _run(
    request: Reproduction,
    stages: _Stages,
    share: Share,
    sink: MLflowSink,
    display: Display,
    interruption: Interruption,
) -> None:
    relay = Relay(
        stages.legs(),
        on_leg=lambda leg: display.stage(leg.title, leg.trials),
        max_concurrent=share.concurrency,
        interruption=interruption,
    )
    tags = {
        "search": request.name,
        "space": request.plan.paper,
        "paper": request.plan.paper,
        "table": request.plan.table,
    }

    def line(trial_id: str, config: Mapping[str, Any]) -> str:
        return relay.label(trial_id, config).title

    run_tune(
        Distill,
        storage=str(request.folder),
        searcher=relay,
        scheduler=RelayScheduler(relay),
        trials=stages.most_trials,
        share=share,
        callbacks=[
            TrackingCallback(sink, base_tags=tags, label=relay.label, ends_search=False),
            stages.record,
            ProgressCallback(display, metric=METRIC, mode="max", label=line),
        ],
        interruption=interruption,
        retries=RETRIES,
    )


def _sink(request: Reproduction) -> MLflowSink:
    plan, command = request.plan, without_credentials(request.command)
    return MLflowSink(
        tracking_uri=request.tracking_uri,
        experiment=request.experiment,
        run_name=request.name,
        params={
            "reproduction.table": plan.target,
            "reproduction.cells": number_text(cell.number for cell in plan.cells),
            "reproduction.runs": len(plan.runs),
        },
        tags={
            "kind": "search",  # of the whole; its runs are the reproductions
            "search": request.name,
            "paper": plan.paper,
            "table": plan.table,
            "command": command,
            **MEASURED,
        },
        note=f"{plan.target}, trained again.\n\n`{command}`",
        journal=request.folder / FOLDER,
    )


def _row(run: Run, end: Outcome) -> dict[str, Scalar]:
    config = run.config
    results = {key: value for key, value in end.result.items() if key.startswith(KEPT)}
    return {
        "cells": number_text(cell.number for cell in run.cells),
        "row": run.cells[0].figure.row_label,
        "teacher": "" if config.teacher is None else config.teacher.model,
        "student": config.student,
        "method": config.method,
        "seed": config.seed,
        "outcome": end.kind,
        **results,
    }


def _means(outcomes: Sequence[tuple[Run, Outcome]]) -> dict[str, float]:
    """``cell/<number>``: the mean over its runs of what the cell prints."""
    values: dict[str, list[float]] = {}
    for run, end in outcomes:
        for cell in run.cells:
            metric = canonical_metric(cell.figure)[0]
            if metric in end.result:
                values.setdefault(f"cell/{cell.number}", []).append(end.result[metric])
    return {key: statistics.fmean(each) for key, each in values.items()}


def _compared(request: Reproduction, outcomes: Sequence[tuple[Run, Outcome]]) -> list[Reproduced]:
    """The cells beside their figures, from what the journal says of their runs."""
    if not outcomes:
        return []
    records = {run.key: run for run in read_journal(request.folder).of_kind(KIND)}
    found: dict[int, list[RunRecord]] = {}
    for run, end in outcomes:
        for cell in run.cells:
            found.setdefault(cell.number, []).append(records[end.trial_id])
    return reproduced(request.plan, found)
