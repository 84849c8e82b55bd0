"""The zoo against the counts and shapes of the distillation literature."""

import pytest
import torch
from torch import nn

from kdtune.models import FAMILIES, build, run, tap_shapes, taps
from kdtune.models.catalog import blueprint

COUNTS = {
    "resnet8": (78_042, 83_892, 64),
    "resnet14": (175_258, 181_108, 64),
    "resnet20": (272_474, 278_324, 64),
    "resnet26": (369_690, 375_540, 64),
    "resnet32": (466_906, 472_756, 64),
    "resnet44": (661_338, 667_188, 64),
    "resnet56": (855_770, 861_620, 64),
    "resnet110": (1_730_714, 1_736_564, 64),
    "resnet8x4": (1_210_410, 1_233_540, 256),
    "resnet32x4": (7_410_730, 7_433_860, 256),
    "vgg8": (3_918_858, 3_965_028, 512),
    "vgg11": (9_231_114, 9_277_284, 512),
    "vgg13": (9_416_010, 9_462_180, 512),
    "vgg16": (14_728_266, 14_774_436, 512),
    "vgg19": (20_040_522, 20_086_692, 512),
    "wrn_10_2": (303_706, 315_316, 128),
    "wrn_16_1": (175_066, 180_916, 64),
    "wrn_16_2": (691_674, 703_284, 128),
    "wrn_16_3": (1_549_530, 1_566_900, 192),
    "wrn_16_4": (2_748_890, 2_772_020, 256),
    "wrn_16_6": (6_172_122, 6_206_772, 384),
    "wrn_16_8": (10_961_370, 11_007_540, 512),
    "wrn_28_1": (369_498, 375_348, 64),
    "wrn_28_2": (1_467_610, 1_479_220, 128),
    "wrn_28_3": (3_294_042, 3_311_412, 192),
    "wrn_28_4": (5_849_050, 5_872_180, 256),
    "wrn_28_6": (13_144_794, 13_179_444, 384),
    "wrn_28_8": (23_354_842, 23_401_012, 512),
    "wrn_28_10": (36_479_194, 36_536_884, 640),
    "wrn_40_1": (563_930, 569_780, 64),
    "wrn_40_2": (2_243_546, 2_255_156, 128),
    "resnet50": (23_520_842, 23_705_252, 2048),
    "mobilenetv2": (697_546, 812_836, 1280),
    "shufflenetv1": (862_768, 949_258, 960),
    "shufflenetv2": (1_263_278, 1_355_528, 1024),
}
"""Trainable parameters at 10 and at 100 classes, and the pooled width, as published."""

OWN_COUNTS = {
    "densenet_40_12": (1_019_722, 1_060_132, 448),
    "pyramidnet_110_64": (1_696_410, 1_725_300, 320),
    "pyramidnet_200_240": (26_752_702, 26_844_952, 1024),
    "pyramidnet_200_300": (40_211_050, 40_324_900, 1264),
}
"""The same where the papers print millions only: 1.0, 1.7 and (at 100 classes) 26.8 million."""

RESNET = {"stem": (16, 1), "block1": (16, 1), "block2": (32, 2), "block3": (64, 4)}
RESNET_X4 = {"stem": (32, 1), "block1": (64, 1), "block2": (128, 2), "block3": (256, 4)}
WRN_2 = {"stem": (16, 1), "block1": (32, 1), "block2": (64, 2), "block3": (128, 4)}
WRN_1 = {"stem": (16, 1), "block1": (16, 1), "block2": (32, 2), "block3": (64, 4)}
TENTH = {"stem": (2, 1), "block1": (2, 1), "block2": (4, 2), "block3": (8, 4)}
MOBILE = {"stem": (16, 2), "block1": (12, 2), "block2": (16, 4), "block3": (48, 8)}
MAPS = {
    "resnet8": RESNET,
    "resnet20": RESNET,
    "resnet8x4": RESNET_X4,
    "resnet8x0.125": TENTH,
    "wrn_10_2": WRN_2,
    "wrn_16_1": WRN_1,
    "resnet50": {
        "stem": (64, 1),
        "block1": (256, 1),
        "block2": (512, 2),
        "block3": (1024, 4),
        "block4": (2048, 8),
    },
    "mobilenetv2": {**MOBILE, "block4": (160, 16)},
    "shufflenetv1": {"stem": (24, 1), "block1": (240, 2), "block2": (480, 4), "block3": (960, 8)},
    "shufflenetv2": {"stem": (24, 1), "block1": (116, 2), "block2": (232, 4), "block3": (464, 8)},
    "densenet_40_12": {
        "stem": (16, 1),
        "block1": (160, 1),
        "block2": (304, 2),
        "block3": (448, 4),
    },
    "pyramidnet_110_64": {
        "stem": (16, 1),
        "block1": (148, 1),
        "block2": (236, 2),
        "block3": (320, 4),
    },
}
"""Channels of each map and by how much its side is smaller than the image's."""

VGG_SIDES = {
    8: (8, 4, 4, 4, 4),
    16: (16, 8, 4, 4, 4),
    32: (32, 16, 8, 4, 4),
    64: (64, 32, 16, 8, 4),
}
SMALL = ["resnet8", "resnet8x0.25", "wrn_10_2", "vgg8", "densenet_10_4", "pyramidnet_11_9"]
SMALL += ["resnet50", "mobilenetv2", "shufflenetv1", "shufflenetv2"]
LISTED = [name for family in FAMILIES.names() for name in FAMILIES.get(family).listed]


