"""An analysis of finished runs: what is missing is measured, here or on a Ray cluster."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

import kdtune
from kdtune.analysis import Analysis, Item, Measured, Presented, Subject
from kdtune.analysis.figures import save, style
from kdtune.report.finding import FOLDER, Finding, FoundTable
from kdtune.search.finished_runs import FinishedRun
from kdtune.search.kept_measures import KeptMeasures, content_key, name_of
from kdtune.search.subjects import load_subject, prepared
from kdtune.tracking import versions

Told = Callable[[int, int], None]
"""Is told how many runs are measured, of how many."""


@dataclass(frozen=True, kw_only=True)
class Analysed:
    """What came of an analysis.

    Attributes:
        finding: Numbers and tables.
        runs: Those analysed, in the order of ``finding.runs``.
        folders: Where the finding and its figures lie: one for each search that the runs are of.
        measured: How many runs were measured now; the others had been before.
    """

    finding: Finding
    runs: Sequence[FinishedRun]
    folders: Sequence[Path]
    measured: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run to be measured beside its peers, anywhere."""

    analysis: Analysis
    run: FinishedRun
    peers: Sequence[FinishedRun]
    device: str

    def work(self) -> Measured:
        """Measure, with the same bits in every process; an error says which run it is of."""
        try:
            with prepared(torch.device(self.device), THREADS):
                subject, *peers = self._subjects()
                return self.analysis.measure(subject, peers)
        except ValueError as error:
            raise ValueError(f"{self.run.label}: {error}") from None

    def _subjects(self) -> list[Subject]:
        """That of the run, then those of its peers."""
        wanted = [
            _Wanted(student=run.student, label=run.label, device=self.device, run=run)
            for run in (self.run, *self.peers)
        ]
        # In one order, whichever of them is measured: so that each task finds them loaded.
        found = _loaded(tuple(sorted(wanted, key=lambda each: each.student)))
        return [found[each] for each in wanted]


THREADS = 1
"""Of a measure, wherever it is made: sums depend on it.

As in a trial: that is all that a task has on Ray, and more gain little on small networks. Who has
cores to spare measures several runs at once, with the same bits: ``--on-ray here``.
"""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A run to be loaded: equal to itself in another task of the process, unpickled there."""

    student: Path
    label: str
    device: str
    run: FinishedRun = field(compare=False)


@lru_cache(maxsize=1)
def _loaded(wanted: tuple[_Wanted, ...]) -> dict[_Wanted, Subject]:
    """Subjects, kept for the next task: with peers, all tasks of an analysis take the same."""
    return {each: load_subject(each.run, torch.device(each.device)) for each in wanted}


Workers = Callable[[Sequence[Task]], Iterator[tuple[int, Measured]]]
"""Works on tasks, and yields the place of each with its measure as they are done."""


def one_by_one(tasks: Sequence[Task]) -> Iterator[tuple[int, Measured]]:
    """In this process."""
    try:
        for place, task in enumerate(tasks):
            yield place, task.work()
    finally:
        _loaded.cache_clear()


def applies(analysis: Analysis, run: FinishedRun) -> bool:
    """Whether the analysis can be made of the run at all."""
    return run.config.teacher is not None or not analysis.needs_teacher


def analyse(
    analysis: Analysis,
    runs: Sequence[FinishedRun],
    *,
    storage: Path,
    device: str,
    workers: Workers = one_by_one,
    command: str = "",
    told: Told = lambda done, total: None,
) -> Analysed:
    """Measure what is not known yet, and write tables and figures beside the results of the runs.

    Args:
        analysis: With its options.
        runs: At least one, all of which it applies to.
        storage: Folder of all results, where measures are kept.
        device: ``cpu`` or ``cuda``.
        workers: What works on the tasks.
        command: What was typed, for the record.
        told: Of progress.

    Raises:
        ValueError: If the analysis does not fit a run, or the runs do not go together.
        OSError: If something cannot be written.
    """
    kept = KeptMeasures(storage)
    tasks = [
        Task(analysis=analysis, run=run, peers=_peers(analysis, run, runs), device=device)
        for run in runs
    ]
    keys = [content_key(analysis, task.run, task.peers, device) for task in tasks]
    known = {place: found for place, key in enumerate(keys) if (found := kept.get(key))}
    missing = [place for place in range(len(tasks)) if place not in known]
    told(len(known), len(tasks))
    for done, measured in workers([tasks[place] for place in missing]):
        place = missing[done]
        kept.put(keys[place], measured)
        known[place] = measured
        told(len(known), len(tasks))
    items = [
        Item(label=run.label, config=run.config, measured=known[place])
        for place, run in enumerate(runs)
    ]
    with style():
        presented = analysis.present(items)
    finding = _finding(analysis, items, presented, command)
    folders = _write(finding, presented, runs, keys)
    return Analysed(finding=finding, runs=runs, folders=folders, measured=len(missing))


def _peers(
    analysis: Analysis, run: FinishedRun, runs: Sequence[FinishedRun]
) -> Sequence[FinishedRun]:
    return [other for other in runs if other is not run] if analysis.with_peers else []


def _finding(
    analysis: Analysis, items: Sequence[Item], presented: Presented, command: str
) -> Finding:
    numbers = {
        item.label: {**item.measured.numbers, **presented.numbers.get(item.label, {})}
        for item in items
    }
    return Finding(
        analysis=name_of(analysis),
        summary=analysis.summary,
        source=analysis.source,
        options=analysis.model_dump(mode="json"),
        runs=tuple(item.label for item in items),
        tables=tuple(
            FoundTable(
                title=each.title,
                columns=tuple(each.columns),
                rows=tuple(map(tuple, each.rows)),
                notes=tuple(each.notes),
            )
            for each in presented.tables
        ),
        figures=tuple(presented.figures),
        numbers=numbers,
        command=command,
        versions={"kdtune": kdtune.__version__, **versions()},
    )


def _write(
    finding: Finding, presented: Presented, runs: Sequence[FinishedRun], keys: Sequence[str]
) -> list[Path]:
    """The same files in each search; the folder is named by what they were made of."""
    digest = hashlib.sha256(json.dumps([list(finding.runs), list(keys)]).encode()).hexdigest()[:8]
    folders = []
    for search in dict.fromkeys(run.search for run in runs):
        folder = search / FOLDER / finding.analysis / digest
        folder.mkdir(parents=True, exist_ok=True)
        save(presented.figures, folder)
        finding.write(folder)  # Last: a reader takes it for the sign that all is there.
        folders.append(folder)
    return folders
