from pathlib import Path

from made_subjects import config

from kdtune.analysis import Item, Measured
from kdtune.analysis.replicates import configurations
from kdtune.contracts import Scalar


def _item(label: str, **keys: Scalar) -> Item:
    return Item(label=label, config=config(Path("teachers"), **keys), measured=Measured(numbers={}))


def test_items_that_differ_in_the_seed_alone_are_one_configuration_in_the_order_asked_for() -> None:
    items = [
        _item("finalist 2, seed 3", seed=3, temperature=2.0),
        _item("finalist 1, seed 0"),
        _item("finalist 2, seed 1", seed=1, temperature=2.0),
        _item("finalist 3, seed 7", seed=7, temperature=3.0),
    ]
    found = [(each.name, [item.label for item in each.items]) for each in configurations(items)]
    assert found == [
        ("finalist 2", ["finalist 2, seed 3", "finalist 2, seed 1"]),
        ("finalist 1, seed 0", ["finalist 1, seed 0"]),
        ("finalist 3, seed 7", ["finalist 3, seed 7"]),
    ]


def test_labels_that_do_not_share_a_stem_are_counted() -> None:
    items = [_item(name, seed=seed) for seed, name in enumerate(("first", "second", "third"))]
    assert [each.name for each in configurations(items)] == ["first and 2 more"]


def test_another_teacher_seed_is_another_configuration() -> None:
    items = [_item("a"), _item("b", teacher__seed=5)]
    assert len(configurations(items)) == 2
