"""A saved student in the format that somebody asks for."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from kdtune.registry import nearest
from kdtune.students.artefact import PROGRAM, load_student
from kdtune.students.card import StudentCard
from kdtune.students.onnx_file import export_onnx
from kdtune.students.program import export_program

CARD_KEY = "kdtune.student"
"""Where the custom metadata of an ONNX file holds the card."""


def export_student(folder: Path, *, format: str = "onnx", file: Path | None = None) -> Path:
    """Export a saved student; the command ``kdtune export`` is this function.

    Args:
        folder: Where :func:`~kdtune.students.save_student` put it.
        format: Out of ``FORMATS``.
        file: To write; by default in the same folder, under the format's own name.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: If the folder holds no student.
        ValueError: If the format is unknown, the student is damaged, a package is missing, or the
            network cannot be exported.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format '{format}'{nearest(format, FORMATS)}")
    name, write = FORMATS[format]
    model, card = load_student(folder)
    target = folder / name if file is None else file
    target.parent.mkdir(parents=True, exist_ok=True)
    return write(model, card, target)


def _write_onnx(model: nn.Module, card: StudentCard, file: Path) -> Path:
    metadata = {CARD_KEY: card.model_dump_json()}
    return export_onnx(model, file, channels=card.channels, size=card.size, metadata=metadata)


def _write_program(model: nn.Module, card: StudentCard, file: Path) -> Path:
    return export_program(model, file, channels=card.channels, size=card.size)


FORMATS: Mapping[str, tuple[str, Callable[[nn.Module, StudentCard, Path], Path]]] = {
    "onnx": ("student.onnx", _write_onnx),
    "pt2": (PROGRAM, _write_program),
}
"""By name: the file's usual name and what writes it."""
