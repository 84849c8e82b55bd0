"""``kdtune compare`` on a real MLflow database."""

import json
import re
from pathlib import Path

import pytest
from click.testing import Result
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.tracking import default_tracking_uri

RUNS = {
    "scratch": {"test/accuracy": 0.87, "test/top5": 0.99},
    "kd": {"test/accuracy": 0.89, "test/top5": 0.99, "val/accuracy": 0.9},
    "at": {"test/accuracy": 0.86, "test/top5": 0.98},
}
"""Of three seeds each, a little apart; on networks of which sarfraz2020 prints figures."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    client = MlflowClient(tracking_uri=default_tracking_uri(folder))
    for name, dataset in (("on cifar10", "parquet:/x/cifar10"), ("on digits", "digits")):
        experiment = client.create_experiment(name)
        for method, scores in RUNS.items():
            for seed in (1, 2, 3):
                _log(client, experiment, method=method, dataset=dataset, seed=seed, scores=scores)
    client.create_experiment("empty")
    return folder


def _log(
    client: MlflowClient,
    experiment: str,
    *,
    method: str,
    dataset: str,
    seed: int,
    scores: dict[str, float],
) -> None:
    params = {"dataset": dataset, "student": "resnet8", "method": method, "seed": str(seed)}
    params |= {} if method == "scratch" else {"teacher": "resnet26"}
    params |= {"train.epochs": "12", "augment": "standard"}
    tags = {"kind": "finalist", "outcome": "finished", "source": "measured", "arm": method}
    run_id = client.create_run(experiment).info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(key, value + seed / 1000, 0, 0) for key, value in scores.items()],
        params=[Param(key, value) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )


def _run(*words: str) -> Result:
    wide = {"COLUMNS": "120", "TERMINAL_WIDTH": "120", "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["compare", *words], env=wide)


def _output(*words: str) -> str:
    result = _run(*words)
    assert result.exit_code == 0, result.output
    return re.sub(r"\x1b\[[0-9;]*m", "", result.output)


def test_all_experiments_are_compared_with_all_papers(storage: Path) -> None:
    text = _output("--storage", str(storage))
    assert "cifar10, resnet26 → resnet8" in text
    assert "digits, resnet26 → resnet8" in text
    assert re.search(r"kd .*89\.20 ± 0\.10 \(3\).*88\.80 ± 0\.16 \(5\)\s+sarfraz2020 T3", text)
    assert "epochs 12 here, 200 printed" in text


def test_an_experiment_can_be_named(storage: Path) -> None:
    text = _output("on digits", "--storage", str(storage))
    assert "cifar10" not in text
    assert "No paper prints a figure for these cells." in " ".join(text.split())


def test_a_paper_without_a_database_is_shown_alone(tmp_path: Path) -> None:
    text = _output("--paper", "cho2019:T8", "--storage", str(tmp_path))
    assert "Printed: test accuracy %" in text
    assert not list(tmp_path.iterdir())


def test_a_paper_restricts_what_is_compared_to_its_networks_and_data(storage: Path) -> None:
    text = _output("--paper", "sarfraz2020:T3", "--storage", str(storage))
    assert "digits" not in text
    assert "84 figures of sarfraz2020:T3 are of other networks or data" in text
    assert "Printed: test accuracy" in _output("--paper", "wang2020", "--storage", str(storage))


def test_another_metric_and_reference(storage: Path) -> None:
    options = ("on digits", "--storage", str(storage), "--metric", "test/top5", "--against", "kd")
    text = _output(*options)
    assert "Measured: test top5 %" in text
    assert "Against kd" in text


def test_one_format_can_go_to_the_standard_output(storage: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = _run("--storage", str(storage), "--json", "-", "--html", str(page))
    assert {test["row"][0] for test in json.loads(result.stdout)["tests"]} == {"kd", "at"}
    assert str(page) in result.stderr
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["on digit"], "unknown experiment 'on digit'; did you mean 'on digits'?"),
        (["empty"], "no run is of kind finalist, baseline"),
        (["--metric", "test/acuracy"], "no run has the metric 'test/acuracy'; did you mean"),
        (["--by", "metod"], "no result has a setting 'metod'; did you mean 'method'?"),
        (["--by", "method,student"], "'student' makes the columns"),
        (["--paper", "wang2019"], "unknown paper 'wang2019'; did you mean 'wang2020'?"),
        (["--paper", "wang2020:T9"], "unknown table 'T9' of wang2020"),
        (["--paper", "park2020", "--metric", "test/top5"], "park2020 prints no 'test/top5'"),
        (["--against", "kx"], "nothing measured has method 'kx'"),
        (["--json", "-", "--csv", "-"], "only one format"),
        (["--by", "method,"], "--by takes settings with commas between them, got 'method,'"),
        (["--html", "no such folder/page.html"], "no folder to write"),
        (["--html", "/tmp"], "'/tmp' is a folder; add a file's name"),
        (["--html", ""], "'' is a folder; add a file's name"),
        (["--storage", "elsewhere"], "no results in 'elsewhere'"),
        (["--storage", "elsewhere", "--paper", "wang2020", "on digits"], "no results in"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    storage: Path, words: list[str], message: str
) -> None:
    result = _run("--storage", str(storage), *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
