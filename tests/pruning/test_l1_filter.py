"""Structured pruning against the published counts and a ranking by hand."""

import pytest
import torch
from torch import nn

from kdtune.models import build, run, taps
from kdtune.pruning import prune, replay
from kdtune.pruning.l1_filter import kept_filters

PUBLISHED = [
    ("resnet56", (0.6, 0.3, 0.1), "", 714_254),
    ("resnet56", (0.6, 0.3, 0.1), "rethinking", 744_314),
    ("resnet56", (0.5, 0.4, 0.3), "", 573_026),
    ("resnet56", (0.5, 0.4, 0.3), "rethinking", 631_222),
    ("resnet110", (0.2, 0.2, 0.2), "", 1_377_572),
    ("resnet110", (0.2, 0.2, 0.2), "rethinking", 1_393_028),
    ("resnet110", (0.5, 0.4, 0.3), "", 1_151_744),
    ("resnet110", (0.5, 0.4, 0.3), "rethinking", 1_177_026),
    ("resnet20", (0.6, 0.3, 0.1), "", 231_506),
]


def conv(model: nn.Module, path: str) -> nn.Conv2d:
    found = model.get_submodule(path)
    assert isinstance(found, nn.Conv2d)
    return found


@pytest.mark.parametrize(("name", "ratios", "skip", "count"), PUBLISHED)
def test_counts_after_pruning_equal_the_published_table(
    name: str, ratios: tuple[float, ...], skip: str, count: int
) -> None:
    model = build(name, classes=100, seed=0)
    prune(model, method="l1_filter", ratio=0.5, channels=3, size=32, ratios=ratios, skip=skip)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.75])
def test_the_filters_of_largest_norm_stay(ratio: float) -> None:
    model = build("resnet8", classes=10, channels=1, size=8, seed=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    record = prune(model, method="l1_filter", ratio=ratio, channels=1, size=8)
    assert list(record.detail) == [f"block{n}.0.conv1" for n in (1, 2, 3)]
    for path, removed in record.detail.items():
        block = path.removesuffix(".conv1")
        norms = before[f"{path}.weight"].abs().sum((1, 2, 3))
        keep = norms.argsort(descending=True)[: int(len(norms) * (1 - ratio))].sort().values
        assert sorted({*range(len(norms))} - {*removed}) == keep.tolist()
        after = model.state_dict()
        assert torch.equal(after[f"{path}.weight"], before[f"{path}.weight"][keep])
        assert torch.equal(after[f"{block}.bn1.bias"], before[f"{block}.bn1.bias"][keep])
        second = f"{block}.conv2.weight"
        assert torch.equal(after[second], before[second][:, keep])


def test_a_hand_made_ranking() -> None:
    model = build("resnet8x0.125", classes=2, channels=1, size=8, seed=0)
    sizes = torch.tensor([0.1, -3.0, 0.5, 2.0, -0.2, 1.0, 0.4, -0.3])
    target = conv(model, "block3.0.conv1")
    with torch.no_grad():
        target.weight.copy_(sizes[:, None, None, None].expand_as(target.weight))
    record = prune(model, method="l1_filter", ratio=0.5, channels=1, size=8)
    assert record.detail["block3.0.conv1"] == [0, 4, 6, 7]


@pytest.mark.parametrize(
    ("filters", "ratio", "kept"),
    [
        (10, 0.9, 1),
        (20, 0.9, 2),
        (10, 0.7, 3),
        (100, 0.29, 71),
        (16, 0.6, 6),
        (32, 0.3, 22),
        (2, 0.99, 1),
    ],
)
def test_truncation_is_exact_and_never_empties_a_layer(
    filters: int, ratio: float, kept: int
) -> None:
    assert kept_filters(filters, ratio) == kept


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_2", "resnet18"])
def test_taps_keep_their_shapes(name: str) -> None:
    model = build(name, classes=10, seed=0)
    images = torch.randn(2, 3, 32, 32)
    before = run(model, images, taps(model)).taps
    prune(model, method="l1_filter", ratio=0.5, channels=3, size=32)
    after = run(model, images, taps(model)).taps
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}


def test_vgg_loses_filters_everywhere() -> None:
    model = build("vgg11", classes=10, seed=0)
    record = prune(model, method="l1_filter", ratio=0.5, channels=3, size=32)
    assert len(record.detail) == 8
    assert conv(model, "stem.conv1").out_channels == 32
    assert conv(model, "block4.conv2").weight.shape[:2] == (256, 256)
    assert run(model, torch.randn(2, 3, 32, 32), ["pooled"]).taps["pooled"].shape == (2, 256)


