"""What a run is said to read."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdtune.data import load_dataset
from kdtune.search.datasets import inputs_of
from kdtune.tracking.events import DatasetUse

FINALIST: dict[str, Any] = {"dataset": "digits", "role": "finalist"}


def uses(**changes: Any) -> dict[str, DatasetUse]:
    settings = {key.replace("__", "."): value for key, value in changes.items()}
    return {use.context: use for use in inputs_of({**FINALIST, **settings})}


def profile(use: DatasetUse) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(use.profile)
    return found


def test_only_a_finalist_reads_the_test_split() -> None:
    assert list(uses()) == ["train", "val", "test"]
    assert list(uses(role="trial")) == list(uses(role="teacher")) == ["train", "val"]


def test_sizes_and_where_it_came_from_are_told() -> None:
    digits = load_dataset("digits")
    for context, use in uses().items():
        told = profile(use)
        assert (use.name, use.source, len(use.digest)) == ("digits", "digits", 32)
        assert told["num_rows"] == len(getattr(digits, context))
        assert (told["classes"], told["channels"], told["size"]) == (10, 1, 8)
        assert told["fingerprint"] == digits.fingerprint


def test_corruption_is_of_the_training_split_alone() -> None:
    plain, noisy = uses(), uses(data__label_noise=0.3)
    told = profile(noisy["train"])
    assert told["label_noise"] == 0.3
    assert 0.2 * told["num_rows"] < told["wrong_labels"] < 0.35 * told["num_rows"]
    assert noisy["train"].digest != plain["train"].digest
    assert (noisy["val"], noisy["test"]) == (plain["val"], plain["test"])
    fewer = profile(uses(data__imbalance=0.5)["train"])
    assert fewer["imbalance"] == 0.5
    assert fewer["smallest_class"] < fewer["largest_class"] / 2


@pytest.mark.parametrize(
    "changes", [{"data__seed": 1}, {"data__val_fraction": 0.5}, {"data__train_limit": 300}]
)
def test_another_split_is_another_input_of_the_same_data(changes: dict[str, Any]) -> None:
    plain, other = uses(), uses(**changes)
    assert other["train"].digest != plain["train"].digest
    assert other["val"].digest != plain["val"].digest
    assert other["test"] == plain["test"]
    assert profile(other["train"])["fingerprint"] == profile(plain["train"])["fingerprint"]


def test_training_on_both_splits_is_told() -> None:
    plain, both = uses(), uses(train__on="train+val")
    rows = [profile(plain[name])["num_rows"] for name in ("train", "val")]
    assert profile(both["train"])["num_rows"] == sum(rows)
    assert both["train"].digest != plain["train"].digest
    assert both["val"] == plain["val"]


def test_one_digest_means_one_profile() -> None:
    """MLflow keeps what it was told first."""
    settings: list[dict[str, Any]] = [
        *({}, {"data__label_noise": 0.3}, {"data__label_noise": 0.4}, {"data__imbalance": 0.5}),
        *({"data__label_noise": 1e-9}, {"data__seed": 1}, {"train__on": "train+val"}),
    ]
    found: dict[str, set[str]] = {}
    for each in settings:
        for use in uses(**each).values():
            found.setdefault(use.digest, set()).add(use.profile)
    assert all(len(profiles) == 1 for profiles in found.values())


def test_what_decides_nothing_about_the_data_changes_nothing() -> None:
    assert uses(temperature=9.0, train__epochs=3, method="at") == uses()


def test_data_that_cannot_be_read_are_left_to_the_run_to_complain_of(tmp_path: Path) -> None:
    assert inputs_of({"dataset": f"folder:{tmp_path / 'missing'}"}) == ()
    assert inputs_of({"dataset": "nonsense"}) == inputs_of({"temperature": 4.0}) == ()


def test_a_path_gives_its_last_part_as_the_name(tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for shade in range(4):
                image = Image.new("L", (8, 8), 60 * shade)
                image.putpixel((shade, shade), 255)
                image.save(folder / f"{shade}.png")
    (train, _) = inputs_of({"dataset": f"folder:{tmp_path / 'pictures'}", "data.val_fraction": 0.3})
    assert (train.name, train.source) == ("pictures", f"folder:{tmp_path / 'pictures'}")
