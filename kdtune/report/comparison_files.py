"""A comparison written to files: HTML, CSV, Parquet, JSON and LaTeX."""

import io
import json
from collections.abc import Callable, Mapping

from kdtune.compare.comparison import Comparison
from kdtune.report.comparison_data import comparison_document, comparison_frame
from kdtune.report.comparison_page import comparison_page
from kdtune.report.comparison_sheets import Sheet, Written, sheets

_COMMANDS = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"<": "$<$", ">": "$>$", "±": r"$\pm$", "→": r"$\to$", "\u2013": "--"},
    }
)
"""What LaTeX reads as commands, and what it writes by one."""


def as_html(comparison: Comparison, command: str) -> bytes:
    """See :func:`~kdtune.report.comparison_page.comparison_page`."""
    return comparison_page(comparison, command=command).encode()


def as_csv(comparison: Comparison, command: str) -> bytes:
    """One row a figure, numbers in full."""
    text: str = comparison_frame(comparison).to_csv(index=False, lineterminator="\n")
    return text.encode()


def as_parquet(comparison: Comparison, command: str) -> bytes:
    """The same rows with their types."""
    buffer = io.BytesIO()
    comparison_frame(comparison).to_parquet(buffer, index=False)
    return buffer.getvalue()


def as_json(comparison: Comparison, command: str) -> bytes:
    """The whole, nested; what is not known is null."""
    document = {**comparison_document(comparison), "command": command}
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def as_latex(comparison: Comparison, command: str) -> bytes:
    """Each table as one of booktabs; the best of a column is bold."""
    head = f"% {command}\n% needs \\usepackage{{booktabs}}\n" if command else ""
    return (head + "\n".join(map(_latex, sheets(comparison)))).encode()


FORMATS: Mapping[str, Callable[[Comparison, str], bytes]] = {
    "html": as_html,
    "csv": as_csv,
    "parquet": as_parquet,
    "latex": as_latex,
    "json": as_json,
}
"""Name of an option -> what its file holds."""


def _latex(sheet: Sheet) -> str:
    import pandas as pd

    frame = pd.DataFrame([[_cell(cell) for cell in row] for row in sheet.rows])
    strong = pd.DataFrame(
        [["bfseries:--rwrap" if cell.strong else "" for cell in row] for row in sheet.rows]
    )
    style = frame.style.hide(axis="index").apply(lambda _: strong, axis=None)
    style = style.relabel_index([_escaped(text) for text in sheet.headings], axis="columns")
    columns = range(len(sheet.headings))
    table = style.to_latex(
        hrules=True,
        column_format="".join("l" if column in sheet.left else "r" for column in columns),
        caption=_escaped(sheet.title),
        label=f"tab:{sheet.name}",
        position_float="centering",
    )
    return str(table) + "".join(f"% {note}\n" for note in sheet.notes)


def _cell(cell: Written) -> str:
    text = _escaped(cell.text)
    return f"{text}$^{{{cell.mark}}}$" if cell.mark else text


def _escaped(text: str) -> str:
    return text.translate(_COMMANDS)
