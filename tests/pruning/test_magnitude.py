"""Unstructured pruning: the threshold, the masks and their delivery."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdtune.models import build
from kdtune.pruning import finalize, prune, pruned_cost, replay


def pruned(ratio: float = 0.6, name: str = "resnet8") -> nn.Module:
    model = build(name, classes=10, channels=1, size=8, seed=0)
    prune(model, method="magnitude", ratio=ratio, channels=1, size=8)
    return model


def conv_weights(model: nn.Module) -> torch.Tensor:
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    return torch.cat([m.weight.detach().flatten() for m in convs])


def test_one_threshold_splits_all_conv_weights() -> None:
    dense = conv_weights(build("resnet8", classes=10, channels=1, size=8, seed=0))
    masked = conv_weights(pruned(0.6))
    gone = masked == 0
    assert gone.sum().item() == round(0.6 * len(dense))
    assert dense[gone].abs().max() <= dense[~gone].abs().min()
    assert torch.equal(masked[~gone], dense[~gone])


def test_the_classifier_is_untouched() -> None:
    dense = build("resnet8", classes=10, channels=1, size=8, seed=0)
    keys = ("classifier.weight", "classifier.bias")
    assert all(torch.equal(pruned().state_dict()[k], dense.state_dict()[k]) for k in keys)


def test_pruned_weights_stay_zero_under_momentum_and_weight_decay() -> None:
    model = pruned(0.9)
    gone = conv_weights(model) == 0
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-2, nesterov=True
    )
    images, labels = torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    model(images)
    after = conv_weights(model)
    assert not after[gone].any()
    assert not torch.equal(after, conv_weights(pruned(0.9)))


def test_a_pruned_weight_gets_no_gradient() -> None:
    model = pruned(0.9)
    model(torch.randn(4, 1, 8, 8)).sum().backward()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert not module.weight_orig.grad[module.weight_mask == 0].any()


def test_delivery_gives_dense_keys_and_the_same_outputs() -> None:
    model = pruned().eval()
    images = torch.randn(4, 1, 8, 8)
    expected = model(images)
    finalize(model)
    plain = build("resnet8", classes=10, channels=1, size=8, seed=5).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain(images), expected)
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert pruned_cost(plain, channels=1, size=8)["conv_density"] == pytest.approx(0.4, abs=1e-4)


def test_pruning_twice_is_refused_until_finalized() -> None:
    model = pruned(0.5)
    with pytest.raises(ValueError, match="finalize it first"):
        prune(model, method="magnitude", ratio=0.5, channels=1, size=8)
    finalize(model)
    prune(model, method="magnitude", ratio=0.7, channels=1, size=8)
    assert pruned_cost(model, channels=1, size=8)["conv_density"] == pytest.approx(0.3, abs=1e-3)


def test_masks_hold_through_fine_tuning_that_goes_on_from_a_checkpoint() -> None:
    model = build("resnet8", classes=10, channels=1, size=8, seed=0)
    record = prune(model, method="magnitude", ratio=0.8, channels=1, size=8)
    images, labels = torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
    other = build("resnet8", classes=10, channels=1, size=8, seed=1)
    replay(other, record, channels=1, size=8)
    other.load_state_dict(model.state_dict())
    optimizer = torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(other(images), labels).backward()
        optimizer.step()
    finalize(other)
    gone = conv_weights(model) == 0
    assert torch.equal(conv_weights(other) == 0, gone)
    cost = pruned_cost(other, channels=1, size=8)
    assert cost["conv_nonzero"] == (~gone).sum().item()
    assert cost["conv_weights"] == len(gone)
