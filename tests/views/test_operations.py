"""The operations of AutoAugment, against torchvision's on the same image and magnitude."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from kdtune.views import OPERATION_NAMES, operate
from kdtune.views.operations import WARPS, warp, warp_maps

STEPS = torch.linspace(-0.99, 0.99, 7).tolist()
MAGNITUDES = {
    "ShearX": [-0.99, -0.33, -0.3, 0.13, 0.27],
    "ShearY": [-0.99, -0.33, -0.3, 0.13, 0.27],
    "TranslateX": [-32.0, -14.5, -3.99, 0.0, 0.7, 5.0, 31.0, 40.0],
    "TranslateY": [-32.0, -14.5, -3.99, 0.0, 0.7, 5.0, 31.0, 40.0],
    "Rotate": [-180.0, -135.0, -90.0, -30.0, -9.0, 1.0, 27.0, 45.0, 90.0, 121.5],
    "Brightness": STEPS,
    "Color": STEPS,
    "Contrast": STEPS,
    "Sharpness": STEPS,
    "Posterize": [float(bits) for bits in range(9)],
    "Solarize": [0.0, 1.0, 100.4, 127.5, 254.1, 255.0],
}
ALL = pytest.mark.parametrize("name", OPERATION_NAMES)


def make_images(channels: int, size: int) -> Tensor:
    """Noise, dark noise, few levels, gradients, one value, two values, a disc, black, white."""
    draws = torch.Generator().manual_seed(size)
    noise = torch.randint(256, (5, channels, size, size), dtype=torch.uint8, generator=draws)
    noise[1] //= 4
    noise[2] = noise[2] // 64 * 64 + 30
    noise[3] = noise[3].sort(-1).values
    noise[4] = functional.avg_pool2d(noise[4].float(), 3, stride=1, padding=1).to(torch.uint8)
    shapes = torch.zeros(6, channels, size, size, dtype=torch.uint8)
    shapes[0] = torch.linspace(0, 255, size).to(torch.uint8)
    shapes[1] = 77
    shapes[2, :, : size // 2] = 255
    places = torch.arange(size) - size / 2
    shapes[3, :1][:, places**2 + places[:, None] ** 2 < size**2 / 9] = 200
    shapes[4] = 255
    return torch.cat([noise, shapes])


def torchvisions(image: Tensor, name: str, magnitude: float) -> Tensor:
    return _apply_op(image, name, magnitude, InterpolationMode.NEAREST, None)


def one_kind(images: Tensor, name: str, magnitudes: list[float]) -> Tensor:
    kinds = torch.full((len(images),), OPERATION_NAMES.index(name))
    return operate(images, kinds, torch.tensor(magnitudes, dtype=torch.float64))


def midway(name: str, magnitude: float, size: int) -> Tensor:
    """``(H, W)`` bool: pixels that come from within 1e-4 of the middle between two others."""
    kind = torch.tensor([WARPS.index(name)])
    maps = warp_maps(kind, torch.tensor([magnitude], dtype=torch.float64), size, size)[0]
    middles = torch.arange(size, dtype=torch.float64) + 0.5
    rows, columns = torch.meshgrid(middles, middles, indexing="ij")
    sources = maps @ torch.stack([columns, rows, torch.ones_like(rows)]).flatten(1)
    return ((sources - sources.round()).abs() < 1e-4).any(0).view(size, size)


@ALL
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 8), (3, 17), (1, 28)])
def test_an_operation_equals_torchvisions(name: str, channels: int, size: int) -> None:
    images = make_images(channels, size)
    for magnitude in MAGNITUDES.get(name, [0.0]):
        ours = one_kind(images, name, [magnitude] * len(images))
        assert ours.dtype == torch.uint8
        # There, rounding errors in float32 choose torchvision's pixel.
        free = torch.zeros(size, size, dtype=torch.bool)
        if name in WARPS:
            free = midway(name, magnitude, size)
            assert free.float().mean() <= 0.25
        for row, image in enumerate(images):
            theirs = torchvisions(image, name, magnitude)
            assert torch.equal(ours[row].masked_fill(free, 0), theirs.masked_fill(free, 0)), (
                magnitude,
                row,
            )


@ALL
def test_an_operation_equals_torchvisions_at_any_magnitude(name: str) -> None:
    draws = torch.Generator().manual_seed(3)
    low, high = min(MAGNITUDES.get(name, [0.0])), max(MAGNITUDES.get(name, [0.0]))
    images = make_images(3, 32)
    for _ in range(20):
        shares = torch.rand(len(images), generator=draws, dtype=torch.float64)
        magnitudes = (low + (high - low) * shares).tolist()
        ours = one_kind(images, name, magnitudes)
        for row, magnitude in enumerate(magnitudes):
            free = midway(name, magnitude, 32) if name in WARPS else torch.zeros(32, 32) > 0
            theirs = torchvisions(images[row], name, magnitude)
            assert torch.equal(ours[row].masked_fill(free, 0), theirs.masked_fill(free, 0))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_group_equals_its_images_one_by_one(channels: int) -> None:
    images = make_images(channels, 32).repeat(9, 1, 1, 1)
    draws = torch.Generator().manual_seed(1)
    kinds = torch.randint(len(OPERATION_NAMES), (len(images),), generator=draws)
    assert len(kinds.unique()) == len(OPERATION_NAMES)
    shares = torch.rand(len(images), generator=draws, dtype=torch.float64)
    strongest = torch.tensor([max(MAGNITUDES.get(n, [0.0])) for n in OPERATION_NAMES])
    magnitudes = strongest[kinds] * shares
    before = images.clone()
    together = operate(images, kinds, magnitudes)
    assert torch.equal(images, before)
    for row in range(len(images)):
        own = slice(row, row + 1)
        assert torch.equal(operate(images[own], kinds[own], magnitudes[own]), together[own])


def test_the_weakest_magnitude_changes_nothing() -> None:
    images = make_images(3, 32)
    for name in (*WARPS, "Brightness", "Color", "Contrast", "Sharpness", "Identity"):
        assert torch.equal(one_kind(images, name, [0.0] * len(images)), images)
    assert torch.equal(one_kind(images, "Posterize", [8.0] * len(images)), images)


def test_colour_leaves_grey_images_alone() -> None:
    images = make_images(1, 8)
    assert torch.equal(one_kind(images, "Color", [0.9] * len(images)), images)


def test_a_quarter_turn_is_exact() -> None:
    images = make_images(3, 17)
    turned = one_kind(images, "Rotate", [90.0] * len(images))
    assert torch.equal(turned, images.rot90(1, (2, 3)))


def test_a_sheared_row_moves_as_a_whole_where_two_pixels_are_as_near() -> None:
    # Row 2 lies 2.5 * 0.2 = 0.5 pixels to the side: every pixel comes from midway.
    ramp = torch.arange(32).to(torch.uint8).expand(1, 1, 32, 32)
    row = one_kind(ramp, "ShearX", [0.2])[0, 0, 2]
    assert len(row[:31].int().diff().unique()) == 1


def test_a_translation_by_hand() -> None:
    image = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    assert one_kind(image, "TranslateX", [1.9]).tolist() == [[[[0, 1], [0, 3]]]]
    assert one_kind(image, "TranslateY", [-1.0]).tolist() == [[[[3, 4], [0, 0]]]]


def test_a_warp_follows_its_map() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    mirror = torch.tensor([[[-1.0, 0, 3], [0, 1, 0]]], dtype=torch.float64)
    assert warp(image, mirror).tolist() == [[[[2, 1, 0], [5, 4, 3]]]]


def test_tiny_images_are_not_sharpened() -> None:
    image = torch.tensor([[[[1, 200], [30, 4]]]], dtype=torch.uint8)
    assert torch.equal(one_kind(image, "Sharpness", [0.9]), image)
