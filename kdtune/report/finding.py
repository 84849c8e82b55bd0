"""What an analysis of finished runs found, as it lies beside the results of their search."""

import csv
import io
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from kdtune.contracts import Scalar
from kdtune.replacing import replace_file
from kdtune.report import settings
from kdtune.settings import Settings

FOLDER, FILE = "analysis", "finding.json"
"""``<search>/analysis/<analysis>/<digest>/finding.json``, the figures beside it."""


MEAN, STD = ", mean", ", std"
"""What the heads of a mean and of its sample standard deviation end with."""


class FoundTable(Settings):
    """See :class:`kdtune.analysis.Table`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    notes: tuple[str, ...] = ()

    def shown(self) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as a person reads them.

        A column ``H, std`` joins the one before it, ``H`` or ``H, mean``: ``81.06 ± 1.97``.
        """
        kept = self.sources()
        heads = [
            f"{self.columns[place].removesuffix(MEAN)} ± std"
            if self._is_std(place + 1)
            else self.columns[place]
            for place in kept
        ]
        rows = [
            [
                _with_spread(row[place], row[place + 1])
                if self._is_std(place + 1)
                else settings.shown(row[place])
                for place in kept
            ]
            for row in self.rows
        ]
        return heads, rows

    def sources(self) -> list[int]:
        """Of each shown column its place in ``columns``, of a joined one that of the mean."""
        return [place for place in range(len(self.columns)) if not self._is_std(place)]

    def csv(self) -> str:
        """Heads and rows, numbers in full."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.columns, *self.rows])
        return text.getvalue()

    def _is_std(self, place: int) -> bool:
        return 0 < place < len(self.columns) and self.columns[place].endswith(STD)


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


def _with_spread(mean: Scalar, std: Scalar) -> str:
    text = settings.shown(mean)
    return text if std is None else f"{text} ± {settings.shown(std)}"


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
