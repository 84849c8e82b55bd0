"""One real SQLite store for all tests here: its first creation takes seconds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from kdtune.tracking import MLflowSink, default_tracking_uri

TIMEOUT_S = 60.0


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return default_tracking_uri(tmp_path_factory.mktemp("störe with space"))


@pytest.fixture
def make_sink(
    tracking_uri: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., MLflowSink]]:
    """Sinks into an experiment of the test's own; closed afterwards."""
    made: list[MLflowSink] = []

    def make(**options: object) -> MLflowSink:
        settings: dict[str, object] = {
            "tracking_uri": tracking_uri,
            "experiment": request.node.name,
            "run_name": "search",
            "source": tmp_path,
        }
        made.append(MLflowSink(**{**settings, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for sink in made:
        sink.close(TIMEOUT_S)


@pytest.fixture
def runs_of(tracking_uri: str, request: pytest.FixtureRequest) -> Callable[[], dict[str, Run]]:
    """Runs of the test's experiment, by name; two of one name are an error."""

    def read() -> dict[str, Run]:
        client = MlflowClient(tracking_uri=tracking_uri)
        experiment = client.get_experiment_by_name(request.node.name)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        names = [run.info.run_name for run in runs]
        assert len(names) == len(set(names)), names
        return dict(zip(names, runs, strict=True))

    return read


@pytest.fixture
def history(tracking_uri: str) -> Callable[[Run, str], list[tuple[int, float]]]:
    """Steps and values of one metric of a run."""

    def read(run: Run, metric: str) -> list[tuple[int, float]]:
        client = MlflowClient(tracking_uri=tracking_uri)
        points = client.get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value) for point in points]

    return read
