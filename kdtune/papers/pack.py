"""``python -m kdtune.papers.pack FOLDER``: the packaged data made from what was collected.

``FOLDER`` holds ``reported/<paper>.csv``, one figure a row, and ``protocols.json``.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdtune.papers.figure import Figure
from kdtune.papers.figures import PROTOCOLS, REPORTED
from kdtune.papers.paper import PAPERS
from kdtune.papers.schema import CONDITIONS, SCHEMA, split_condition, typed

COLUMNS = (
    *("paper", "table", "row_label", "dataset", "teacher", "student", "method", "condition"),
    *("metric", "value", "std", "n_runs", "higher_is_better", "note"),
)
"""Of a collected row, all texts; empty is unknown."""
_BOOLEANS = {"true": True, "false": False, "": None}


def collected(folder: Path) -> Iterator[dict[str, str]]:
    """All rows under ``folder/reported``, paper by paper, in the order of their files.

    Raises:
        ValueError: If a file has other columns.
        OSError: If a file cannot be read.
    """
    for paper in PAPERS:
        path = folder / "reported" / f"{paper}.csv"
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"'{path}' must have the columns {', '.join(COLUMNS)}")
            yield from reader


def packed(rows: Iterable[Mapping[str, str]]) -> Any:
    """The Arrow table of collected rows.

    Raises:
        ValueError: If a value is not what its column holds.
    """
    return pa.Table.from_pylist([_typed_row(row) for row in rows], schema=SCHEMA)


def collected_row(figure: Figure) -> dict[str, str]:
    """The row that a figure was made of, text for text."""
    better = {value: text for text, value in _BOOLEANS.items()}
    own = {
        "value": figure.printed,
        "std": figure.printed_std,
        "n_runs": "" if figure.n_runs is None else str(figure.n_runs),
        "higher_is_better": better[figure.higher_is_better],
    }
    return {name: own[name] if name in own else getattr(figure, name) for name in COLUMNS}


def write(folder: Path, *, reported: Path = REPORTED, protocols: Path = PROTOCOLS) -> None:
    """Make both packaged files; the same folder gives the same bytes."""
    pq.write_table(packed(collected(folder)), reported, compression="zstd")
    settings = json.loads((folder / "protocols.json").read_text(encoding="utf-8"))
    protocols.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _typed_row(row: Mapping[str, str]) -> dict[str, object]:
    conditions = {key: typed(key, text) for key, text in split_condition(row["condition"]).items()}
    numbers = {
        key: value
        for key, value in conditions.items()
        if CONDITIONS[key][0] == "text" or not isinstance(value, str)
    }
    return {
        **{name: row[name] for name in COLUMNS},
        **numbers,
        "value": float(row["value"]),
        "printed": row["value"],
        "std": float(row["std"]) if row["std"] else None,
        "printed_std": row["std"],
        "n_runs": int(row["n_runs"]) if row["n_runs"] else None,
        "higher_is_better": _BOOLEANS[row["higher_is_better"]],
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
