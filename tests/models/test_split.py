"""Cutting a network behind a stage."""

import pytest
import torch

from kdtune.models import build, run, split_after, taps

CUT = ["resnet8", "wrn_10_2", "vgg8", "densenet_10_4", "pyramidnet_11_9"]
CUT += ["resnet50", "mobilenetv2", "shufflenetv1", "shufflenetv2"]


@pytest.mark.parametrize("name", CUT)
def test_the_parts_together_are_the_network(name: str) -> None:
    model = build(name, classes=10, channels=1, size=8, seed=0).eval()
    images = torch.randn(2, 1, 8, 8)
    whole = run(model, images, ["block2"])
    trunk, tail = split_after(model, "block2")
    assert torch.equal(trunk(images), whole.taps["block2"])
    assert torch.equal(tail(trunk(images)), whole.logits)


def test_the_parts_share_the_modules_and_the_mode_of_the_network() -> None:
    model = build("resnet8", classes=10, seed=0)
    assert all(part.training for part in split_after(model, "block1"))
    model.eval()
    trunk, tail = split_after(model, "block1")
    assert not trunk.training
    assert not tail.training
    assert trunk.get_submodule("block1") is model.get_submodule("block1")
    assert tail.get_submodule("classifier") is model.get_submodule("classifier")
    parts = {*map(id, trunk.parameters()), *map(id, tail.parameters())}
    assert parts == {*map(id, model.parameters())}


def test_only_a_sequence_of_stages_can_be_cut() -> None:
    model = build("resnet18", classes=10, seed=0)
    with pytest.raises(ValueError, match=r"must be a plain sequence of stages .*got 'ResNet'"):
        split_after(model, "block2")


@pytest.mark.parametrize("tap", ["pooled", "last_map", "block2_pre"])
def test_a_place_inside_a_stage_is_no_cut(tap: str) -> None:
    model = build("wrn_10_2", classes=10, seed=0)
    assert tap in taps(model)
    with pytest.raises(ValueError, match=f"got tap '{tap}'; choose one of stem, block1, block2, "):
        split_after(model, tap)


def test_an_unknown_stage_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown tap 'block5' of model 'Sequential'; did you"):
        split_after(build("resnet8", classes=10, seed=0), "block5")
