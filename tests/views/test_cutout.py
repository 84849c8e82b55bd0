"""Cutout."""

from functools import partial

import pytest
import torch

from kdtune.seeds import generator
from kdtune.views import AUGMENTS, RawBatch, square_mask


def blanked(size: int, **options: int) -> torch.Tensor:
    """``(2000, size, size)`` bool, what cutout blanks in images without a zero."""
    images = torch.full((2000, 3, size, size), 9, dtype=torch.uint8)
    raw = RawBatch(images=images, flip=True, normalise=lambda x: x.float() + 1)
    views = AUGMENTS.get("cutout")(**options).views(raw, partial(generator, 0))
    # The crop's padding is 1 after this normalisation, the square 0.
    assert views.min() == 0
    holes = views == 0
    assert torch.equal(holes.all(1), holes.any(1))
    return holes.all(1)


def test_a_square_by_hand() -> None:
    mask = square_mask(torch.tensor([1, -1]), torch.tensor([2, 3]), 2, 4)
    assert mask.shape == (2, 1, 4, 4)
    assert mask[0, 0].int().tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert mask[1, 0].int().tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("size", "options", "side"),
    [(32, {}, 16), (8, {}, 4), (32, {"side": 8}, 8), (8, {"side": 3}, 3)],
)
def test_the_square_has_its_side_and_is_clipped_at_the_border(
    size: int, options: dict[str, int], side: int
) -> None:
    holes = blanked(size, **options)
    areas = holes.flatten(1).sum(1)
    assert areas.max() == side**2
    assert areas.min() == ((side + 1) // 2) ** 2
    # As many centres as the square has pixels blank a pixel far from the border.
    inner = holes[:, size // 2, size // 2].float().mean()
    assert inner == pytest.approx((side / size) ** 2, rel=0.2)
    # Full squares are those whose centre leaves room on all sides.
    whole = ((size - side + 1) / size) ** 2
    assert (areas == side**2).float().mean() == pytest.approx(whole, rel=0.2)


def test_a_square_larger_than_the_image_blanks_it() -> None:
    assert blanked(8, side=100).all()
