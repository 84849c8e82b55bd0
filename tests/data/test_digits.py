"""The embedded dataset."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kdtune.data import Dataset, load_dataset


@pytest.fixture
def digits(cache: Path) -> Dataset:
    return load_dataset("digits", cache_dir=cache)


def test_sizes_are_60_20_20(digits: Dataset) -> None:
    assert (len(digits.train), len(digits.val), len(digits.test)) == (1078, 360, 359)
    assert (digits.channels, digits.size, digits.classes) == (1, 8, 10)
    assert not digits.flip


def test_splits_are_disjoint_and_share_one_array(digits: Dataset) -> None:
    index = torch.cat([digits.train.index, digits.val.index, digits.test.index])
    assert torch.equal(index.sort().values, torch.arange(1797))
    assert digits.train.images is digits.val.images is digits.test.images


def test_pixels_are_those_of_scikit_learn(digits: Dataset) -> None:
    ours = digits.train.images.numpy().astype(float) * 16 / 255
    theirs = load_digits().images
    np.testing.assert_allclose(
        np.sort(ours.reshape(1797, -1).sum(1)), np.sort(theirs.reshape(1797, -1).sum(1)), atol=1
    )
    assert int(digits.train.images.max()) == 255


def test_statistics_are_those_of_the_training_split(digits: Dataset) -> None:
    pixels = digits.train.images[digits.train.index].double() / 255
    assert digits.mean == pytest.approx((pixels.mean().item(),))
    assert digits.std == pytest.approx((pixels.std(correction=0).item(),))


def test_the_seed_moves_validation_but_never_test(digits: Dataset, cache: Path) -> None:
    other = load_dataset("digits", seed=1, cache_dir=cache)
    assert torch.equal(other.test.index, digits.test.index)
    assert not torch.equal(other.val.index, digits.val.index)
    assert other.fingerprint == digits.fingerprint


def test_every_split_is_stratified(digits: Dataset) -> None:
    for split in (digits.train, digits.val, digits.test):
        shares = torch.bincount(split.targets) / len(split)
        assert shares.sub(0.1).abs().max() < 0.01
