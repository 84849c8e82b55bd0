"""Packing what was collected: nothing is lost, and the committed file is what it gives."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kdtune.papers import PAPERS, figures, protocol
from kdtune.papers.figures import REPORTED
from kdtune.papers.pack import COLUMNS, collected, collected_row, packed, write
from kdtune.papers.schema import CONDITIONS, SCHEMA, split_condition, typed

COLLECTED = Path(__file__).parents[3] / "shared/papers"
needs_collected = pytest.mark.skipif(not COLLECTED.is_dir(), reason=f"needs {COLLECTED}")


def _a_row(**values: str) -> dict[str, str]:
    blank = dict.fromkeys(COLUMNS, "")
    return {**blank, "paper": "cho2019", "table": "T1", "value": "30.10", **values}


@pytest.mark.shared
@needs_collected
def test_the_committed_figures_are_those_that_were_collected() -> None:
    committed = pq.ParquetFile(REPORTED).read()
    assert committed.schema.equals(SCHEMA, check_metadata=True)
    assert committed.equals(packed(collected(COLLECTED)))


@pytest.mark.shared
@needs_collected
@pytest.mark.parametrize("paper", PAPERS)
def test_every_collected_cell_comes_back_as_it_was(paper: str) -> None:
    with (COLLECTED / "reported" / f"{paper}.csv").open(newline="") as file:
        assert [collected_row(figure) for figure in figures(paper)] == list(csv.DictReader(file))


@pytest.mark.shared
@needs_collected
def test_the_committed_protocols_are_those_that_were_collected() -> None:
    wanted = json.loads((COLLECTED / "protocols.json").read_text())
    assert {paper: protocol(paper) for paper in PAPERS} == {key: wanted[key] for key in PAPERS}


@pytest.mark.shared
@needs_collected
def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("first", "second"):
        files = tmp_path / f"{name}.parquet", tmp_path / f"{name}.json"
        write(COLLECTED, reported=files[0], protocols=files[1])
        made.append([file.read_bytes() for file in files])
    assert made[0] == made[1]


def test_typed_columns_say_what_the_condition_says() -> None:
    rows = pq.ParquetFile(REPORTED).read().to_pylist()
    for row in rows:
        said = {key: typed(key, text) for key, text in split_condition(row["condition"]).items()}
        bounded = {k for k, v in said.items() if CONDITIONS[k][0] != "text" and isinstance(v, str)}
        found = {key: row[key] for key in CONDITIONS if row[key] is not None}
        assert found == {key: value for key, value in said.items() if key not in bounded}


def test_every_column_says_what_it_holds() -> None:
    assert all(field.metadata[b"description"] for field in SCHEMA)


def test_a_number_known_by_its_bounds_alone_stays_a_text_and_leaves_its_column_empty() -> None:
    row = _a_row(condition="temperature=unstated_between_1_and_2;generation=all_5;alpha=1")
    (found,) = packed([row]).to_pylist()
    assert (found["temperature"], found["generation"], found["alpha"]) == (None, None, 1.0)
    assert typed("temperature", "unstated_between_1_and_2") == "unstated_between_1_and_2"


def test_trailing_zeros_are_kept_beside_the_number() -> None:
    (found,) = packed([_a_row(std="0.20", n_runs="5", higher_is_better="false")]).to_pylist()
    assert (found["value"], found["printed"]) == (30.1, "30.10")
    assert (found["std"], found["printed_std"]) == (0.2, "0.20")
    assert (found["n_runs"], found["higher_is_better"]) == (5, False)


@pytest.mark.parametrize("condition", ["temprature=4", "temperature", "alpha=1;alpha=2"])
def test_a_condition_that_is_no_list_of_known_keys_is_refused(condition: str) -> None:
    with pytest.raises(ValueError, match="known keys=values"):
        packed([_a_row(condition=condition)])


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reported").mkdir()
    for paper in PAPERS:
        (tmp_path / "reported" / f"{paper}.csv").write_text("paper,table\n")
    with pytest.raises(ValueError, match="must have the columns paper, table"):
        list(collected(tmp_path))