@pytest.mark.parametrize("name", [*COUNTS, *OWN_COUNTS])
def test_parameters_equal_the_known_counts(name: str) -> None:
    ten, hundred, pooled = (COUNTS | OWN_COUNTS)[name]
    for classes, expected in ((10, ten), (100, hundred)):
        model = blueprint(name, classes=classes, channels=3, size=32)
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected
    classifier = model.get_submodule(taps(model)["pooled"].path)
    assert isinstance(classifier, nn.Linear)
    assert classifier.in_features == pooled


def test_every_listed_net_has_a_pinned_count() -> None:
    narrow = {"resnet8x0.5", "resnet8x0.25", "resnet8x0.125"}
    assert set(LISTED) == {*COUNTS, *OWN_COUNTS, *narrow}


def test_the_parameters_of_a_dense_net_are_those_of_its_layers() -> None:
    expected, width = 3 * 16 * 9, 16
    for block in range(3):
        for _ in range(12):
            expected += 2 * width + 9 * width * 12
            width += 12
        expected += 2 * width + (width * width if block < 2 else 0)
    assert expected + 10 * (width + 1) == OWN_COUNTS["densenet_40_12"][0]


def test_the_widths_of_a_pyramid_grow_by_equal_steps() -> None:
    model = blueprint("pyramidnet_20_12", classes=10, channels=3, size=32)
    inner = [m.out_channels for path, m in model.named_modules() if path.endswith(".conv2")]
    assert inner == [18, 20, 22, 24, 26, 28]


@pytest.mark.parametrize(
    ("name", "count"), [("resnet8x0.5", 19_810), ("resnet8x0.25", 5_142), ("resnet8x0.125", 1_384)]
)
def test_narrow_nets_for_grey_images_have_few_parameters(name: str, count: int) -> None:
    model = blueprint(name, classes=10, channels=1, size=8)
    assert sum(p.numel() for p in model.parameters()) == count


def map_shapes(name: str, channels: int, size: int) -> dict[str, tuple[int, ...]]:
    model = blueprint(name, classes=10, channels=channels, size=size)
    return {
        tap: found.shape
        for tap, found in tap_shapes(model, taps(model), channels=channels, size=size).items()
    }


def published(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {
        tap: shape
        for tap, shape in shapes.items()
        if tap != "last_map" and not tap.endswith("_pre")
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 32, 64])
@pytest.mark.parametrize("name", MAPS)
def test_maps_have_the_published_shapes(name: str, size: int, channels: int) -> None:
    expected: dict[str, tuple[int, ...]] = {
        tap: (width, -(-size // shrink), -(-size // shrink))
        for tap, (width, shrink) in MAPS[name].items()
    }
    widest = list(MAPS[name].values())[-1][0]
    expected["pooled"] = ({"mobilenetv2": 1280, "shufflenetv2": 1024}.get(name, widest),)
    shapes = map_shapes(name, channels, size)
    assert published(shapes) == expected
    assert list(published(shapes)) == list(expected)
    assert shapes["last_map"][1:] == list(expected.values())[-2][1:]
    assert shapes["last_map"][:1] == expected["pooled"]


@pytest.mark.parametrize("size", VGG_SIDES)
@pytest.mark.parametrize("name", ["vgg8", "vgg19"])
def test_vgg_pools_only_as_the_image_needs(name: str, size: int) -> None:
    shapes = published(map_shapes(name, 3, size))
    assert shapes.pop("pooled") == (512,)
    assert list(shapes) == ["stem", "block1", "block2", "block3", "block4"]
    widths = (64, 128, 256, 512, 512)
    sides = VGG_SIDES[size]
    assert list(shapes.values()) == [(w, s, s) for w, s in zip(widths, sides, strict=True)]


@pytest.mark.parametrize("name", LISTED)
def test_every_listed_net_reads_odd_sizes(name: str) -> None:
    model = blueprint(name, classes=10, channels=4, size=9).eval()
    found = run(model, torch.empty(2, 4, 9, 9, device="meta"), ["stem", "last_map", "pooled"])
    assert found.logits.shape == (2, 10)
    assert found.taps["last_map"].shape[:2] == found.taps["pooled"].shape


@pytest.mark.parametrize("name", SMALL)
def test_declared_signs_hold(name: str) -> None:
    model = build(name, classes=10, channels=1, size=8, seed=0)
    found = run(model, torch.randn(16, 1, 8, 8), taps(model))
    for tap, point in taps(model).items():
        assert (found.taps[tap].min() < 0).item() is point.signed


@pytest.mark.parametrize("name", [name for name in SMALL if "shuffle" not in name])
def test_weights_start_as_the_papers_say(name: str) -> None:
    model = build(name, classes=10, seed=0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            wanted = (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5
            assert module.weight.std().item() == pytest.approx(wanted, rel=0.1)
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("name", [name for name in SMALL if name != "resnet8x0.25"])
def test_a_net_exports_without_its_hooks(name: str) -> None:
    model = build(name, classes=10, channels=1, size=8, seed=0).eval()
    images = torch.randn(2, 1, 8, 8)
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images), model(images))
