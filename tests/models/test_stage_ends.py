"""What the taps before a ReLU and before the pooling read, against forward passes by hand."""

import pytest
import torch
from torch import Tensor, nn

from kdtune.models import build, norm_of, run, tap_shapes, taps

RECTIFIED = ["resnet14", "vgg11", "resnet50", "shufflenetv1", "resnet18", "torchvision:resnet50"]
READ_BY_A_NORM = ["wrn_10_2", "densenet_10_4"]
LINEAR = ["mobilenetv2", "mobilenet_v2"]
WITHOUT = ["shufflenetv2", "efficientnet_b0", "convnext_tiny"]


def stages(model: nn.Module) -> list[str]:
    return [tap for tap in taps(model) if tap.startswith("block") and not tap.endswith("_pre")]


def tapped(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network with moved batch norms, in eval mode, and all that its taps read."""
    model = build(name, classes=10, channels=3, size=32, seed=0)
    draw = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.2, generator=draw)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=draw)
    images = torch.randn(2, 3, 32, 32, generator=draw)
    with torch.no_grad():
        return model.eval(), dict(run(model, images, taps(model)).taps)


@pytest.mark.parametrize("name", RECTIFIED)
def test_a_stage_is_the_relu_of_what_comes_before_it(name: str) -> None:
    model, found = tapped(name)
    for stage in stages(model):
        assert (found[f"{stage}_pre"] < 0).any()
        assert torch.equal(found[f"{stage}_pre"].relu(), found[stage])


@pytest.mark.parametrize("name", READ_BY_A_NORM)
def test_a_raw_sum_is_read_through_the_batch_norm_behind_it(name: str) -> None:
    model, found = tapped(name)
    assert len(stages(model)) == 3
    for stage in stages(model):
        norm = norm_of(model, f"{stage}_pre")
        assert norm is not None
        assert torch.equal(found[f"{stage}_pre"], norm(found[stage]))


def test_a_pyramid_is_read_where_its_sum_first_meets_a_relu() -> None:
    model, found = tapped("pyramidnet_20_12")
    for stage, following in (("block1", "block2.0"), ("block2", "block3.0")):
        block = model.get_submodule(following)
        expected = block.bn2(block.conv1(block.bn1(found[stage])))
        assert torch.equal(found[f"{stage}_pre"], expected)
        assert norm_of(model, f"{stage}_pre") is block.bn2
    head = model.get_submodule("head.bn")
    assert torch.equal(found["block3_pre"], head(found["block3"]))
    assert norm_of(model, "block3_pre") is head


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_bottleneck_is_its_own_map_before_the_relu(name: str) -> None:
    model, found = tapped(name)
    assert len(stages(model)) == 4
    for stage in stages(model):
        assert torch.equal(found[f"{stage}_pre"], found[stage])


@pytest.mark.parametrize("name", WITHOUT)
def test_no_margin_is_offered_where_no_batch_norm_gives_one(name: str) -> None:
    model = build(name, classes=10, seed=0)
    assert not [tap for tap in taps(model) if tap.endswith("_pre")]
    assert all(norm_of(model, tap) is None for tap in taps(model))


@pytest.mark.parametrize("name", [*RECTIFIED, *READ_BY_A_NORM, "pyramidnet_20_12", *LINEAR])
def test_the_batch_norm_has_as_many_channels_as_the_map(name: str) -> None:
    model = build(name, classes=10, seed=0)
    before = [tap for tap in taps(model) if tap.endswith("_pre")]
    shapes = tap_shapes(model, before, channels=3, size=32)
    for tap in before:
        norm = norm_of(model, tap)
        assert norm is not None
        assert norm.num_features == shapes[tap].shape[0]
        assert (shapes[tap].activation, shapes[tap].signed) == ("pre", True)


@pytest.mark.parametrize("name", [*RECTIFIED, *READ_BY_A_NORM, *LINEAR, "shufflenetv2"])
def test_the_last_map_is_what_gets_pooled(name: str) -> None:
    _, found = tapped(name)
    torch.testing.assert_close(found["last_map"].mean((2, 3)), found["pooled"])
    assert (found["last_map"] >= 0).all()


def test_the_last_map_of_an_efficientnet_is_pooled_before_dropout() -> None:
    model = build("efficientnet_b0", classes=10, seed=0)
    found = run(model, torch.randn(2, 3, 32, 32), ["last_map", "pooled"]).taps
    torch.testing.assert_close(found["last_map"].mean((2, 3)), found["pooled"])


def test_the_norm_of_a_residual_sum_is_the_last_of_its_branch() -> None:
    paths = {
        "resnet14": "block2.1.bn2",
        "resnet50": "block2.3.bn3",
        "shufflenetv1": "block2.7.bn3",
        "vgg19": "block2.bn4",
        "mobilenetv2": "block2.2.bn3",
        "resnet18": "layer2.1.bn2",
        "torchvision:resnet50": "layer2.3.bn3",
        "mobilenet_v2": "features.6.conv.3",
    }
    assert {
        name: taps(build(name, classes=10, seed=0))["block2_pre"].norm for name in paths
    } == paths


@pytest.mark.parametrize(("name", "convs"), [("resnet18", 2), ("torchvision:resnet50", 3)])
def test_an_in_place_relu_hides_neither_the_sum_nor_its_gradient(name: str, convs: int) -> None:
    model = build(name, classes=10, seed=0).eval()
    images = torch.randn(2, 3, 64, 64)
    found = run(model, images, ["block2_pre"]).taps["block2_pre"]

    names = list(dict(model.named_children()))
    x = images
    for child in names[: names.index("layer2")]:
        x = model.get_submodule(child)(x)
    *others, block = model.get_submodule("layer2").children()
    for other in others:
        x = other(x)
    residual = x
    for n in range(1, convs + 1):
        residual = getattr(block, f"bn{n}")(getattr(block, f"conv{n}")(residual))
        residual = residual if n == convs else residual.clamp(min=0)
    expected = residual + x
    assert (expected < 0).any()
    torch.testing.assert_close(found, expected)

    weight = block.conv1.weight
    (gradient,) = torch.autograd.grad(found.square().sum(), weight)
    (by_hand,) = torch.autograd.grad(expected.square().sum(), weight)
    torch.testing.assert_close(gradient, by_hand, rtol=1e-4, atol=1e-3)
