"""Batch norms that read some channels of a shared map."""

import copy

import pytest
import torch
from torch import nn

from kdtune.models import build
from kdtune.pruning import PruneRecord, prune, pruned_cost, replay
from kdtune.pruning.selection import SelectedBatchNorm2d, select_channels, selectable_norms


def densenet() -> nn.Module:
    """Small, with batch norms whose scales, shifts and statistics are not the initial ones."""
    model = build("densenet_10_4", classes=5, channels=1, size=8, seed=0)
    draws = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand(tensor.shape, generator=draws) + 0.1
    return model.eval()


IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_selected_norm_is_the_whole_one_at_the_kept_channels() -> None:
    whole = nn.BatchNorm2d(4)
    whole.weight.data, whole.bias.data = torch.arange(4.0), torch.arange(4.0) + 1
    part = SelectedBatchNorm2d(whole, [1, 3])
    maps = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(part(maps), whole(maps)[:, [1, 3]])
    torch.testing.assert_close(part.running_mean, whole.running_mean[[1, 3]])


def test_slimming_a_dense_network_equals_silencing_the_same_channels() -> None:
    model = densenet()
    silent = copy.deepcopy(model)
    record = prune(model, method="slimming", ratio=0.6, channels=1, size=8)
    for path, removed in record.detail.items():
        norm = silent.get_submodule(path)
        assert isinstance(norm, nn.BatchNorm2d)
        norm.weight.data[list(removed)] = 0
        norm.bias.data[list(removed)] = 0
    torch.testing.assert_close(model(IMAGES), silent(IMAGES))
    sizes = [norm.num_features for norm in selectable_norms(silent).values()]
    removed = sum(map(len, record.detail.values()))
    assert removed == sum(sizes) - int(sum(sizes) * 0.4)
    before, after = (pruned_cost(net, channels=1, size=8) for net in (silent, model))
    assert after["params"] < before["params"]
    assert after["macs"] < before["macs"]


def test_a_slimmed_dense_network_is_rebuilt_from_its_record() -> None:
    model = densenet()
    record = prune(model, method="slimming", ratio=0.6, channels=1, size=8)
    twin = build("densenet_10_4", classes=5, channels=1, size=8, seed=9)
    replay(twin, PruneRecord.from_json(record.to_json()), channels=1, size=8)
    twin.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(twin.eval()(IMAGES), model(IMAGES))


def test_a_slimmed_dense_network_trains_on() -> None:
    model = densenet()
    prune(model, method="slimming", ratio=0.6, channels=1, size=8)
    model.train()(IMAGES).square().mean().backward()
    parts = [module for module in model.modules() if isinstance(module, SelectedBatchNorm2d)]
    assert parts
    assert all(part.weight.grad is not None and part.weight.grad.any() for part in parts)


@pytest.mark.parametrize(
    ("path", "removed", "message"),
    [
        ("block1.0.conv", [0], "must be a batch norm that may select"),
        ("block1.0.bn", [99], "must be some of 0 to 15, got"),
        ("block1.0.bn", list(range(16)), "must be some of 0 to 15"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(path: str, removed: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_channels(densenet(), path, removed)
