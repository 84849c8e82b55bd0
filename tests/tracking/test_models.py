"""Students as MLflow models: loaded by MLflow alone, in a process that knows nothing of them."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from kdtune import models
from kdtune.students import StudentCard, save_student
from kdtune.students.served import ServedStudent
from kdtune.tracking.location import artifact_folder
from kdtune.tracking.models import log_student

NAME = "finalist-1-seed-2"
SHAPE = (3, 8, 8)
CARD = StudentCard(
    model="resnet8x0.25",
    classes=5,
    class_names=tuple("abcde"),
    channels=SHAPE[0],
    size=SHAPE[1],
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.2),
    method="kd",
    metadata={"dataset": "folder:/pictures", "seed": 2, "test/accuracy": 0.75},
)
PREDICT = """
import json, os, sys
import mlflow, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
import kdtune
loaded = [m.__file__ for name, m in sys.modules.items() if name.partition(".")[0] == "kdtune"]
home = os.path.dirname(os.path.dirname(kdtune.__file__))
refused = []
for wrong in (np.zeros((1, 3, 9, 8), np.uint8), np.zeros((1, 3, 8, 8), np.float64)):
    try:
        model.predict(wrong)
    except mlflow.MlflowException as error:
        refused.append(str(error))
import kdtune.tracking.canonical  # the rest of kdtune is still there
print(json.dumps({
    "home": home,
    "own": all(file.startswith(home) for file in loaded),
    "ray": "ray" in sys.modules,
    "refused": refused,
    "answer": model.predict(np.load(sys.argv[2])).tolist(),
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = models.build("resnet8x0.25", classes=5, channels=SHAPE[0], size=SHAPE[1], seed=0)
    save_student(tmp_path / "student", network, CARD, program=False)
    return tmp_path / "student"


class Place:
    """A server or database with one run of one experiment."""

    def __init__(self, uri: str, name: str) -> None:
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri)
        self.experiment_id = self.client.create_experiment(name, artifact_folder(uri))
        self.run_id = self.client.create_run(self.experiment_id).info.run_id

    def log(self, folder: Path, register: str = "", client: Any = None) -> None:
        log_student(
            client or self.client,
            experiment_id=self.experiment_id,
            run_id=self.run_id,
            folder=folder,
            name=NAME,
            register=register,
        )

    def models(self) -> list[Any]:
        return list(self.client.search_logged_models([self.experiment_id]))

    def versions(self, name: str) -> list[Any]:
        return list(self.client.search_model_versions(f"name = '{name}'"))

    def outputs(self) -> list[str]:
        outputs = self.client.get_run(self.run_id).outputs
        return [output.model_id for output in outputs.model_outputs] if outputs else []


@pytest.fixture
def database(tracking_uri: str, request: pytest.FixtureRequest) -> Place:
    return Place(tracking_uri, request.node.name)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Place]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = f"server --host 127.0.0.1 --port {port} --workers 1"
    words += f" --backend-store-uri sqlite:///{tmp_path}/served.db"
    words += f" --artifacts-destination {tmp_path}/artifacts"
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words.split()],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        _await(f"{uri}/health")
        yield Place(uri, "served")
    finally:
        process.terminate()
        process.wait(30)


def _await(address: str) -> None:
    for _ in range(240):
        try:
            requests.get(address, timeout=5).raise_for_status()
            return
        except requests.exceptions.RequestException:
            time.sleep(0.25)
    pytest.fail("the server did not start")


