"""Crops and flips."""

from functools import partial

import pytest
import torch
from torchvision.transforms import functional

from kdtune.seeds import generator
from kdtune.views import RawBatch, crop_and_flip, horizontal_flip, random_crop
from kdtune.views.policies.standard import default_pad


@pytest.fixture
def images() -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=draws)


def raw_batch(images: torch.Tensor, *, flip: bool) -> RawBatch:
    return RawBatch(images=images, flip=flip, normalise=torch.Tensor.float)


def test_a_crop_by_hand() -> None:
    image = torch.tensor([[[[1, 2], [3, 4]]]])
    crop = partial(random_crop, image, pad=1)
    one, two = torch.tensor([1]), torch.tensor([2])
    assert crop(one, one).tolist() == [[[[1, 2], [3, 4]]]]
    assert crop(one - 1, one - 1).tolist() == [[[[0, 0], [0, 1]]]]
    assert crop(two, one).tolist() == [[[[3, 4], [0, 0]]]]
    assert crop(one, two).tolist() == [[[[2, 0], [4, 0]]]]


def test_crops_equal_torchvisions(images: torch.Tensor) -> None:
    tops, lefts = torch.randint(9, (2, 40), generator=torch.Generator().manual_seed(2))
    ours = random_crop(images, tops, lefts, 4)
    for row, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
        padded = functional.pad(images[row], [4])
        assert torch.equal(ours[row], functional.crop(padded, top, left, 32, 32))


def test_flips_equal_torchvisions(images: torch.Tensor) -> None:
    mask = torch.arange(40) % 3 == 0
    ours = horizontal_flip(images, mask)
    for row, flipped in enumerate(mask.tolist()):
        expected = functional.hflip(images[row]) if flipped else images[row]
        assert torch.equal(ours[row], expected)


@pytest.mark.parametrize(("size", "pad"), [(32, 4), (28, 3), (8, 1), (64, 8), (4, 1)])
def test_padding_is_an_eighth(size: int, pad: int) -> None:
    assert default_pad(size) == pad


def test_each_image_has_its_own_crop_and_flip(images: torch.Tensor) -> None:
    same = images[:1].expand(400, -1, -1, -1)
    views = crop_and_flip(raw_batch(same, flip=True), partial(generator, 0))
    assert len(views.flatten(1).unique(dim=0)) > 100  # of 9 * 9 * 2 = 162


def test_half_the_images_are_flipped(images: torch.Tensor) -> None:
    ramp = torch.arange(1, 33).to(torch.uint8).expand(1000, 1, 32, 32)
    views = crop_and_flip(raw_batch(ramp, flip=True), partial(generator, 0))
    falling = (views[:, 0, 16, 10] > views[:, 0, 16, 20]).sum().item()
    assert 440 < falling < 560


def test_no_flip_where_the_dataset_forbids_it() -> None:
    ramp = torch.arange(1, 33).to(torch.uint8).expand(200, 1, 32, 32)
    views = crop_and_flip(raw_batch(ramp, flip=False), partial(generator, 0))
    assert (views[:, 0, 16, 10] < views[:, 0, 16, 20]).all()


def test_padding_is_black_before_normalisation(images: torch.Tensor) -> None:
    views = crop_and_flip(raw_batch(images, flip=True), partial(generator, 0))
    assert views.dtype == torch.uint8
    assert (views == 0).any()  # the images themselves hold no zero