def test_bottlenecks_lose_the_filters_inside() -> None:
    model = build("torchvision:resnet50", classes=10, seed=0)
    prune(model, method="l1_filter", ratio=0.5, channels=3, size=32)
    assert [conv(model, f"layer1.1.conv{n}").out_channels for n in (1, 2, 3)] == [32, 32, 256]


def test_without_declared_blocks_only_private_channels_go() -> None:
    model = build("mobilenet_v2", classes=10, seed=0)
    prune(model, method="l1_filter", ratio=0.5, channels=3, size=32)
    expand, depthwise, project = (
        conv(model, f"features.3.conv.{path}") for path in ("0.0", "1.0", "2")
    )
    assert expand.out_channels == depthwise.groups == project.in_channels == 72
    assert conv(model, "features.18.0").out_channels == 1280


@pytest.mark.parametrize("name", ["resnext50_32x4d", "shufflenet_v2_x0_5"])
def test_a_net_without_private_filters_is_refused(name: str) -> None:
    model = build(name, classes=10, seed=0)
    with pytest.raises(
        ValueError, match=r"structured pruning needs .*; use prune method 'magnitude'"
    ):
        prune(model, method="l1_filter", ratio=0.5, channels=3, size=32)


def test_a_second_model_is_pruned_as_the_first() -> None:
    records = []
    for name in ("mobilenet_v2", "resnet8", "resnet8"):
        model = build(name, classes=10, seed=0)
        records.append(prune(model, method="l1_filter", ratio=0.5, channels=3, size=32))
    assert records[1] == records[2]


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ((0.5,), r"must be 3 numbers \(block1, block2, block3\), got 1"),
        ((0.5, 1.0, 0.1), r"must be in \[0, 1\), got 1.0"),
    ],
)
def test_wrong_ratios_per_stage_are_refused(ratios: tuple[float, ...], message: str) -> None:
    model = build("resnet8", classes=10, seed=0)
    with pytest.raises(ValueError, match=message):
        prune(model, method="l1_filter", ratio=0.5, channels=3, size=32, ratios=ratios)


def test_a_stage_of_ratio_zero_is_spared() -> None:
    model = build("resnet8", classes=10, seed=0)
    record = prune(
        model, method="l1_filter", ratio=0.5, channels=3, size=32, ratios=(0.0, 0.5, 0.0)
    )
    assert list(record.detail) == ["block2.0.conv1"]


def test_a_record_of_another_net_is_refused() -> None:
    record = prune(
        build("resnet14", classes=10, seed=0), method="l1_filter", ratio=0.5, channels=3, size=32
    )
    with pytest.raises(ValueError, match=r"'block1\.1\.conv1' must be a Conv2d of the model"):
        replay(build("resnet8", classes=10, seed=0), record, channels=3, size=32)
    narrow = build("resnet14", classes=10, seed=0)
    replay(narrow, record, channels=3, size=32)
    with pytest.raises(ValueError, match=r"the removed channels of 'block1\.0\.conv1' must be"):
        replay(narrow, record, channels=3, size=32)


def test_spared_blocks_are_whole_and_all_others_pruned() -> None:
    model = build("resnet56", classes=10, seed=0)
    record = prune(model, method="l1_filter", ratio=0.5, channels=3, size=32, skip="rethinking")
    blocks = {f"block{stage}.{n}.conv1" for stage in (1, 2, 3) for n in range(9)}
    assert blocks - set(record.detail) == {
        f"block{place}.conv1" for place in ("1.7", "1.8", "2.0", "2.7", "3.0", "3.8")
    }


@pytest.mark.parametrize("name", ["resnet20", "wrn_58_1", "vgg8", "resnet18"])
def test_a_skip_list_for_another_net_is_refused(name: str) -> None:
    model = build(name, classes=10, seed=0)
    with pytest.raises(ValueError, match=r"'rethinking' is for resnet56, resnet110, got "):
        prune(model, method="l1_filter", ratio=0.5, channels=3, size=32, skip="rethinking")


def test_an_unknown_skip_list_names_the_nearest() -> None:
    model = build("resnet8", classes=10, seed=0)
    with pytest.raises(ValueError, match="'rethink'; did you mean 'rethinking'"):
        prune(model, method="l1_filter", ratio=0.5, channels=3, size=32, skip="rethink")