def predicted(place: Place, model: str, tmp_path: Path) -> dict[str, Any]:
    """What a fresh process elsewhere says of ten images."""
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "images.npy", images())
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, model, str(tmp_path / "images.npy")],
        cwd=tmp_path / "elsewhere",
        env={"MLFLOW_TRACKING_URI": place.uri, "PATH": "", "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (10, *SHAPE)).astype(np.uint8)


def check_prediction(said: dict[str, Any], folder: Path) -> None:
    expected = ServedStudent(folder).predict(images())
    np.testing.assert_allclose(said["answer"], expected, rtol=1e-5)
    assert len(said["refused"]) == 2
    assert "Shape of input (1, 3, 9, 8) does not match" in said["refused"][0]
    assert not said["ray"]


def test_a_registered_student_predicts_in_a_fresh_process_with_the_code_it_came_with(
    database: Place, folder: Path, tmp_path: Path
) -> None:
    database.log(folder, register="best digits")
    said = predicted(database, "models:/best digits/1", tmp_path)
    check_prediction(said, folder)
    assert said["own"]
    assert said["home"] != str(Path(models.__file__).parents[2])


def test_a_model_is_shown_with_its_run_and_its_experiment(database: Place, folder: Path) -> None:
    database.log(folder)
    (model,) = database.models()
    assert (model.name, str(model.status)) == (NAME, "READY")
    assert model.source_run_id == database.run_id
    assert database.outputs() == [model.model_id]
    params = {"student": "resnet8x0.25", "method": "kd", "seed": "2", "test/accuracy": "0.75"}
    assert params.items() <= model.params.items()
    assert "mlflow.modelVersions" not in model.tags


def test_logging_it_again_makes_nothing_new(database: Place, folder: Path) -> None:
    database.log(folder)
    for _ in range(3):
        database.log(folder, register="twice")
    (model,) = database.models()
    (version,) = database.versions("twice")
    assert version.run_id == database.run_id
    assert database.outputs() == [model.model_id]
    named = json.loads(model.tags["mlflow.modelVersions"])
    assert [(each["name"], int(each["version"])) for each in named] == [("twice", 1)]


@pytest.mark.parametrize(
    "step",
    [
        *("create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs"),
        *("create_registered_model", "create_model_version", "set_logged_model_tags"),
    ],
)
@pytest.mark.parametrize("answered", [False, True])
def test_what_broke_off_is_completed_by_the_next_call(
    database: Place, folder: Path, step: str, answered: bool
) -> None:
    register = f"broken at {step} {answered}"

    class Breaking:
        """A client whose call fails, before it does anything or after it has done all."""

        def __getattr__(self, name: str) -> Any:
            real = getattr(database.client, name)

            def broken(*args: Any, **options: Any) -> None:
                if answered:
                    real(*args, **options)
                raise ConnectionError(step)

            return broken if name == step else real

    with pytest.raises(ConnectionError):
        database.log(folder, register=register, client=Breaking())
    database.log(folder, register=register)
    (model,) = database.models()
    assert str(model.status) == "READY"
    assert database.outputs() == [model.model_id]
    assert len(database.versions(register)) == 1
    assert len(json.loads(model.tags["mlflow.modelVersions"])) == 1


def test_another_search_becomes_the_next_version(tracking_uri: str, folder: Path) -> None:
    for version in (1, 2):
        Place(tracking_uri, f"search {version}").log(folder, register="rising")
    found = MlflowClient(tracking_uri=tracking_uri).search_model_versions("name = 'rising'")
    assert sorted(int(each.version) for each in found) == [1, 2]
    assert len({each.run_id for each in found}) == 2


def test_a_folder_without_a_student_is_told(database: Place, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no student in '.*'; expected student\.json"):
        database.log(tmp_path)
    assert not database.models()


def test_no_lock_file_of_the_working_directory_comes_along(
    database: Place, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "somebodys project"
    project.mkdir()
    for name in ("uv.lock", "pyproject.toml"):
        (project / name).write_text("")
    monkeypatch.chdir(project)
    database.log(folder)
    (model,) = database.models()
    written = {each.path for each in database.client.list_logged_model_artifacts(model.model_id)}
    assert {"MLmodel", "code", "data", "requirements.txt", "input_example.json"} <= written
    assert not written & {"uv.lock", "pyproject.toml"}


@pytest.mark.slow
def test_all_of_it_works_over_http(server: Place, folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        server.log(folder, register="served")
    (model,) = server.models()
    (version,) = server.versions("served")
    named = json.loads(model.tags["mlflow.modelVersions"])
    assert [(each["name"], str(each["version"])) for each in named] == [("served", "1")]
    assert version.run_id == server.run_id
    assert server.outputs() == [model.model_id]
    check_prediction(predicted(server, "models:/served/1", tmp_path), folder)
    with pytest.raises(MlflowException):
        server.log(folder, register="no/such:name")
