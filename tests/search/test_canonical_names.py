"""What a whole search leaves in MLflow: under one name, of one type, and as the docs say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from searching import of_kind, read, runs_in, search

from kdtune.config import decode, known_keys
from kdtune.search.space import load
from kdtune.tracking import canonical, default_tracking_uri

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs" / "mlflow.md"
NAME = "early-stopping"
WORDS = (
    *("cho2019", "--name", NAME, "--experiment", NAME, "--gpus-per-trial", "0"),
    *("--dataset", "digits", "--teacher", "resnet14x0.25", "--student", "resnet8x0.25"),
    *("--set", "teacher_epochs=1", "--set", "teacher.full_epochs=1", "--epochs", "3"),
    *("--skip", "eskd-at", "--skip", "at_kd-at", "--set", "data.train_limit=200"),
    *("--trials", "7", "--finalists", "1", "--finalist-seeds", "2", "--register", "digit reader"),
)
METHODS = set(load("cho2019").methods())


@pytest.fixture(scope="module")
def searched(storage: Path) -> Result:
    result = search(storage, *WORDS)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def client(searched: Result, storage: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=default_tracking_uri(storage))


@pytest.fixture(scope="module")
def runs(client: MlflowClient, storage: Path) -> list[Run]:
    return runs_in(storage, NAME)


@pytest.fixture(scope="module")
def parent(runs: list[Run]) -> Run:
    (found,) = of_kind(runs, "search").values()
    return found


def test_several_methods_are_logged(runs: list[Run]) -> None:
    found = {run.data.params.get("method") for run in runs}
    assert found <= {*METHODS, None}
    assert len(found) >= 4


def test_every_parameter_is_a_known_key(runs: list[Run]) -> None:
    for run in runs:
        own = run.data.params.get("method")
        known = {key for method in ([own] if own else METHODS) for key in known_keys(method)}
        unknown = set(run.data.params) - known
        assert all(key.startswith("search.") for key in unknown), (run.info.run_name, unknown)
        assert not unknown or run.data.tags["kind"] == "search"


def test_every_text_is_the_canonical_one_of_a_single_type(runs: list[Run]) -> None:
    types: dict[str, set[type]] = {}
    for run, key, text in texts(runs):
        own = run.data.params.get("method")
        method = own or next(each for each in METHODS if key in known_keys(each))
        value = decode({"method": method, key: text})[key]
        assert canonical(value) == text, (run.info.run_name, key)
        types.setdefault(key, set()).add(type(value))
    assert {key: kinds for key, kinds in types.items() if len(kinds) > 1} == {}
    assert types["temperature"] == types["alpha"] == types["train.lr"] == {float}
    assert types["train.epochs"] == {int}


def texts(runs: list[Run]) -> Iterator[tuple[Run, str, str]]:
    for run in runs:
        for key, text in run.data.params.items():
            if not key.startswith("search."):
                yield run, key, text


def test_every_metric_and_tag_is_documented(runs: list[Run]) -> None:
    metrics, tags = documented("metrics"), documented("tags")
    for run in runs:
        for name in run.data.metrics:
            assert metrics.fullmatch(name), f"docs/mlflow.md does not name the metric {name}"
        for name in run.data.tags:
            own = name.startswith("mlflow.")
            assert own or tags.fullmatch(name), f"docs/mlflow.md does not name the tag {name}"


def documented(kind: str) -> re.Pattern[str]:
    """All names in the rows of the docs' tables that are of metrics, or of tags.

    A row says what it is of in its first cell; ``<...>`` and ``*`` stand for anything.
    """
    names = set()
    for line in DOCS.read_text().splitlines():
        cells = re.split(r"(?<!\\)\|", line)
        if line.startswith("|") and len(cells) > 3:
            label = cells[1].strip().lower()
            of = next((each for each in ("tags", "param") if each in label), "metrics")
            names |= set(re.findall(r"`([^`]+)`", cells[2])) if of == kind else set()
    assert len(names) > 10
    return re.compile("|".join(re.sub(r"<.*?>|\\\*", ".+", re.escape(name)) for name in names))


# What people filter by


@pytest.fixture(scope="module")
def found(client: MlflowClient, parent: Run) -> Any:
    """The names of the runs that a filter finds; some that it should not find are there too."""
    experiment_id = parent.info.experiment_id
    for temperature, paper, accuracy in (("4", "cho2019x", 0.05), ("40.0", "park2020", 0.1)):
        near = client.create_run(experiment_id, run_name="near miss", tags={"paper": paper})
        client.log_batch(
            near.info.run_id,
            metrics=[Metric("test/accuracy", accuracy, 0, 0)],
            params=[Param("temperature", temperature)],
        )

    def find(wanted: str) -> set[str]:
        return {run.info.run_name for run in client.search_runs([experiment_id], wanted)}

    return find


def test_a_filter_by_parameter_finds_what_had_it(found: Any, storage: Path) -> None:
    rows = read(storage, NAME)
    expected = {f"trial {row['trial']}" for row in rows if row["temperature"] == 4}
    assert 0 < len(expected) < len(rows)
    assert found("params.temperature = '4.0' and tags.kind = 'trial'") == expected
    assert "near miss" not in found("params.temperature = '4.0'")


def test_a_filter_by_paper_finds_the_whole_search(found: Any, runs: list[Run]) -> None:
    assert found("tags.paper = 'cho2019'") == {run.info.run_name for run in runs}
    assert found("tags.source = 'measured'") == {run.info.run_name for run in runs}


def test_a_filter_by_metric_finds_what_reached_it(found: Any, runs: list[Run]) -> None:
    tested = of_kind(runs, "finalist", "baseline")
    scores = {name: run.data.metrics["test/accuracy"] for name, run in tested.items()}
    assert found('metrics."test/accuracy" >= 0') == {*scores, "near miss"}
    threshold = sorted(scores.values())[len(scores) // 2] - 1e-9
    expected = {name for name, score in scores.items() if score > threshold}
    near = {"near miss"} if threshold < 0.1 else set()
    assert found(f'metrics."test/accuracy" > {threshold}') == expected | near


# What is told of a search


def test_the_rungs_of_a_search_can_be_told_from_it(runs: list[Run], parent: Run) -> None:
    told = {key: parent.data.params[f"search.{key}"] for key in ("epochs", "grace_period")}
    assert told == {"epochs": "3", "grace_period": "1"}
    assert parent.data.params["search.reduction_factor"] == "3"
    assert parent.data.params["search.brackets"] == "1"
    for run in of_kind(runs, "trial").values():
        assert run.data.tags["rung"] == "1"
    for run in of_kind(runs, "teacher", "finalist", "baseline").values():
        assert "rung" not in run.data.tags


def test_the_costs_are_told(
    client: MlflowClient, runs: list[Run], parent: Run, storage: Path
) -> None:
    numbers, rows = parent.data.metrics, read(storage, NAME)
    assert numbers["search/epochs"] == sum(row["epoch"] for row in rows)
    cut = [row for row in rows if row["outcome"] == "cut"]
    assert numbers["search/epochs_saved"] == sum(3 - row["epoch"] for row in cut)
    assert numbers["search/teachers_trained"] == 1
    assert numbers["search/teachers_reused"] == 0
    spent = numbers["search/trial_hours"] + numbers["search/final_hours"]
    assert 0 < spent + numbers["search/teacher_hours"] < 2 * numbers["search/hours"]
    for kind in ("trial", "teacher"):
        points = [
            point.value
            for run in of_kind(runs, kind).values()
            for point in client.get_metric_history(run.info.run_id, "time/epoch_s")
        ]
        assert numbers[f"search/{kind}_hours"] == pytest.approx(sum(points) / 3600)


def test_the_machine_is_told(client: MlflowClient, parent: Run) -> None:
    points = client.get_metric_history(parent.info.run_id, "system/cpu_utilization_percentage")
    assert [point.step for point in points] == list(range(len(points)))
    assert points


def test_every_run_names_its_data(client: MlflowClient, runs: list[Run]) -> None:
    seen: dict[str, set[str]] = {}
    for run in runs:
        used = client.get_run(run.info.run_id).inputs.dataset_inputs
        contexts = {use.tags[0].value: use.dataset.digest for use in used}
        tested = run.data.tags["kind"] in ("search", "finalist", "baseline")
        assert set(contexts) == {"train", "val", "test"} - (set() if tested else {"test"})
        assert {use.dataset.name for use in used} == {"digits"}
        profiles = {use.tags[0].value: json.loads(use.dataset.profile) for use in used}
        assert profiles["train"]["train_limit"] == profiles["val"]["train_limit"] == 200
        for context, digest in contexts.items():
            seen.setdefault(context, set()).add(digest)
    assert [len(digests) for digests in seen.values()] == [1, 1, 1]


def test_the_finalists_are_models_and_the_best_is_registered(
    client: MlflowClient, runs: list[Run], searched: Result
) -> None:
    finalists = of_kind(runs, "finalist")
    models = client.search_logged_models([next(iter(runs)).info.experiment_id])
    assert {(model.name, model.source_run_id) for model in models} == {
        (f"finalist-1-seed-{seed}", finalists[f"finalist 1, seed {seed}"].info.run_id)
        for seed in (1, 2)
    }
    assert {str(model.status) for model in models} == {"READY"}
    (version,) = client.search_model_versions("name = 'digit reader'")
    assert version.run_id == finalists["finalist 1, seed 1"].info.run_id
    assert "models:/digit reader/latest" in searched.output
