"""Saved students as MLflow models: shown with their run, registered on request, served by MLflow.

A model carries its weights as safetensors and the few parts of kdtune that rebuild the network, so
it loads wherever its pinned requirements are installed. kdtune is on no package index, and a bare
requirement of that name would let anybody's package of the same name in.
"""

import json
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

import kdtune
from kdtune.tracking.canonical import canonical_params

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

LOADER = "kdtune.students.served"
CARD = "student.json"
REQUIRED = ("torch", "torchvision", "torch-pruning", "safetensors", "pydantic", "numpy")
"""What the code below imports; pinned to the versions at hand."""

CODE = (
    *("contracts.py", "discovery.py", "multiply_adds.py", "registry.py", "replacing.py"),
    *("seeds.py", "settings.py", "models/**/*.py", "pruning/*.py", "students/*.py"),
)
"""The parts of kdtune that a model carries: in one archive, as each file costs a server a call."""

OF_ANOTHER_PROJECT = ("uv.lock", "pyproject.toml", ".python-version")
"""What MLflow copies into a model from a working directory that is a project of uv."""

PARTS = "parts.zip"
FIND_PARTS = f"""
import pathlib
import pkgutil

# The parts that a student needs are in the archive; an installed kdtune, if there is one, has all.
__path__ = pkgutil.extend_path([str(pathlib.Path(__file__).with_name("{PARTS}"))], __name__)
"""


def log_student(
    client: "MlflowClient",
    *,
    experiment_id: str,
    run_id: str,
    folder: Path,
    name: str,
    register: str = "",
) -> bool:
    """Log a saved student as a model of its run; what is there already is not made again.

    Args:
        client: Of the server or database; MLflow's global URI is neither read nor set.
        experiment_id: Of the run.
        run_id: That trained the student.
        folder: Of the student, see :func:`kdtune.students.save_student`.
        name: Of the model within the run; without ``/ : . % " '``.
        register: Name in the model registry under which this becomes the next version; empty for
            none.

    Returns:
        Whether anything was missing.

    Raises:
        FileNotFoundError: If the folder holds no student.
        Exception: Whatever MLflow or the network raised; calling again goes on from there.
    """
    card = _card(folder)
    model = _find(client, experiment_id, run_id, name)
    if model is None:
        model = client.create_logged_model(
            experiment_id,
            name=name,
            source_run_id=run_id,
            params=canonical_params(_params(card)),
            model_type="student",
        )
    missing = str(model.status) != "READY"
    if missing:
        with tempfile.TemporaryDirectory() as draft:
            _write(Path(draft), folder, card, model)
            client.log_model_artifacts(model.model_id, str(Path(draft) / "model"))
        client.finalize_logged_model(model.model_id, "READY")
    missing |= _link(client, run_id, model.model_id)
    if register:
        missing |= _register(client, model, run_id, register)
    return missing


def _card(folder: Path) -> dict[str, Any]:
    file = folder / CARD
    if not file.is_file():
        raise FileNotFoundError(f"no student in '{folder}'; expected {CARD} there")
    card: dict[str, Any] = json.loads(file.read_bytes())
    return card


def _params(card: dict[str, Any]) -> dict[str, Any]:
    """What the list of models shows: the network, how it came to be, how good it is."""
    return {"student": card["model"], "method": card["method"], **card["metadata"]}


def _find(
    client: "MlflowClient", experiment_id: str, run_id: str, name: str
) -> "LoggedModel | None":
    found: Sequence[LoggedModel] = client.search_logged_models(
        [experiment_id], filter_string=f"source_run_id = '{run_id}' and name = '{name}'"
    )
    return found[0] if found else None


def _write(draft: Path, folder: Path, card: dict[str, Any], model: "LoggedModel") -> None:
    """The model as MLflow's files, in ``draft / "model"``."""
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    channels, size = card["channels"], card["size"]
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, channels, size, size))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, card["classes"]))]),
    )
    mean = np.array(card["mean"])[:, None, None] * 255
    mlflow.pyfunc.save_model(
        str(draft / "model"),
        loader_module=LOADER,
        data_path=str(folder),
        code_paths=[str(_code(draft))],
        mlflow_model=Model(
            artifact_path=model.artifact_location,
            model_uuid=model.model_id,
            model_id=model.model_id,
            run_id=model.source_run_id,
        ),
        signature=signature,
        input_example=np.broadcast_to(mean, (1, channels, size, size)).round().astype(np.uint8),
        pip_requirements=[f"{name}=={_public_version(name)}" for name in REQUIRED],
        metadata={"kdtune": kdtune.__version__, "class_names": card["class_names"]},
    )
    for name in OF_ANOTHER_PROJECT:
        (draft / "model" / name).unlink(missing_ok=True)


def _code(draft: Path) -> Path:
    """A package ``kdtune`` of those parts that a model needs."""
    source, package = Path(kdtune.__file__).parent, draft / "kdtune"
    package.mkdir()
    (package / "__init__.py").write_text((source / "__init__.py").read_text() + FIND_PARTS)
    with ZipFile(package / PARTS, "w", ZIP_DEFLATED) as archive:
        for pattern in CODE:
            for file in source.glob(pattern):
                archive.write(file, file.relative_to(source))
    return package


def _public_version(package: str) -> str:
    """Without the local part, as in ``2.9.0+cpu``, which no index serves."""
    return metadata.version(package).partition("+")[0]


def _link(client: "MlflowClient", run_id: str, model_id: str) -> bool:
    """Name the model among the outputs of its run, which is where the UI looks."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    missing = model_id not in {each.model_id for each in (outputs.model_outputs if outputs else ())}
    if missing:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    return missing


def _register(client: "MlflowClient", model: "LoggedModel", run_id: str, register: str) -> bool:
    """Make the model a version of a registered one, and name that version at the model."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    try:
        client.create_registered_model(register)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = model.artifact_location
    of_run = client.search_model_versions(f"name = '{register}' and run_id = '{run_id}'")
    version = next((each for each in of_run if each.source == source), None)
    if version is None:
        # The usual source, 'models:/<id>', would be looked up at MLflow's global tracking URI.
        version = client.create_model_version(
            register, source, run_id=run_id, model_id=model.model_id
        )
    known = json.loads(
        client.get_logged_model(model.model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]")
    )
    missing = all(
        (each["name"], str(each["version"])) != (register, str(version.version)) for each in known
    )
    if missing:
        known.append({"name": register, "version": version.version})
        client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(known)})
    return missing
