"""The bridge to torchvision."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from kdtune.models import build, check, run, tap_shapes, taps
from kdtune.models.catalog import blueprint

COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet152": 60_192_808,
    "mobilenet_v2": 3_504_872,
    "efficientnet_b0": 5_288_548,
    "convnext_tiny": 28_589_128,
}

ONE_OF_EACH = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vgg11_bn",
    "vit_b_32",
]


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_equal_the_library_metadata(name: str) -> None:
    model = blueprint(f"torchvision:{name}", classes=1000, channels=3, size=224)
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_kind_of_model_passes_the_check_at_its_own_size(name: str) -> None:
    check(f"torchvision:{name}", classes=7, channels=1, size=224)


def test_a_model_that_needs_numbers_to_be_built_is_checked_too() -> None:
    check("regnet_x_400mf", classes=10, channels=3, size=32)


MAPS = {
    "resnet18": ((64, 56), (64, 128, 256, 512), 512),
    "resnet34": ((64, 56), (64, 128, 256, 512), 512),
    "resnet50": ((64, 56), (256, 512, 1024, 2048), 2048),
    "resnet152": ((64, 56), (256, 512, 1024, 2048), 2048),
    "mobilenet_v2": ((32, 112), (24, 32, 96, 320), 1280),
    "efficientnet_b0": ((32, 112), (24, 40, 112, 320), 1280),
    "efficientnet_v2_s": ((24, 112), (48, 64, 160, 256), 1280),
    "convnext_tiny": ((96, 56), (96, 192, 384, 768), 768),
}
"""Channels and side of the stem, channels of the blocks, and the width of the last map."""


@pytest.mark.parametrize("name", MAPS)
def test_blocks_end_at_a_4th_to_a_32nd_of_the_side(name: str) -> None:
    (width, side), blocks, last = MAPS[name]
    model = blueprint(f"torchvision:{name}", classes=1000, channels=3, size=224)
    shapes = tap_shapes(model, taps(model), channels=3, size=224)
    assert {tap: s.shape for tap, s in shapes.items() if not tap.endswith("_pre")} == {
        "stem": (width, side, side),
        "block1": (blocks[0], 56, 56),
        "block2": (blocks[1], 28, 28),
        "block3": (blocks[2], 14, 14),
        "block4": (blocks[3], 7, 7),
        "last_map": (last, 7, 7),
        "pooled": (last,),
    }


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "googlenet"]
)
def test_declared_signs_hold_in_the_library(name: str) -> None:
    model = build(name, classes=10, seed=0)
    found = run(model, torch.randn(4, 3, 64, 64), taps(model))
    for tap, point in taps(model).items():
        assert point.signed or (found.taps[tap] >= 0).all()


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "convnext_tiny", "resnet34"])
def test_students_of_the_library_train_on_small_images(name: str) -> None:
    model = build(name, classes=5, seed=0)
    found = run(model, torch.randn(4, 3, 32, 32), ["block3", "pooled"])
    (found.logits.sum() + found.taps["block3"].square().mean()).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "width"),
    [("mobilenet_v2", 1280), ("efficientnet_b0", 1280), ("convnext_tiny", 768), ("vit_b_32", 768)],
)
def test_pooled_is_found_before_the_last_linear_layer(name: str, width: int) -> None:
    model = blueprint(name, classes=10, channels=3, size=64).eval()
    found = run(model, torch.empty(2, 3, 64, 64, device="meta"), ["pooled"])
    assert found.taps["pooled"].shape == (2, width)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_left_out(name: str) -> None:
    model = blueprint(name, classes=10, channels=3, size=96).train()
    logits = model(torch.empty(2, 3, 96, 96, device="meta"))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 10)


def test_another_number_of_channels_swaps_the_first_conv() -> None:
    grey = build("mobilenet_v2", classes=10, channels=1, seed=0)
    colour = build("mobilenet_v2", classes=10, channels=3, seed=0)
    first, usual = (
        next(m for m in net.modules() if isinstance(m, nn.Conv2d)) for net in (grey, colour)
    )
    assert (first.in_channels, first.stride, first.padding) == (1, usual.stride, usual.padding)
    assert (first.bias is None) is (usual.bias is None)
    assert grey.eval()(torch.randn(2, 1, 32, 32)).shape == (2, 10)


def test_the_zoo_does_not_import_torchvision() -> None:
    code = (
        "import sys; from kdtune import models; models.build('resnet8', classes=10, seed=0); "
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
