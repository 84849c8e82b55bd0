"""Filters that the networks offer for pruning."""

import pytest
import torch
from torch import nn

from kdtune.models import build, tap_shapes, taps
from kdtune.pruning import PruneRecord, prune, replay

OFFERED = {
    "densenet_10_4": 4,
    "pyramidnet_11_9": 4,
    "mobilenetv2": 17,
    "shufflenetv2": 16,
    "resnet50": 32,
}
"""Convs that lose filters: in a dense net those of the first two blocks."""


def small(name: str, seed: int = 0) -> nn.Module:
    return build(name, classes=10, channels=1, size=16, seed=seed)


def halve(model: nn.Module) -> PruneRecord:
    return prune(model, method="l1_filter", ratio=0.5, channels=1, size=16)


@pytest.mark.parametrize("name", OFFERED)
def test_half_of_the_inner_filters_can_go(name: str) -> None:
    model, whole = small(name), small(name)
    record = halve(model)
    assert len(record.detail) == OFFERED[name]
    for path, removed in record.detail.items():
        left, before = (net.get_submodule(path).weight.shape[0] for net in (model, whole))
        assert left == before // 2
        assert len(removed) == before - left
    model(torch.randn(4, 1, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", [name for name in OFFERED if "dense" not in name])
def test_all_taps_keep_their_shapes(name: str) -> None:
    model = small(name)
    before = tap_shapes(model, taps(model), channels=1, size=16)
    halve(model)
    assert tap_shapes(model, taps(model), channels=1, size=16) == before


def test_a_pruned_dense_net_keeps_its_last_map() -> None:
    model = small("densenet_10_4")
    halve(model)
    shapes = tap_shapes(model, taps(model), channels=1, size=16)
    assert [shapes[f"block{n}"].shape[0] for n in (1, 2, 3)] == [16 + 4, 24 + 4, 32 + 8]
    assert shapes["pooled"].shape == (40,)


@pytest.mark.parametrize("name", OFFERED)
def test_a_removed_filter_is_one_that_was_silent(name: str) -> None:
    """Where the smallest filters are 0 and their batch norms silent, nothing changes."""
    model = small(name).eval()
    record = halve(small(name))
    for path, removed in record.detail.items():
        model.get_submodule(path).weight.data[removed] = 0
    images = torch.randn(2, 1, 16, 16)
    expected = model(images)
    assert halve(model).detail == record.detail
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OFFERED)
def test_a_record_shapes_a_fresh_net(name: str) -> None:
    model = small(name).eval()
    record = halve(model)
    other = small(name, seed=5).eval()
    replay(other, record, channels=1, size=16)
    other.load_state_dict(model.state_dict(), strict=True)
    images = torch.randn(2, 1, 16, 16)
    assert torch.equal(other(images), model(images))


def test_tied_filters_are_not_offered() -> None:
    with pytest.raises(ValueError, match=r"needs convs .*use prune method 'magnitude'"):
        halve(small("shufflenetv1"))
