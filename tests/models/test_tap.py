"""Reading features through temporary hooks."""

import copy

import pytest
import torch
from torch import Tensor, nn

from kdtune.models import build, run, taps

NAMES = ["resnet8", "wrn_10_2", "vgg8", "resnet18"]


def hook_count(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("name", NAMES)
def test_taps_equal_hooks_set_by_hand(name: str) -> None:
    model = build(name, classes=10, seed=0).eval()
    images = torch.randn(2, 3, 32, 32)
    expected: dict[str, Tensor] = {}
    for tap, point in taps(model).items():
        module = model.get_submodule(point.path)
        if point.side == "output":
            module.register_forward_hook(lambda m, i, o, tap=tap: expected.update({tap: o.clone()}))
        else:
            module.register_forward_pre_hook(lambda m, i, tap=tap: expected.update({tap: i[0]}))
    model(images)
    found = run(model, images, taps(model))
    assert list(found.taps) == [
        "stem",
        *(f"block{n + 1}" for n in range(len(expected) - 2)),
        "pooled",
    ]
    assert all(torch.equal(found.taps[tap], expected[tap]) for tap in expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_tapped_pass_gives_the_same_logits_and_leaves_no_hook(name: str) -> None:
    model = build(name, classes=10, seed=0).eval()
    images = torch.randn(2, 3, 32, 32)
    tapped = run(model, images, ["block1", "pooled"])
    assert set(tapped.taps) == {"block1", "pooled"}
    assert hook_count(model) == 0
    plain = run(model, images)
    assert torch.equal(plain.logits, tapped.logits)
    assert not plain.taps


def test_hooks_go_even_when_the_pass_fails() -> None:
    model = build("resnet8", classes=10, seed=0)
    with pytest.raises(RuntimeError):
        run(model, torch.randn(2, 5, 32, 32), ["block1"])
    assert hook_count(model) == 0


def test_gradients_flow_through_a_tap() -> None:
    model = build("resnet8", classes=10, channels=1, size=8, seed=0)
    run(model, torch.randn(4, 1, 8, 8), ["block2"]).taps["block2"].sum().backward()
    assert model.get_submodule("stem.conv").weight.grad is not None
    assert model.get_submodule("classifier").weight.grad is None


def test_an_unknown_tap_is_refused() -> None:
    model = build("resnet8", classes=10, seed=0)
    with pytest.raises(ValueError, match=r"unknown tap 'blok1' .*did you mean 'block1'"):
        run(model, torch.randn(2, 3, 32, 32), ["blok1"])
    assert hook_count(model) == 0


def test_pooled_is_what_the_classifier_reads() -> None:
    model = build("wrn_10_2", classes=10, seed=0).eval()
    found = run(model, torch.randn(2, 3, 32, 32), ["pooled"])
    assert torch.equal(model.get_submodule("classifier")(found.taps["pooled"]), found.logits)


def test_a_copy_keeps_its_taps_and_a_plain_net_has_none() -> None:
    model = build("resnet8", classes=10, seed=0)
    assert taps(copy.deepcopy(model)) == taps(model)
    assert taps(nn.Linear(2, 2)) == {}
