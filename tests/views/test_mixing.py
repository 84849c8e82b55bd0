"""Mixup and CutMix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import make_dataset
from pydantic import ValidationError

from kdtune.views import AUGMENTS, ViewStream, cutmix, cutmix_box, draw_derangement, mixup
from kdtune.views.policies.cutmix import kept_share


@settings(deadline=None)
@given(count=st.integers(2, 50), seed=st.integers(0, 2**32))
def test_a_derangement_moves_everything(count: int, seed: int) -> None:
    permutation = draw_derangement(count, torch.Generator().manual_seed(seed))
    assert torch.equal(permutation.sort().values, torch.arange(count))
    assert not (permutation == torch.arange(count)).any()


def test_derangements_are_uniform() -> None:
    draws = torch.Generator().manual_seed(0)
    seen = [tuple(draw_derangement(3, draws).tolist()) for _ in range(400)]
    assert set(seen) == {(1, 2, 0), (2, 0, 1)}
    assert 150 < seen.count((1, 2, 0)) < 250


def test_one_image_cannot_be_deranged() -> None:
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        draw_derangement(1, torch.Generator())


def test_mixup_by_hand() -> None:
    images = torch.tensor([0.0, 4.0, 8.0]).view(3, 1, 1, 1)
    mixed = mixup(images, torch.tensor([1, 2, 0]), 0.75)
    assert mixed.flatten().tolist() == [1.0, 5.0, 6.0]
    assert images.flatten().tolist() == [0.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("lam", "center", "box"),
    [
        (0.75, (16, 16), (8, 24, 8, 24)),  # sides int(32 * 0.5) = 16
        (0.75, (0, 31), (0, 8, 23, 32)),  # clipped in a corner
        (0.7, (16, 10), (8, 24, 2, 18)),  # sides int(17.5) = 17, half 8
        (0.0, (16, 16), (0, 32, 0, 32)),
        (1.0, (5, 5), (5, 5, 5, 5)),
    ],
)
def test_a_box_by_hand(lam: float, center: tuple[int, int], box: tuple[int, ...]) -> None:
    assert cutmix_box(32, 32, lam, *center) == box


def test_the_sides_of_a_box_follow_height_and_width() -> None:
    assert cutmix_box(8, 16, 0.75, 4, 8) == (2, 6, 4, 12)


def test_lam_is_what_the_clipped_box_leaves() -> None:
    assert kept_share(32, 32, (8, 24, 8, 24)) == 0.75
    assert kept_share(32, 32, (0, 8, 23, 32)) == 1 - 72 / 1024
    assert kept_share(32, 32, (5, 5, 5, 5)) == 1


def test_cutmix_pastes_the_box_and_nothing_else() -> None:
    images = torch.stack([torch.full((1, 4, 4), value) for value in (1, 2)])
    mixed = cutmix(images, torch.tensor([1, 0]), (1, 3, 0, 2))
    assert mixed[0, 0].tolist() == [[1, 1, 1, 1], [2, 2, 1, 1], [2, 2, 1, 1], [1, 1, 1, 1]]
    assert (images[0] == 1).all()


def mixing_stream(name: str, *, count: int = 40, plain_too: bool = False) -> ViewStream:
    options = {"batch_size": 16, "seed": 3, "plain_too": plain_too}
    return ViewStream(make_dataset(count), policy=AUGMENTS.get(name)(), **options)


@pytest.mark.parametrize("augment", ["mixup", "cutmix"])
def test_a_mixed_batch_is_made_of_the_standard_views(augment: str) -> None:
    plain = mixing_stream("standard").batch(2, 1)
    mixed = mixing_stream(augment).batch(2, 1)
    assert torch.equal(plain.index, mixed.index)
    assert torch.equal(plain.labels, mixed.labels)
    assert mixed.mixed is None
    lam = mixed.lam[0].item()
    assert (mixed.lam == lam).all()
    if augment == "cutmix":
        own = (mixed.images == plain.images).all(1)
        assert own.float().mean() == pytest.approx(lam, abs=0.02)
        return
    partners = (mixed.images - lam * plain.images) / (1 - lam)
    distance = torch.cdist(partners.flatten(1), plain.images.flatten(1))
    assert distance.min(1).values.max() < 1e-2
    assert torch.equal(plain.labels[distance.argmin(1)], mixed.partner_labels)


@pytest.mark.parametrize("augment", ["mixup", "cutmix", "cutmix_pick"])
def test_both_batches_hold_the_plain_views_and_the_same_mixed_ones(augment: str) -> None:
    plain = mixing_stream("standard").batch(2, 1)
    alone = mixing_stream(augment).batch(2, 1)
    both = mixing_stream(augment, plain_too=True).batch(2, 1)
    assert torch.equal(both.images, plain.images)
    assert torch.equal(both.labels, plain.labels)
    assert both.partner_labels is None
    assert both.lam is None
    assert both.mixed is not None
    for field in ("index", "images", "labels", "partner_labels", "lam"):
        assert torch.equal(getattr(both.mixed, field), getattr(alone, field))


def test_the_first_half_of_a_pool_is_the_cutmix_batch() -> None:
    single, pool = (mixing_stream(name).batch(1, 0) for name in ("cutmix", "cutmix_pick"))
    for field in ("index", "images", "labels", "partner_labels", "lam"):
        first, second = getattr(pool, field).split(16)
        assert torch.equal(first, getattr(single, field))
        assert torch.equal(first, second) == (field in ("index", "labels"))


def test_a_criterion_is_one_of_three() -> None:
    with pytest.raises(ValidationError, match="'kld', 'teacher_entropy' or 'student_entropy'"):
        AUGMENTS.get("cutmix_pick")(criterion="loss")


def test_lam_covers_the_unit_interval() -> None:
    stream = ViewStream(make_dataset(), policy=AUGMENTS.get("mixup")(), batch_size=4, seed=0)
    lams = [batch.lam[0].item() for epoch in range(40) for batch in stream.epoch(epoch)]
    assert 0 <= min(lams) < 0.05
    assert 0.95 < max(lams) <= 1
    assert 0.42 < sum(lams) / len(lams) < 0.58
