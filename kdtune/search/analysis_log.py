"""An analysis in the journals of the searches that its runs are of, and in MLflow."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdtune.search.analysing import Analysed
from kdtune.search.finished_runs import FinishedRun
from kdtune.search.kept_measures import METRICS
from kdtune.tracking import SinkReport, replay
from kdtune.tracking.events import PARENT, Attached, Ended, Event, Measured, Started, Tagged
from kdtune.tracking.journal import FOLDER, Journal, read_contents
from kdtune.tracking.location import logged_to


def addresses(runs: Sequence[FinishedRun]) -> dict[Path, str]:
    """Where each search of the runs logs, by the folder of its results.

    Raises:
        ValueError: If that is a database of another machine.
    """
    searches = dict.fromkeys(run.search for run in runs)
    return {
        search: logged_to(read_contents(search).header.tracking_uri, search) for search in searches
    }


def log_analysis(analysed: Analysed, *, tracking_uris: Mapping[Path, str]) -> list[SinkReport]:
    """Numbers as metrics of each run; tables and figures with the run, or their search's own.

    They are with the search's own run where several runs were analysed together, so that a
    picture of all is kept once. What was logged already is not logged again.

    Args:
        analysed: What came of it.
        tracking_uris: Of MLflow, for each search by the folder of its results.

    Returns:
        What was written to MLflow, for each search.

    Raises:
        OSError: If a journal cannot be written.
    """
    reports = []
    for folder in analysed.folders:
        search = folder.parents[2]
        runs = [run for run in analysed.runs if run.search == search]
        reports.append(_log(analysed, runs, folder, search, tracking_uris[search]))
    return reports


def _log(
    analysed: Analysed, runs: Sequence[FinishedRun], folder: Path, search: Path, uri: str
) -> SinkReport:
    contents = read_contents(search)
    now = time.time_ns() // 1_000_000
    events: list[Event] = []
    for run in runs:
        if new := _new_metrics(analysed, run):
            epoch = max((points[-1].epoch for points in run.record.history.values()), default=0)
            events.append(Measured(key=run.record.key, epoch=epoch, metrics=new, time_ms=now))
    files = Attached(
        key=runs[0].record.key if len(analysed.runs) == 1 else PARENT,
        path=folder.relative_to(search).as_posix(),
        kind="artifact",
        place=folder.relative_to(search).as_posix(),
        time_ms=now,
    )
    if not any(isinstance(e, Attached) and e.path == files.path for e in contents.events):
        events.append(files)
    journal = Journal(search / FOLDER, contents.header)
    for event in events:
        journal.put(event)
    journal.close()
    keys = {PARENT, *(run.record.key for run in runs)}
    return replay(
        [e for e in (*contents.events, *events) if e.key in keys and _told_here(e, files.path)],
        tracking_uri=uri,
        experiment=contents.header.experiment,
        search_id=contents.header.search_id,
        base=search,
    )


def _told_here(event: Event, folder: str) -> bool:
    """Whether MLflow is told of it now: analyses, and what a run is and was for one it lacks.

    All else that a server may lack is left to a sync.
    """
    match event:
        case Measured():
            return all(name.startswith(METRICS) for name in event.metrics)
        case Attached():
            return event.path == folder
        case _:
            return isinstance(event, Started | Ended | Tagged)


def _new_metrics(analysed: Analysed, run: FinishedRun) -> dict[str, float]:
    finding = analysed.finding
    named = {
        f"{METRICS}{finding.analysis}/{name}": value
        for name, value in finding.numbers[run.label].items()
    }
    return {name: value for name, value in named.items() if run.record.value(name) != value}
