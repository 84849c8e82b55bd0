"""Finished students as artefacts: a folder that loads again, and programs for other runtimes.

``student.safetensors`` (plain weights, masks made permanent) and ``student.json`` (the card) are
the student; ``student.pt2`` (``torch.export``) and ONNX files run where kdtune is not installed.
"""

from kdtune.students.artefact import StudentError, load_student, save_student
from kdtune.students.card import StudentCard
from kdtune.students.delivery import FORMATS, export_student
from kdtune.students.onnx_file import export_onnx
from kdtune.students.program import export_program

__all__ = [
    "FORMATS",
    "StudentCard",
    "StudentError",
    "export_onnx",
    "export_program",
    "export_student",
    "load_student",
    "save_student",
]
