"""What an analysis of finished runs found, as it lies beside the results of their search."""

import csv
import io
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from kdtune.contracts import Scalar
from kdtune.replacing import replace_file
from kdtune.settings import Settings

FOLDER, FILE = "analysis", "finding.json"
"""``<search>/analysis/<analysis>/<digest>/finding.json``, the figures beside it."""


class FoundTable(Settings):
    """See :class:`kdtune.analysis.Table`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    notes: tuple[str, ...] = ()

    def csv(self) -> str:
        """Heads and rows, numbers in full."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.columns, *self.rows])
        return text.getvalue()


class Finding(Settings):
    """One analysis of some runs.

    Attributes:
        format: Raised when the meaning of the file changes.
        analysis: Its name.
        summary: What it is, in a line.
        source: Where it is from.
        options: All of its options.
        runs: Labels of what was analysed, in order.
        tables: The first is the main one.
        figures: Names of the pictures, each there as ``.png`` and ``.svg``.
        numbers: Label -> the metrics of that run, without ``analysis/<analysis>/``.
        command: What was typed.
        versions: Of kdtune and what it computes with.
    """

    format: Literal[1] = 1
    analysis: str
    summary: str
    source: str
    options: dict[str, Scalar]
    runs: tuple[str, ...]
    tables: tuple[FoundTable, ...]
    figures: tuple[str, ...]
    numbers: dict[str, dict[str, float]]
    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """``finding.json``, and each table as CSV."""
        for place, table in enumerate(self.tables, start=1):
            replace_file(folder / f"table_{place}.csv", table.csv().encode())
        replace_file(folder / FILE, f"{self.model_dump_json(indent=2)}\n".encode())


def read_findings(search: Path) -> list[tuple[Finding, Path]]:
    """All findings beside a search's results with their folders, by name, the latest last.

    One that cannot be read is passed over: an analysis is quickly made again.
    """
    found = []
    for file in sorted(search.glob(f"{FOLDER}/*/*/{FILE}"), key=lambda file: file.stat().st_mtime):
        try:
            found.append((Finding.model_validate_json(file.read_bytes()), file.parent))
        except (OSError, ValidationError):
            continue
    return sorted(found, key=lambda each: each[0].analysis)
