from pathlib import Path
from statistics import stdev

import pytest
from made_subjects import config

from kdtune.analysis import Item, Measured
from kdtune.analysis.replicates import (
    mean_and_std,
    replicates,
    seed_rows,
    seeds_of,
    series,
    told_apart,
)
from kdtune.contracts import Scalar


def _item(label: str, score: float | None = None, **keys: Scalar) -> Item:
    numbers = {} if score is None else {"score": score}
    return Item(
        label=label, config=config(Path("store"), **keys), measured=Measured(numbers=numbers)
    )


def test_items_that_differ_by_their_seed_are_put_together() -> None:
    items = [
        _item("finalist 1, seed 0"),
        _item("finalist 2, seed 0", temperature=2.0),
        _item("finalist 1, seed 1", seed=1),
        _item("finalist 3", data__seed=1),
    ]
    groups = replicates(items)
    assert [group.label for group in groups] == ["finalist 1", "finalist 2, seed 0", "finalist 3"]
    assert [item.label for item in groups[0].items] == ["finalist 1, seed 0", "finalist 1, seed 1"]
    assert seeds_of(items) == "seeds 0, 1"
    assert seeds_of(items[:1]) == "seed 0"


def test_labels_without_a_common_part_are_counted_and_ambiguous_ones_kept() -> None:
    assert [g.label for g in replicates([_item("a"), _item("b", seed=1)])] == ["a and 1 more"]
    ambiguous = [
        *(_item("run, seed 0"), _item("run, seed 1", seed=1)),
        *(_item("run, seed 2", temperature=2.0), _item("run, seed 3", temperature=2.0, seed=1)),
    ]
    assert [group.label for group in replicates(ambiguous)] == ["run, seed 0", "run, seed 2"]


def test_configurations_are_called_by_what_differs_within_their_method() -> None:
    flats = [
        config(Path("store"), temperature=2.0).flat(),
        config(Path("store"), temperature=8.0).flat(),
        config(Path("store"), method="scratch").flat(),
    ]
    assert told_apart(flats) == ["kd, temperature 2.0", "kd, temperature 8.0", "scratch"]


def test_a_series_is_what_differs_along_one_axis_and_by_seeds() -> None:
    items = [
        _item("a", data__label_noise=0.2),
        _item("b", data__label_noise=0.4, seed=1),
        _item("c", method="scratch", data__label_noise=0.2),
    ]
    groups = series(items, "data.label_noise")
    found = [(group.label, [item.label for item in group.items]) for group in groups]
    assert found == [("kd", ["a", "b"]), ("scratch", ["c"])]
    alone = series([items[0], items[2]], "data.label_noise")
    assert [group.label for group in alone] == ["a", "c"]


def test_the_rows_of_seeds_end_in_their_mean_and_sample_standard_deviation() -> None:
    items = [
        _item("x, seed 0", 1.0),
        _item("y", 9.0, temperature=2.0),
        _item("x, seed 1", 4.0, seed=1),
        _item("x, seed 2", None, seed=2),
    ]
    rows = seed_rows(
        items, lambda i: [i.config.method, i.config.seed, i.measured.numbers.get("score")], lead=2
    )
    assert rows == [
        ["x, seed 0", "kd", 0, 1.0],
        ["x, seed 1", "kd", 1, 4.0],
        ["x, seed 2", "kd", 2, None],
        ["x: mean of 3 seeds", "kd", None, 2.5],
        ["x: sample std of 3 seeds", "kd", None, stdev([1.0, 4.0])],
        ["y", "kd", 0, 9.0],
    ]


def test_one_value_has_no_standard_deviation() -> None:
    assert mean_and_std([3.0]) == (3.0, None)
    assert mean_and_std([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
