"""What a task of an analysis loads, keeps and computes with."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from made_subjects import config, made

from kdtune import models
from kdtune.analysis import Analysis, Item, Measured, Presented, Subject
from kdtune.search import analysing
from kdtune.search.analysing import Task, one_by_one
from kdtune.search.finished_runs import FinishedRun
from kdtune.tracking import RunRecord


class Threads(Analysis):
    """How a measure is computed."""

    summary: ClassVar[str] = "Threads."
    source: ClassVar[str] = "nobody"

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        seen = "".join(each.label for each in (subject, *peers))
        return Measured(numbers={"threads": float(torch.get_num_threads()), seen: 0.0})

    def present(self, items: Sequence[Item]) -> Presented:
        pytest.fail("tasks measure, and show nothing")


class Failing(Threads):
    """One that does not fit."""

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        raise ValueError("does not fit")


@pytest.fixture
def runs(tmp_path: Path) -> list[FinishedRun]:
    """Three that were never trained."""
    return [
        FinishedRun(
            label=name,
            search=tmp_path,
            student=tmp_path / "students" / name,
            record=RunRecord(key=name, name=name, params={}, tags={}, started_ms=0),
            config=config(tmp_path, method="scratch"),
        )
        for name in "abc"
    ]


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The labels of all runs that are loaded, as they are; a network each, made for it."""
    labels: list[str] = []

    def load_subject(run: FinishedRun, device: torch.device) -> Subject:
        labels.append(run.label)
        network = models.build("resnet8x0.25", classes=10, channels=1, size=8, seed=0)
        return made(run.label, run.config, network)

    monkeypatch.setattr(analysing, "load_subject", load_subject)
    yield labels
    analysing._loaded.cache_clear()


def _tasks(runs: Sequence[FinishedRun], *, beside: bool, analysis: Analysis) -> list[Task]:
    return [
        Task(
            analysis=analysis,
            run=run,
            peers=[other for other in runs if other is not run] if beside else [],
            device="cpu",
        )
        for run in runs
    ]


def test_a_measure_has_one_thread_wherever_it_is_made(
    runs: Sequence[FinishedRun], threads: int
) -> None:
    (task,) = _tasks(runs[:1], beside=False, analysis=Threads())
    assert task.work().numbers["threads"] == 1
    assert torch.get_num_threads() == threads


def test_a_refusal_names_the_run_and_leaves_the_threads_as_they_were(
    runs: Sequence[FinishedRun], threads: int
) -> None:
    (task,) = _tasks(runs[:1], beside=False, analysis=Failing())
    with pytest.raises(ValueError, match="a: does not fit"):
        task.work()
    assert torch.get_num_threads() == threads


def test_peers_are_loaded_once_though_every_task_is_unpickled(
    runs: Sequence[FinishedRun], loaded: Sequence[str]
) -> None:
    tasks = _tasks(runs, beside=True, analysis=Threads())
    seen = [pickle.loads(pickle.dumps(task)).work().numbers for task in tasks]
    assert [list(each)[1] for each in seen] == ["abc", "bac", "cab"]
    assert loaded == ["a", "b", "c"]


def test_a_process_keeps_no_more_than_the_last_task_took(runs: Sequence[FinishedRun]) -> None:
    for task in _tasks(runs, beside=False, analysis=Threads()):
        task.work()
    assert analysing._loaded.cache_info().currsize == 1


def test_nothing_is_kept_after_an_analysis(runs: Sequence[FinishedRun]) -> None:
    assert len(list(one_by_one(_tasks(runs, beside=True, analysis=Threads())))) == 3
    assert analysing._loaded.cache_info().currsize == 0


def test_nothing_is_kept_of_an_analysis_that_failed(runs: Sequence[FinishedRun]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        list(one_by_one(_tasks(runs, beside=True, analysis=Failing())))
    assert analysing._loaded.cache_info().currsize == 0
