from pathlib import Path

import pytest
from made_subjects import config

from kdtune.analysis import Item, Measured
from kdtune.analysis.figures import label, panels, style
from kdtune.analysis.replicates import replicates
from kdtune.analysis.side_by_side import Column, dots, dots_height, named, over_seeds, spread_of

SHARE = Column(head="share (%)", metric="share/test", scale=100)


def _item(label: str, folder: Path, value: float | None, **keys: float) -> Item:
    numbers = {} if value is None else {"share/test": value}
    return Item(label=label, config=config(folder, **keys), measured=Measured(numbers=numbers))


def test_runs_that_differ_by_their_seed_alone_are_one_group(tmp_path: Path) -> None:
    items = [
        _item("a, seed 1", tmp_path, 0.1, seed=1),
        _item("b, seed 1", tmp_path, 0.5, seed=1, alpha=0.5),
        _item("a, seed 22", tmp_path, 0.3, seed=22),
    ]
    first, second = replicates(items)
    assert (first.label, len(first.items)) == ("a", 2)
    assert second.label == "b, seed 1"
    spread = spread_of(first, SHARE)
    assert spread is not None
    assert (spread.mean, spread.n) == (pytest.approx(20), 2)
    assert spread.std == pytest.approx(200**0.5)


def test_the_same_run_twice_is_no_repetition(tmp_path: Path) -> None:
    items = [_item(name, tmp_path, 0.1) for name in ("a", "b")]
    assert [group.label for group in replicates(items)] == ["a", "b"]
    assert over_seeds(items, [SHARE], []) == []


def test_labels_that_differ_by_more_than_the_seed_are_counted(tmp_path: Path) -> None:
    items = [_item(name, tmp_path, 0.1, seed=seed) for seed, name in enumerate("xyz")]
    assert replicates(items)[0].label == "x and 2 more"
    assert named(list("abcd"), most=2) == "a, b and 2 more"
    assert named(["a", "b"], most=2) == "a, b"


def test_a_metric_that_no_run_has_leaves_its_cells_empty(tmp_path: Path) -> None:
    items = [_item(f"a, seed {seed}", tmp_path, None, seed=seed) for seed in (0, 1)]
    (table,) = over_seeds(items, [SHARE], ["30 images."])
    assert table.rows == [["a", 2, None, None]]
    assert table.notes[-1] == "30 images."
    assert table.columns == ["Configuration", "n", "share (%), mean", "share (%), std"]


def test_dots_show_means_bars_and_runs(tmp_path: Path) -> None:
    items = [
        _item("a, seed 0", tmp_path, 0.1, seed=0),
        _item("a, seed 1", tmp_path, 0.3, seed=1),
        _item("b", tmp_path, 0.5, alpha=0.5),
    ]
    groups = replicates(items)
    with style():
        _, axes = panels(title="Shares", size=(4, dots_height(groups)))
        dots(axes[0, 0], groups, [SHARE])
        label(axes[0, 0], x="share (%)", y="")
    means, runs = axes[0, 0].lines[0], axes[0, 0].lines[-1]
    assert means.get_xdata() == pytest.approx([20, 50])
    assert runs.get_xdata() == pytest.approx([10, 30])
    assert [tick.get_text() for tick in axes[0, 0].get_yticklabels()] == ["a", "b"]
    low, high = axes[0, 0].get_xlim()
    assert low < 0 < 50 < high
