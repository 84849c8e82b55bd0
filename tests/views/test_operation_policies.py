"""Policies that draw operations: AutoAugment, RandAugment, TrivialAugment."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from made_up import make_dataset
from pydantic import ValidationError
from torchvision import transforms

from kdtune.seeds import generator
from kdtune.views import AUGMENTS, OPERATION_NAMES, RawBatch, crop_and_flip, operate
from kdtune.views.operation_space import (
    SIGNED,
    Ranges,
    draw_kinds,
    draw_magnitudes,
    magnitude_table,
    usual_ranges,
    wide_ranges,
)
from kdtune.views.policies.autoaugment import learned_pairs

SPACES: list[tuple[Any, tuple[Any, ...], Callable[[int], Ranges], int]] = [
    (transforms.AutoAugment(), (10, (32, 32)), usual_ranges, 10),
    (transforms.RandAugment(), (31, (32, 32)), usual_ranges, 31),
    (transforms.TrivialAugmentWide(), (31,), wide_ranges, 31),
]


def raw_batch(count: int = 40, size: int = 32) -> RawBatch:
    split = make_dataset(count, size=size).train
    images = split.images[split.index]
    return RawBatch(images=images, flip=True, normalise=torch.Tensor.float)


def views(name: str, seed: int = 0, **options: Any) -> torch.Tensor:
    return AUGMENTS.get(name)(**options).views(raw_batch(), partial(generator, seed))


def crops(seed: int = 0) -> torch.Tensor:
    return crop_and_flip(raw_batch(), partial(generator, seed)).float()


@pytest.mark.parametrize(("policy", "arguments", "ranges", "bins"), SPACES)
def test_magnitudes_equal_torchvisions(
    policy: Any, arguments: tuple[Any, ...], ranges: Callable[[int], Ranges], bins: int
) -> None:
    table = magnitude_table(ranges(32), bins)
    space = policy._augmentation_space(*arguments)
    for name, (magnitudes, signed) in space.items():
        row = table[OPERATION_NAMES.index(name)]
        assert torch.equal(row, magnitudes.double().expand(bins)), name
        assert signed == (name in SIGNED)


@pytest.mark.parametrize(
    ("policy", "arguments", "without"),
    [(*SPACES[0][:2], "Identity"), (*SPACES[1][:2], "Invert"), (*SPACES[2][:2], "Invert")],
)
def test_operations_are_torchvisions_and_uniform(
    policy: Any, arguments: tuple[Any, ...], without: str
) -> None:
    kinds = draw_kinds(14_000, torch.Generator().manual_seed(0), without=without)
    counts = dict(zip(OPERATION_NAMES, kinds.bincount(minlength=15).tolist(), strict=True))
    assert counts.pop(without) == 0
    assert set(counts) == set(policy._augmentation_space(*arguments))
    assert all(850 < count < 1150 for count in counts.values())


def test_half_of_the_signed_magnitudes_are_negative() -> None:
    table = magnitude_table(usual_ranges(32), 31)
    kinds = torch.arange(15).repeat(400)
    magnitudes = draw_magnitudes(table, kinds, 9, torch.Generator().manual_seed(0))
    assert torch.equal(magnitudes.abs(), table[kinds, 9])
    shares = (magnitudes < 0).view(400, 15).float().mean(0)
    assert ((shares > 0.4) & (shares < 0.6))[: len(SIGNED)].all()
    assert (shares[len(SIGNED) :] == 0).all()


def test_the_widest_translation_is_the_whole_of_a_small_image() -> None:
    assert wide_ranges(8).translate == 8
    assert wide_ranges(224).translate == 32


def test_randaugment_of_magnitude_0_keeps_what_only_a_magnitude_changes() -> None:
    kinds = draw_kinds(40, generator(0, "operation 0"), without="Invert")
    still = kinds < OPERATION_NAMES.index("Solarize")  # inverts value 255 even then
    changed = (views("randaugment", num_ops=1, magnitude=0) != crops()).flatten(1).any(1)
    assert still.any()
    assert changed.any()
    assert not changed[still].any()


def test_randaugment_goes_on_from_fewer_operations() -> None:
    stream = generator(0, "operation 1")
    kinds = draw_kinds(40, stream, without="Invert")
    table = magnitude_table(usual_ranges(32), 31)
    magnitudes = draw_magnitudes(table, kinds, 9, stream)
    one = views("randaugment", num_ops=1).to(torch.uint8)
    assert torch.equal(operate(one, kinds, magnitudes).float(), views("randaugment"))


@pytest.mark.parametrize("name", ["autoaugment", "randaugment", "trivialaugment"])
def test_each_image_draws_its_own_operations(name: str) -> None:
    same = torch.arange(1, 33).to(torch.uint8).mul(7).expand(300, 3, 32, 32)
    raw = RawBatch(images=same, flip=False, normalise=torch.Tensor.float)
    plain = AUGMENTS.get("standard")().views(raw, partial(generator, 0))
    changed = (AUGMENTS.get(name)().views(raw, partial(generator, 0)) != plain).flatten(1).any(1)
    assert 150 < changed.sum() < 300


@pytest.mark.parametrize("policy", ["cifar10", "svhn", "imagenet"])
def test_learned_pairs_are_torchvisions(policy: str) -> None:
    published = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy)).policies
    chances, kinds, bins = learned_pairs(policy)
    assert chances.shape == kinds.shape == bins.shape == (25, 2)
    for row, pair in enumerate(published):
        for turn, (name, chance, number) in enumerate(pair):
            assert OPERATION_NAMES[kinds[row, turn]] == name
            assert chances[row, turn] == pytest.approx(chance)
            assert bins[row, turn] == (number or 0)


def test_a_learned_pair_is_applied_in_order_with_its_chances() -> None:
    images = crops().to(torch.uint8)
    chances, kinds, bins = learned_pairs("svhn")
    pairs = torch.randint(25, (40,), generator=generator(0, "pair of operations"))
    table = magnitude_table(usual_ranges(32), 10)
    for turn in range(2):
        stream = generator(0, f"operation {turn}")
        applied = torch.rand(40, generator=stream) <= chances[pairs, turn]
        magnitudes = draw_magnitudes(table, kinds[pairs, turn], bins[pairs, turn], stream)
        after = operate(images, kinds[pairs, turn], magnitudes)
        images = torch.where(applied.view(-1, 1, 1, 1), after, images)
    assert torch.equal(views("autoaugment", policy="svhn"), images.float())


def test_the_policies_of_autoaugment_differ() -> None:
    found = [views("autoaugment", policy=p) for p in ("random", "cifar10", "svhn", "imagenet")]
    assert len(torch.stack(found).flatten(1).unique(dim=0)) == 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("autoaugment", {"policy": "mnist"}),
        ("randaugment", {"num_ops": 0}),
        ("randaugment", {"magnitude": 31}),
        ("randaugment", {"magnitude": -1}),
        ("cutout", {"side": 0}),
    ],
)
def test_an_option_out_of_range_is_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AUGMENTS.get(name)(**options)
