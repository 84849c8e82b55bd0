"""Reading features through temporary hooks."""

import copy

import pytest
import torch
from torch import Tensor, nn

from kdtune.contracts import Feature
from kdtune.models import blueprint, build, norm_of, run, tap_shapes, taps

NAMES = ["resnet8", "wrn_10_2", "vgg8", "resnet18", "mobilenetv2", "efficientnet_b0"]


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
            module.register_forward_pre_hook(
                lambda m, i, tap=tap: expected.update({tap: i[0].clone()})
            )
    model(images)
    found = run(model, images, taps(model))
    assert list(found.taps) == list(taps(model))
    assert all(torch.equal(found.taps[tap], expected[tap]) for tap in expected)


@pytest.mark.parametrize("name", [*NAMES, "densenet_10_4", "pyramidnet_11_9", "shufflenetv1"])
def test_taps_are_declared_in_forward_order(name: str) -> None:
    model = build(name, classes=10, seed=0).eval()
    order: list[str] = []
    for tap, point in taps(model).items():
        module = model.get_submodule(point.path)
        if point.side == "output":
            module.register_forward_hook(lambda m, i, o, tap=tap: order.append(tap))
        else:
            module.register_forward_pre_hook(lambda m, i, tap=tap: order.append(tap))
    model(torch.randn(1, 3, 32, 32))
    last_calls = [tap for i, tap in enumerate(order) if tap not in order[i + 1 :]]
    assert last_calls == list(taps(model))
    assert [tap for tap in taps(model) if not tap.endswith("_pre")] == [
        "stem",
        *(f"block{n}" for n in range(1, 5) if f"block{n}" in taps(model)),
        "last_map",
        "pooled",
    ]


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
    message = r"unknown tap 'blok1' .*did you mean 'block1'"
    with pytest.raises(ValueError, match=message):
        run(model, torch.randn(2, 3, 32, 32), ["blok1"])
    with pytest.raises(ValueError, match=message):
        tap_shapes(model, ["blok1"], channels=3, size=32)
    with pytest.raises(ValueError, match=message):
        norm_of(model, "blok1")
    assert hook_count(model) == 0


def test_tapped_tensors_come_in_the_order_asked_for() -> None:
    model = build("resnet8", classes=10, channels=1, size=8, seed=0)
    asked = ["pooled", "block1", "stem"]
    assert list(run(model, torch.randn(2, 1, 8, 8), asked).taps) == asked
    assert list(tap_shapes(model, asked, channels=1, size=8)) == asked


def test_shapes_are_the_same_with_and_without_weights() -> None:
    here = build("resnet8", classes=10, channels=1, size=8, seed=0)
    nowhere = blueprint("resnet8", classes=10, channels=1, size=8)
    shapes = tap_shapes(here, taps(here), channels=1, size=8)
    assert shapes == tap_shapes(nowhere, taps(nowhere), channels=1, size=8)
    assert shapes["block2"] == Feature(shape=(32, 4, 4), activation="post", signed=False)
    assert shapes["block2_pre"] == Feature(shape=(32, 4, 4), activation="pre", signed=True)
    assert shapes["pooled"].shape == (64,)


def test_asking_for_shapes_leaves_modes_and_buffers_alone() -> None:
    model = build("resnet8", classes=10, seed=0)
    model.get_submodule("block2").eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    tap_shapes(model, ["pooled"], channels=3, size=32)
    with pytest.raises(RuntimeError):
        tap_shapes(model, ["pooled"], channels=5, size=32)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert hook_count(model) == 0


def test_a_replaced_batch_norm_is_refused() -> None:
    model = build("resnet8", classes=10, seed=0)
    assert norm_of(model, "block2") is None
    assert norm_of(model, "block2_pre") is model.get_submodule("block2.0.bn2")
    model.get_submodule("block2.0").bn2 = nn.Identity()
    with pytest.raises(ValueError, match=r"'block2\.0\.bn2' of tap 'block2_pre' must be a BatchN"):
        norm_of(model, "block2_pre")


def test_pooled_is_what_the_classifier_reads() -> None:
    model = build("wrn_10_2", classes=10, seed=0).eval()
    found = run(model, torch.randn(2, 3, 32, 32), ["pooled"])
    assert torch.equal(model.get_submodule("classifier")(found.taps["pooled"]), found.logits)


def test_a_copy_keeps_its_taps_and_a_plain_net_has_none() -> None:
    model = build("resnet8", classes=10, seed=0)
    assert taps(copy.deepcopy(model)) == taps(model)
    assert taps(nn.Linear(2, 2)) == {}
