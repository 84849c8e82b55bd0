"""What was measured of runs, kept by content: the same question is never computed twice."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from kdtune.analysis import Analysis, Measured
from kdtune.analysis.base import ANALYSES
from kdtune.compare.measured import OF_THE_MACHINE
from kdtune.replacing import replace_file
from kdtune.search.finished_runs import FinishedRun
from kdtune.students.artefact import WEIGHTS
from kdtune.training.data import load_trial_data
from kdtune.training.teacher import STORED, split_digest

FOLDER = "analysis-cache"
FORMAT = 2
METRICS = "analysis/"
"""What the names of all metrics begin with that analyses log."""

_SUM_BYTES = 32


def name_of(analysis: Analysis) -> str:
    """What an analysis is registered as."""
    return next(name for name in ANALYSES.names() if ANALYSES.get(name) is type(analysis))


def content_key(
    analysis: Analysis, run: FinishedRun, peers: Sequence[FinishedRun], device_type: str
) -> str:
    """Names everything that the measure depends on; 32 hexadecimal digits.

    Args:
        analysis: With its options.
        run: What is measured.
        peers: What it is measured beside; empty unless the analysis takes them.
        device_type: ``cpu`` or ``cuda``: the last bits depend on it.
    """
    content = {
        "format": FORMAT,
        "analysis": name_of(analysis),
        "version": analysis.version,
        "options": analysis.model_dump(mode="json"),
        "run": _identity(run),
        "peers": [_identity(peer) for peer in peers],
        "device": device_type,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _identity(run: FinishedRun) -> dict[str, object]:
    data = load_trial_data(run.config)
    weights = (run.student / WEIGHTS).read_bytes()
    settings = {k: v for k, v in run.config.flat().items() if k not in OF_THE_MACHINE}
    return {
        "student": hashlib.sha256(weights).hexdigest(),
        "teacher": _teacher_file(run),
        "settings": settings,
        "data": data.fingerprint,
        "split": split_digest(data),
        "history": {name: len(run.record.history[name]) for name in _of_training(run)},
    }


def _teacher_file(run: FinishedRun) -> str:
    """The sum of a teacher's own file, which its name does not tell; empty for one of the store."""
    teacher = run.config.teacher
    if teacher is None or not teacher.weights or teacher.weights.startswith(STORED):
        return ""
    return hashlib.sha256(Path(teacher.weights).read_bytes()).hexdigest()


def _of_training(run: FinishedRun) -> list[str]:
    """What the run logged itself, which stays as it is: an analysis adds metrics of its own."""
    return sorted(name for name in run.record.history if not name.startswith(METRICS))


class KeptMeasures:
    """Measures as files, one each: numbers and arrays, and a sum over both.

    Args:
        storage: Folder of all results.
    """

    def __init__(self, storage: Path) -> None:
        self._folder = storage / FOLDER

    def get(self, key: str) -> Measured | None:
        """What was kept; None if nothing was, or it is damaged and has to be computed again."""
        try:
            content = self._file(key).read_bytes()
            body, check = content[:-_SUM_BYTES], content[-_SUM_BYTES:]
            if hashlib.sha256(body).digest() != check:
                return None
            size = int.from_bytes(body[:8], "little")
            numbers = json.loads(body[8 : 8 + size])
            with np.load(io.BytesIO(body[8 + size :]), allow_pickle=False) as arrays:
                return Measured(numbers=numbers, arrays=dict(arrays))
        except (OSError, ValueError, BadZipFile):
            return None

    def put(self, key: str, measured: Measured) -> None:
        """Keep a measure.

        Raises:
            OSError: If it cannot be written.
        """
        numbers = json.dumps(dict(measured.numbers)).encode()
        arrays = io.BytesIO()
        np.savez(arrays, allow_pickle=False, **measured.arrays)
        body = len(numbers).to_bytes(8, "little") + numbers + arrays.getvalue()
        replace_file(self._file(key), body + hashlib.sha256(body).digest())

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.measure"
