"""Laws that hold for every registered policy; a new one joins by being registered."""

import json
from dataclasses import fields
from functools import partial

import pytest
import torch
from made_up import make_dataset
from pydantic import ValidationError

from kdtune.contracts import Batch
from kdtune.seeds import generator
from kdtune.views import AUGMENTS, Mixing, RawBatch, ViewStream

ALL = pytest.mark.parametrize("name", AUGMENTS.names())
SHAPES = pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)], ids=["1x8x8", "3x32x32"])
COUNTS = pytest.mark.parametrize("count", [2, 9])


def make_stream(name: str, shape: tuple[int, int, int], count: int) -> ViewStream:
    dataset = make_dataset(count, channels=shape[0], size=shape[1])
    return ViewStream(dataset, policy=AUGMENTS.get(name)(), batch_size=count, seed=5)


def tensors(batch: Batch) -> list[torch.Tensor]:
    values = [getattr(batch, field.name) for field in fields(batch)]
    return [value for value in values if isinstance(value, torch.Tensor)]


@ALL
@SHAPES
@COUNTS
def test_views_are_finite_float32_with_the_labels_of_their_images(
    name: str, shape: tuple[int, int, int], count: int
) -> None:
    batch = make_stream(name, shape, count).batch(0, 0)
    rows = 2 * count if AUGMENTS.get(name).picks else count
    assert batch.images.shape == (rows, *shape)
    assert batch.images.dtype == torch.float32
    assert batch.images.isfinite().all()
    labels = make_dataset(count).train.targets
    assert batch.labels.dtype == torch.int64
    assert torch.equal(batch.labels, labels[batch.index])
    assert sorted(batch.index.tolist()) == sorted([*range(count)] * (rows // count))


@ALL
@SHAPES
def test_views_replay_and_differ_in_every_epoch(name: str, shape: tuple[int, int, int]) -> None:
    first, again = (make_stream(name, shape, 9).batch(3, 0) for _ in range(2))
    assert all(map(torch.equal, tensors(first), tensors(again)))
    stream = make_stream(name, shape, 9)
    assert not torch.equal(stream.batch(4, 0).images, first.images)


@ALL
def test_views_follow_the_named_draws_alone_and_change_no_input(name: str) -> None:
    images = make_dataset(size=32).train.images
    labels = torch.arange(len(images)) % 5
    raw = RawBatch(images=images, flip=True, normalise=torch.Tensor.float)
    before = images.clone(), labels.clone()
    policy = AUGMENTS.get(name)()
    found = []
    for _ in range(2):
        views = policy.views(raw, partial(generator, 11))
        batch = Batch(index=torch.arange(len(labels)), images=views, labels=labels)
        kept = views.clone()
        if isinstance(policy, Mixing):
            found.append(policy.mix(batch, partial(generator, 11)).images)
        assert torch.equal(views, kept)
        found.append(views)
        torch.rand(3)
    assert torch.equal(torch.cat(found[: len(found) // 2]), torch.cat(found[len(found) // 2 :]))
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])


@ALL
@SHAPES
@COUNTS
def test_a_mixing_policy_gives_partners_and_shares(
    name: str, shape: tuple[int, int, int], count: int
) -> None:
    policy = AUGMENTS.get(name)
    assert policy.mixes == issubclass(policy, Mixing)
    assert policy.mixes or not policy.picks
    batch = make_stream(name, shape, count).batch(0, 0)
    if not policy.mixes:
        assert batch.partner_labels is None
        assert batch.lam is None
        return
    assert batch.partner_labels is not None
    assert batch.lam is not None
    assert batch.partner_labels.dtype == torch.int64
    assert batch.lam.dtype == torch.float32
    assert batch.partner_labels.shape == batch.lam.shape == batch.labels.shape
    assert batch.lam.min() >= 0
    assert batch.lam.max() <= 1
    assert set(batch.partner_labels.tolist()) <= set(batch.labels.tolist())


@ALL
def test_the_fields_are_defaulted_json_safe_and_frozen(name: str) -> None:
    policy = AUGMENTS.get(name)()
    assert json.loads(json.dumps(policy.model_dump())) == policy.model_dump()
    for field in type(policy).model_fields:
        with pytest.raises(ValidationError):
            setattr(policy, field, getattr(policy, field))
    with pytest.raises(ValidationError):
        AUGMENTS.get(name)(no_such_option=1)
