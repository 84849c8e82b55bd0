"""Network slimming: the threshold, who takes part, and the penalty that prepares it."""

import pytest
import torch
from torch import nn

from kdtune.models import build
from kdtune.pruning import PruneRecord, prune, regulariser
from kdtune.pruning.slimming import smallest_channels


def scales(model: nn.Module, path: str, *values: float) -> None:
    with torch.no_grad():
        model.get_submodule(path).weight.copy_(torch.tensor(values))


def narrow() -> nn.Module:
    """Free channels: 2 in block1, 2 in block2, 4 in block3."""
    model = build("resnet8x0.125", classes=2, channels=1, size=8, seed=0)
    assert [model.get_submodule(f"block{n}.0.bn1").num_features for n in (1, 2, 3)] == [2, 4, 8]
    return model


def cut(model: nn.Module, ratio: float, size: int = 8) -> PruneRecord:
    return prune(model, method="slimming", ratio=ratio, channels=1, size=size)


def test_one_threshold_over_all_layers_decides() -> None:
    found = smallest_channels(
        {"a": torch.tensor([0.1, -5.0]), "b": torch.tensor([3.0, 0.2, -0.3, 4.0])}, 0.5
    )
    assert found == {"a": [0], "b": [1, 2]}


@pytest.mark.parametrize(
    ("ratio", "removed"), [(0.01, 1), (0.29, 29), (0.3, 30), (0.5, 50), (0.995, 99), (0.99, 99)]
)
def test_the_share_removed_is_exact(ratio: float, removed: int) -> None:
    found = smallest_channels({"a": torch.arange(100.0)}, ratio)
    assert found == {"a": list(range(removed))}


def test_no_layer_is_emptied() -> None:
    found = smallest_channels(
        {"a": torch.tensor([0.1, -0.2]), "b": torch.tensor([3.0, 1.0, -2.0, 4.0])}, 0.5
    )
    assert found == {"a": [0], "b": [1]}
    assert smallest_channels({"a": torch.tensor([0.1]), "b": torch.tensor([1.0, 2.0])}, 0.3) == {}


def test_among_equal_scales_the_earlier_channels_go() -> None:
    found = smallest_channels({"a": torch.ones(4), "b": torch.ones(4)}, 0.4)
    assert found == {"a": [1, 2, 3]}


def test_a_hand_made_net() -> None:
    model = narrow()
    scales(model, "block1.0.bn1", 0.5, -3.0)
    scales(model, "block2.0.bn1", 0.1, 2.0, -0.2, 1.0)
    scales(model, "block3.0.bn1", 4.0, 5.0, 0.3, -0.4, 6.0, 7.0, -8.0, 0.6)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    record = cut(model, 0.4)
    assert record.detail == {
        "block1.0.conv1": [0],
        "block2.0.conv1": [0, 2],
        "block3.0.conv1": [2, 3, 7],
    }
    after = model.state_dict()
    assert torch.equal(after["block2.0.conv1.weight"], before["block2.0.conv1.weight"][[1, 3]])
    assert torch.equal(after["block2.0.bn1.weight"], torch.tensor([2.0, 1.0]))
    second = "block2.0.conv2.weight"
    assert torch.equal(after[second], before[second][:, [1, 3]])


def test_residual_streams_keep_their_width_and_their_scales_do_not_count() -> None:
    model = narrow()
    for path in ("stem.bn", "block1.0.bn2", "block2.0.shortcut.1"):
        nn.init.constant_(model.get_submodule(path).weight, 1e-6)
    record = cut(model, 0.5)
    assert set(record.detail) <= {f"block{n}.0.conv1" for n in (1, 2, 3)}
    assert [model.get_submodule(f"block{n}.0.conv2").out_channels for n in (1, 2, 3)] == [2, 4, 8]


def test_a_pre_activation_block_is_ranked_by_the_norm_behind_its_conv() -> None:
    model = build("wrn_10_1", classes=2, channels=1, size=8, seed=0)
    for n, width in ((1, 16), (2, 32), (3, 64)):
        scales(model, f"block{n}.0.bn2", *(1.0 + i for i in range(width)))
    scales(model, "block1.0.bn2", *[0.5] * 8, *[9.0] * 8)
    record = cut(model, 8 / 112)
    assert record.detail == {"block1.0.conv1": list(range(8))}


def test_a_depthwise_conv_follows() -> None:
    model = build("mobilenet_v2", classes=10, channels=1, size=32, seed=0)
    nn.init.constant_(model.get_submodule("features.3.conv.0.1").weight[:100], 0.1)
    cut(model, 0.01, size=32)
    block = model.get_submodule("features.3.conv")
    assert block[0][0].out_channels == block[1][0].groups == block[2].in_channels < 144


def test_a_net_without_scales_behind_its_convs_is_refused() -> None:
    model = narrow()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.affine = False
    with pytest.raises(ValueError, match=r"slimming needs convs .*; use prune method 'l1_filter'"):
        cut(model, 0.5)


def test_a_net_of_shared_channels_is_refused() -> None:
    model = build("shufflenetv1", classes=10, channels=1, size=8, seed=0)
    with pytest.raises(ValueError, match="needs convs whose filters can go"):
        regulariser(model, method="slimming", channels=1, size=8)


def test_the_penalty_reaches_the_scales_that_are_ranked_with_strength_1e_4() -> None:
    model = narrow()
    scales(model, "block1.0.bn1", -2.0, 0.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    regulariser(model, method="slimming", channels=1, size=8)()
    moved = {path: p.grad for path, p in model.named_parameters() if p.grad.any()}
    assert list(moved) == [f"block{n}.0.bn1.weight" for n in (1, 2, 3)]
    assert torch.equal(moved["block1.0.bn1.weight"], torch.tensor([-1e-4, 0.0]))
    assert torch.equal(moved["block3.0.bn1.weight"], torch.full((8,), 1e-4))


def test_training_with_the_penalty_shrinks_free_scales() -> None:
    model = narrow()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regularise = regulariser(model, method="slimming", channels=1, size=8, strength=1.0)
    for _ in range(5):
        model.zero_grad()
        (model(torch.randn(8, 1, 8, 8)) * 1e-6).sum().backward()
        regularise()
        optimizer.step()
    assert model.get_submodule("block2.0.bn1").weight.detach() == pytest.approx(0.5, abs=1e-3)
    assert model.get_submodule("block2.0.bn2").weight.detach() == pytest.approx(1.0, abs=1e-3)
