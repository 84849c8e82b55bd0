"""Figures as runs: what one training gave stands together."""

import pytest

from kdtune.papers import PAPERS, figures
from kdtune.papers.runs import ReportedRun, reported_runs


def a_run(paper: str, name: str) -> ReportedRun:
    (found,) = [run for run in reported_runs(paper) if run.name == f"{paper} {name}"]
    return found


@pytest.mark.parametrize("paper", PAPERS)
def test_no_figure_hides_another_in_its_run(paper: str) -> None:
    printed = [
        (run.tags["table"], value)
        for run in reported_runs(paper)
        for name, value in run.metrics.items()
        if name.startswith("reported/") and not name.endswith("_std")
    ]
    assert sorted(printed) == sorted((figure.table, figure.value) for figure in figures(paper))


@pytest.mark.parametrize("paper", PAPERS)
def test_a_name_says_which_cell_it_is(paper: str) -> None:
    names = [run.name for run in reported_runs(paper)]
    assert len(names) == len(set(names))


def test_metrics_of_one_training_are_in_one_run() -> None:
    run = a_run("chandrasegaran2022", "TD.2: ResNet-18, T = 64, 0.0")
    assert run.metrics == {
        "test/accuracy": 0.73611,
        "test/accuracy_std": 0.00314,
        "test/top5": 0.94529,
        "test/top5_std": 0.00086,
        "reported/top1_accuracy": 73.611,
        "reported/top1_accuracy_std": 0.314,
        "reported/top5_accuracy": 94.529,
        "reported/top5_accuracy_std": 0.086,
    }
    gains = a_run("park2020", "T2: VGG-19, 50 %, Label, Self-Distill").metrics
    assert gains["reported/accuracy_gain"] == 1.61
    assert gains["reported/surplus"] == -0.20


def test_a_quoted_figure_is_a_run_of_its_own() -> None:
    own = a_run("park2020", "T5: PyramidNet-110-64, (none), no, Scratch")
    quoted = a_run("park2020", "T5: PyramidNet-110-64, (none), no, Scratch (quoted)")
    assert (own.metrics["test/accuracy"], quoted.metrics["test/accuracy"]) == (0.8027, 0.8015)
    assert quoted.tags["condition.origin"] == "original_paper"


def test_tags_tell_what_no_setting_stands_for() -> None:
    tags = a_run("cho2019", "T4: WRN-16-2, KD, Last generation").tags
    assert (tags["condition.generation"], tags["n_runs"], tags["row"]) == (
        5,
        5,
        "WRN16-2 KD last generation",
    )
    assert a_run("chandrasegaran2022", "TH.4: #5, ResNet-18, 0.1, T = 64").tags["n_runs"] == 3
