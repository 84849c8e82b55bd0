"""Runs become results: one a configuration, over its seeds."""

import math

import pytest
from made_results import run

from kdtune.compare import measured_results
from kdtune.compare.measured import higher_is_better, short_name, typed


def test_seeds_of_one_configuration_are_one_result() -> None:
    runs = [run(seed=str(s), accuracy=a, started=s) for s, a in ((1, 0.90), (2, 0.92), (3, 0.97))]
    (found,) = measured_results(runs)
    # Mean 2.79 / 3; squared deviations 0.0009, 0.0001 and 0.0016 over n - 1 = 2.
    assert found.mean == pytest.approx(0.93)
    assert found.std == pytest.approx(math.sqrt(0.0026 / 2))
    assert (found.n, found.values) == (3, {1: 0.90, 2: 0.92, 3: 0.97})
    assert found.settings["dataset"] == "cifar10"
    assert found.settings["temperature"] == 4.0
    assert "seed" not in found.settings
    assert found.run_ids == ("id-1", "id-2", "id-3")
    assert found.selection == "validation"


def test_where_a_run_was_made_does_not_separate_configurations() -> None:
    here = run(seed="1", accuracy=0.9, train__threads="1", teacher__store="/a", data__root="/b")
    there = run(seed="2", accuracy=0.9, train__threads="8", train__device="cuda", started=1)
    assert len(measured_results([here, there])) == 1


def test_any_other_setting_does() -> None:
    runs = [run(accuracy=0.9), run(accuracy=0.9, temperature="2.0", started=1)]
    assert [result.n for result in measured_results(runs)] == [1, 1]


def test_what_a_schedule_does_not_read_makes_no_difference() -> None:
    cosine = [
        run(seed=str(s), accuracy=0.9, train__schedule="cosine", train__milestones=m)
        for s, m in ((1, "0.5"), (2, "0.7"))
    ]
    step = [
        run(seed=str(s), accuracy=0.9, train__schedule="step", train__milestones=m)
        for s, m in ((1, "0.5"), (2, "0.7"))
    ]
    assert [result.n for result in measured_results(cosine)] == [2]
    assert [result.n for result in measured_results(step)] == [1, 1]


def test_trials_teachers_and_imported_figures_are_not_counted() -> None:
    others = [
        run(kind=kind, accuracy=0.5, started=i) for i, kind in enumerate(("trial", "teacher"))
    ]
    imported = run(accuracy=0.5, tags={"source": "reported"}, seed="9")
    (found,) = measured_results([*others, imported, run(accuracy=0.9, started=5)])
    assert found.values == {1: 0.9}


def test_one_run_has_no_deviation() -> None:
    (found,) = measured_results([run(accuracy=0.9)])
    assert (found.n, found.std) == (1, None)


def test_a_seed_that_was_run_twice_counts_once_with_its_latest_value() -> None:
    runs = [run(accuracy=0.95, started=9), run(accuracy=0.5, started=1)]
    (found,) = measured_results(runs)
    assert (found.values, found.n) == ({1: 0.95}, 1)
    assert "repeat a seed" in found.note


def test_a_diverged_run_counts_and_a_failed_one_is_told() -> None:
    runs = [
        run(seed="1", accuracy=0.9),
        run(seed="2", accuracy=0.1, outcome="diverged", started=1),
        run(seed="3", outcome="failed", started=2),
    ]
    (found,) = measured_results(runs)
    assert found.mean == pytest.approx(0.5)
    assert found.outcomes == {"finished": 1, "diverged": 1, "failed": 1}


def test_a_configuration_of_which_all_runs_failed_is_not_lost() -> None:
    worked = run(accuracy=0.9)
    failed = run(outcome="failed", temperature="64.0", started=1)
    _, found = measured_results([worked, failed])
    assert found.n == 0
    assert math.isnan(found.mean)
    assert found.outcomes == {"failed": 1}


def test_a_kind_that_never_has_the_metric_is_passed_over() -> None:
    chain = run(kind="sequence", outcome="failed", started=1, chain="a,b")
    assert len(measured_results([run(accuracy=0.9), chain])) == 1


def test_validation_is_known_only_if_all_runs_have_it_and_none_was_trained_on_it() -> None:
    runs = [run(accuracy=0.9, val=0.8), run(accuracy=0.9, val=0.9, seed="2", started=1)]
    assert measured_results(runs)[0].validation == pytest.approx(0.85)
    assert measured_results([*runs, run(accuracy=0.9, seed="3", started=2)])[0].validation is None
    trained_on = run(accuracy=0.9, val=0.99, train__on="train+val")
    assert measured_results([trained_on])[0].validation is None


def test_nobody_chose_among_the_cells_of_a_reproduced_table() -> None:
    (found,) = measured_results([run(kind="reproduction", accuracy=0.9)])
    assert found.selection == ""


def test_keys_that_kdtune_does_not_know_stay_texts() -> None:
    texts = {"method": "kd", "temperature": "4.0", "of.an.older.version": "7"}
    assert typed(texts) == {"method": "kd", "temperature": 4.0, "of.an.older.version": "7"}


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("cifar10", "cifar10"),
        ("parquet:/data/cifar10", "cifar10"),
        ("folder:data/flowers/", "flowers"),
    ],
)
def test_a_dataset_is_called_by_what_it_is(dataset: str, name: str) -> None:
    assert short_name(dataset) == name


@pytest.mark.parametrize(
    ("metric", "better"),
    [("test/accuracy", True), ("test/loss", False), ("student/latency_ms", False), ("lr", None)],
)
def test_the_name_of_a_metric_says_which_way_is_better(metric: str, better: bool | None) -> None:
    assert higher_is_better(metric) is better
