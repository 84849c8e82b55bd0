"""Whole searches for several objectives."""

from pathlib import Path

import pytest
from click.testing import Result
from mlflow import MlflowClient
from searching import SMALL, named, of_kind, read, runs_in, search

from kdtune.tracking import default_tracking_uri

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def fronted(storage: Path) -> Result:
    """A search for accuracy and few parameters."""
    words = ("--objective", "val/accuracy:max", "--objective", "params:min", "--sampler", "nsga2")
    size = ("--trials", "6", "--epochs", "1", "--finalists", "2", "--finalist-seeds", "1")
    return search(storage, *named("front"), *words, *size, *SMALL)


def test_several_objectives_yield_a_front(fronted: Result, storage: Path) -> None:
    assert fronted.exit_code == 0, fronted.output
    rows = read(storage, "front", "pareto")
    assert len(rows) == 6
    assert {row["outcome"] for row in rows} == {"finished"}
    costs = {row["trial"]: (-row["val/accuracy"], row["student/params"]) for row in rows}
    for row in rows:
        one = costs[row["trial"]]
        beaten = [c for c in costs.values() if c != one and c[0] <= one[0] and c[1] <= one[1]]
        assert row["pareto"] == (not beaten)
    front = [row["trial"] for row in rows if row["pareto"]]
    assert [row["trial"] for row in rows[: len(front)]] == front
    assert f"Pareto front (*): {len(front)} of 6 trials" in fronted.output
    folder = storage / "front"
    assert all((folder / f"pareto.{kind}").stat().st_size for kind in ("csv", "png", "svg"))
    assert not (folder / "leaderboard.csv").exists()


def test_the_finalists_of_a_front_show_what_else_was_sought(fronted: Result, storage: Path) -> None:
    front = [row for row in read(storage, "front", "pareto") if row["pareto"]]
    finals = {row["arm"]: row for row in read(storage, "front", "finalists")}
    taken = front[:1] if len(front) == 1 else [front[0], front[-1]]
    for rank, row in enumerate(taken, start=1):
        final = finals[f"finalist {rank}"]
        assert (final["alpha"], final["prune_ratio"]) == (row["alpha"], row["prune_ratio"])
        assert final["student/params"] == row["student/params"]
    assert "parameters" in fronted.output


def test_mlflow_marks_the_front(fronted: Result, storage: Path) -> None:
    runs = runs_in(storage, "front")
    front = {f"trial {row['trial']}" for row in read(storage, "front", "pareto") if row["pareto"]}
    tagged = {run.info.run_name for run in runs if run.data.tags.get("pareto") == "true"}
    assert tagged == front
    (parent,) = of_kind(runs, "search").values()
    assert parent.data.params["search.objectives"] == "val/accuracy:max, student/params:min"
    assert parent.data.metrics["search/front"] == len(front)
    assert {"search/best_val_accuracy", "search/best_student_params"} <= set(parent.data.metrics)
    client = MlflowClient(tracking_uri=default_tracking_uri(storage))
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"pareto.csv", "pareto.png", "pareto.svg", "report.html"}
