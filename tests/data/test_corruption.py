"""Label noise and class imbalance."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import encode, pixels, write_shard
from torch import Tensor

from kdtune.data import (
    Dataset,
    imbalanced_counts,
    imbalanced_subset,
    load_dataset,
    merge_train_val,
    noisy_labels,
)
from kdtune.data.corruption import count_range

MANY = torch.arange(100_000) % 10


def noisy(rate: float, *, labels: Tensor = MANY, classes: int = 10, seed: int = 0) -> Tensor:
    return noisy_labels(labels, rate=rate, classes=classes, seed=seed)


def digits(cache: Path, **options: Any) -> Dataset:
    return load_dataset("digits", cache_dir=cache, **options)


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6, 1.0])
def test_nine_tenths_of_the_rate_are_wrong_as_the_true_class_is_drawn_too(rate: float) -> None:
    wrong = (noisy(rate) != MANY).double().mean().item()
    deviation = math.sqrt(0.9 * rate * (1 - 0.9 * rate) / len(MANY))
    assert wrong == pytest.approx(0.9 * rate, abs=4 * deviation)


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    of_class_3 = noisy(0.5)[MANY == 3]
    shares = torch.bincount(of_class_3, minlength=10) / len(of_class_3)
    expected = torch.full((10,), 0.05)
    expected[3] = 0.55
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.015)


def test_rate_zero_changes_nothing_and_the_input_stays() -> None:
    before = MANY.clone()
    assert torch.equal(noisy(0.0), MANY)
    noisy(1.0)
    assert torch.equal(before, MANY)


def test_rate_one_forgets_the_true_label() -> None:
    assert torch.equal(noisy(1.0), noisy(1.0, labels=MANY.flip(0)))


def test_a_larger_rate_keeps_what_a_smaller_one_replaced() -> None:
    small, large = noisy(0.2), noisy(0.6)
    replaced = small != MANY
    assert torch.equal(small[replaced], large[replaced])


def test_noise_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = noisy(0.4, seed=5)
    torch.manual_seed(2)
    assert torch.equal(first, noisy(0.4, seed=5))
    assert not torch.equal(first, noisy(0.4, seed=6))


def test_noise_of_no_labels_is_no_labels() -> None:
    assert noisy(0.5, labels=torch.empty(0, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_out_of_range_is_named(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"rate must be in \[0, 1\], got {rate}"):
        noisy(rate)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_named(label: int) -> None:
    labels = torch.tensor([0, 1, label])
    with pytest.raises(ValueError, match=rf"labels must be in \[0, 3\), got {label}"):
        noisy(0.5, labels=labels, classes=3)
    with pytest.raises(ValueError, match=rf"labels must be in \[0, 3\), got {label}"):
        imbalanced_subset(labels, [1, 1, 1], 0)


@pytest.mark.parametrize(
    ("gamma", "total"), [(0.2, 15_207), (0.6, 18_033), (1.0, 21_455), (2.0, 30_700)]
)
def test_totals_are_those_of_rounding_to_the_nearest(gamma: float, total: int) -> None:
    counts = imbalanced_counts(10, gamma=gamma)
    assert sum(counts) == total
    assert (counts[0], counts[-1]) == (250, 5000)


def test_counts_at_gamma_0_2() -> None:
    printed = [250, 375, 508, 664, 858, 1113, 1470, 2014, 2955, 5000]
    assert imbalanced_counts(10, gamma=0.2) == printed


def test_counts_are_plain_powers_where_b_is_zero() -> None:
    # b = (2 - 6 / 3) / 4 = 0 and a = 2, so n_c = 2 c; b = (1 - 16 / 4**2) / 15 = 0, so n_c = c**2
    assert imbalanced_counts(3, gamma=1, n_min=2, n_max=6) == [2, 4, 6]
    assert imbalanced_counts(4, gamma=2, n_min=1, n_max=16) == [1, 4, 9, 16]


def test_an_exact_half_is_rounded_up() -> None:
    # b = (225 - 450) / 4275 = -1/19, a = 225 * 18/19; at c = 7: a / (1/7 - 1/19) = 2362.5
    assert imbalanced_counts(10, gamma=1, n_min=225, n_max=4500)[6] == 2363


def test_the_limits_of_gamma() -> None:
    near_zero = [
        round(250 * 5000 * math.log(10) / (5000 * math.log(10) - 4750 * math.log(c)))
        for c in range(1, 11)
    ]
    assert imbalanced_counts(10, gamma=1e-15) == near_zero
    assert imbalanced_counts(10, gamma=1000) == [250, *[5000] * 9]


@settings(deadline=None)
@given(
    classes=st.integers(2, 200),
    gamma=st.floats(1e-9, 50),
    n_min=st.integers(1, 300),
    more=st.integers(1, 6000),
)
def test_counts_rise_from_n_min_to_n_max(classes: int, gamma: float, n_min: int, more: int) -> None:
    counts = imbalanced_counts(classes, gamma=gamma, n_min=n_min, n_max=n_min + more)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (n_min, n_min + more)


@pytest.mark.parametrize(
    ("classes", "options", "words"),
    [
        (10, {"gamma": 0.0}, "gamma must be finite and > 0, got 0.0"),
        (10, {"gamma": math.inf}, "gamma must be finite and > 0, got inf"),
        (10, {"gamma": math.nan}, "gamma must be finite and > 0, got nan"),
        (1, {"gamma": 1.0}, "at least 2 classes, got 1"),
        (10, {"gamma": 1.0, "n_min": 0}, "1 <= n_min < n_max, got 0 and 5000"),
        (10, {"gamma": 1.0, "n_max": 250}, "1 <= n_min < n_max, got 250 and 250"),
    ],
)
def test_wrong_counts_are_named(classes: int, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        imbalanced_counts(classes, **options)


@pytest.mark.parametrize(
    ("available", "ends"),
    [(6000, (250, 5000)), (4500, (225, 4500)), (109, (5, 109)), (9, (1, 9)), (2, (1, 2))],
)
def test_both_ends_are_scaled_to_what_is_there(available: int, ends: tuple[int, int]) -> None:
    assert count_range(available) == ends


def test_one_image_a_class_cannot_be_imbalanced() -> None:
    with pytest.raises(ValueError, match="at least 2 training images of every class, got 1"):
        count_range(1)


def test_a_subset_has_the_counts_in_ascending_order() -> None:
    labels = torch.tensor([0, 1, 2] * 20)
    subset = imbalanced_subset(labels, [2, 0, 20], 0)
    assert torch.bincount(labels[subset]).tolist() == [2, 0, 20]
    assert torch.equal(subset, subset.sort().values)


def test_a_subset_depends_on_its_seed_and_lies_inside_a_larger_one() -> None:
    labels = torch.tensor([0, 1] * 50)
    small, large = (imbalanced_subset(labels, counts, 3) for counts in ([5, 10], [20, 10]))
    assert set(small.tolist()) < set(large.tolist())
    assert torch.equal(small, imbalanced_subset(labels, [5, 10], 3))
    assert not torch.equal(small, imbalanced_subset(labels, [5, 10], 4))


@pytest.mark.parametrize("wanted", [4, -1])
def test_a_class_cannot_give_what_it_does_not_have(wanted: int) -> None:
    with pytest.raises(ValueError, match=f"class 1 has 3, and {wanted} are wanted"):
        imbalanced_subset(torch.tensor([0, 1, 1, 1, 0]), [1, wanted], 0)


def test_noise_reaches_the_training_labels_only(cache: Path) -> None:
    clean, dirty = digits(cache), digits(cache, label_noise=0.4)
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(clean, split).index, getattr(dirty, split).index)
    assert torch.equal(dirty.val.targets, clean.val.targets)
    assert torch.equal(dirty.test.targets, clean.test.targets)
    assert torch.equal(dirty.true_targets, clean.train.targets)
    assert (dirty.mean, dirty.std) == (clean.mean, clean.std)
    assert dirty.fingerprint == clean.fingerprint
    wrong = (dirty.train.targets != dirty.true_targets).double().mean().item()
    assert wrong == pytest.approx(0.36, abs=4 * math.sqrt(0.36 * 0.64 / 1078))


def test_noise_copies_labels_but_never_images(cache: Path) -> None:
    clean, dirty = digits(cache), digits(cache, label_noise=0.4)
    assert clean.train.labels is clean.val.labels is clean.test.labels
    assert dirty.train.images is dirty.val.images is dirty.test.images
    assert dirty.val.labels is dirty.test.labels
    other = torch.ones(len(dirty.train.labels), dtype=torch.bool)
    other[dirty.train.index] = False
    assert torch.equal(dirty.train.labels[other], dirty.test.labels[other])


@pytest.mark.parametrize(
    "options", [{"train_limit": 200}, {"imbalance": 1.0}, {"val_fraction": 0.1}]
)
def test_noise_of_an_image_does_not_depend_on_which_others_are_kept(
    options: dict[str, Any], cache: Path
) -> None:
    whole = digits(cache, label_noise=0.4)
    other = digits(cache, label_noise=0.4, **options)
    both = torch.isin(other.train.index, whole.train.index)
    rows = other.train.index[both]
    assert len(rows) >= 100
    assert torch.equal(other.train.targets[both], whole.train.labels[rows])


def test_merged_validation_images_keep_their_true_labels(cache: Path) -> None:
    dirty = digits(cache, label_noise=0.6)
    merged = merge_train_val(dirty)
    assert torch.equal(merged.train.targets[:1078], dirty.train.targets)
    assert torch.equal(merged.train.targets[1078:], dirty.val.targets)
    assert torch.equal(merged.true_targets, merged.test.labels[merged.train.index])


def test_imbalance_leaves_validation_and_test_whole(cache: Path) -> None:
    balanced, imbalanced = digits(cache), digits(cache, imbalance=0.2)
    assert torch.equal(imbalanced.val.index, balanced.val.index)
    assert torch.equal(imbalanced.test.index, balanced.test.index)
    n_max = int(torch.bincount(balanced.train.targets).min())
    expected = imbalanced_counts(10, gamma=0.2, n_min=round(n_max / 20), n_max=n_max)
    assert torch.bincount(imbalanced.train.targets).tolist() == expected
    assert set(imbalanced.train.index.tolist()) < set(balanced.train.index.tolist())


def test_statistics_are_those_of_the_images_that_imbalance_left(cache: Path) -> None:
    imbalanced = digits(cache, imbalance=0.2)
    kept = imbalanced.train.images[imbalanced.train.index].double() / 255
    assert imbalanced.mean == pytest.approx((kept.mean().item(),))
    assert imbalanced.mean != digits(cache).mean


def test_a_limit_keeps_the_imbalance(cache: Path) -> None:
    whole = digits(cache, imbalance=0.6)
    small = digits(cache, imbalance=0.6, train_limit=len(whole.train) // 2)
    assert set(small.train.index.tolist()) < set(whole.train.index.tolist())
    assert len(small.val) == len(whole.val) // 2
    halves = torch.bincount(whole.train.targets) / 2
    assert (torch.bincount(small.train.targets) - halves).abs().max() <= 1


def test_the_data_seed_moves_both_corruptions(cache: Path) -> None:
    first, second = (digits(cache, label_noise=1.0, imbalance=1.0, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.train.index, second.train.index)
    both = first.train.index[torch.isin(first.train.index, second.train.index)]
    assert not torch.equal(first.train.labels[both], second.train.labels[both])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_noise": 1.5}, r"label_noise must be in \[0, 1\], got 1.5"),
        ({"imbalance": 0.0}, "imbalance must be finite and > 0, got 0.0; None keeps all"),
        ({"imbalance": -1.0}, "imbalance must be finite and > 0, got -1.0"),
    ],
)
def test_a_wrong_setting_is_named_before_any_work(
    options: dict[str, float], words: str, cache: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        digits(cache, **options)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("classes", "words"), [(1, "at least 2 classes, got 1"), (3, "every class, got 1; lower val")]
)
def test_data_too_small_for_imbalance_are_refused(
    classes: int, words: str, tmp_path: Path, cache: Path
) -> None:
    blobs = [encode(image) for image in pixels(2 * classes + 2, seed=0)]
    labels = [row % classes for row in range(len(blobs))]
    names = [str(label) for label in range(classes)]
    for split in ("train", "test"):
        write_shard(tmp_path / f"few/{split}.parquet", blobs, labels, names=names)
    with pytest.raises(ValueError, match=words):
        load_dataset(
            f"parquet:{tmp_path / 'few'}", imbalance=1.0, val_fraction=0.4, cache_dir=cache
        )
