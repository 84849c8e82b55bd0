"""Names, seeds and refusals."""

import pytest
import torch

from kdtune.models import build, check, names
from kdtune.models.catalog import locate

REPRESENTATIVE = ["resnet8", "resnet8x0.125", "resnet8x4", "wrn_10_2", "vgg8"]
REPRESENTATIVE += ["densenet_10_4", "pyramidnet_11_9", "mobilenetv2", "shufflenetv1"]
REPRESENTATIVE += ["shufflenetv2", "resnet50"]


@pytest.mark.parametrize("name", [*REPRESENTATIVE, "mobilenet_v2"])
def test_equal_arguments_give_equal_bits_whatever_ran_before(name: str) -> None:
    first = build(name, classes=10, channels=3, size=32, seed=7).state_dict()
    torch.manual_seed(123)
    torch.randn(1000)
    second = build(name, classes=10, channels=3, size=32, seed=7).state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_the_global_generator_is_left_alone(name: str) -> None:
    before = torch.get_rng_state()
    build(name, classes=10, seed=3)
    check(name, classes=10, channels=3, size=32)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_gives_other_weights() -> None:
    one, two = (build("resnet8", classes=10, seed=seed).state_dict() for seed in (0, 1))
    assert not torch.equal(one["stem.conv.weight"], two["stem.conv.weight"])


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_a_built_net_trains(name: str) -> None:
    model = build(name, classes=5, channels=1, size=16, seed=0)
    assert model.training
    model(torch.randn(4, 1, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_zoo_wins_and_the_prefix_asks_for_the_library() -> None:
    assert locate("vgg11")[0] == "vgg"
    assert locate("torchvision:vgg11")[0] == "torchvision"
    assert {"vgg11", "torchvision:vgg11"} < set(names())
    assert len(names()) == len(set(names()))


def test_a_library_depth_is_not_mistaken_for_a_cifar_resnet() -> None:
    assert [locate(f"resnet{depth}")[0] for depth in (50, 152, 38)] == [
        "resnet50",
        "torchvision",
        "resnet",
    ]
    assert locate("torchvision:resnet50")[0] == "torchvision"


def test_every_name_is_found() -> None:
    assert all(locate(name) for name in names())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet21", r"must be 6n \+ 2 .*got 21 in 'resnet21'"),
        ("resnet2", r"must be 6n \+ 2 .*got 2"),
        ("resnet8x3", r"must be one of 0\.125, 0\.25, 0\.5, 4, got 3"),
        ("wrn_12_2", r"must be 6n \+ 4 .*got 12"),
        ("wrn_4_2", r"must be 6n \+ 4"),
        ("densenet_12_12", r"must be 3n \+ 4 .*got 12 in 'densenet_12_12'"),
        ("densenet_4_12", r"must be 3n \+ 4 .*got 4"),
        ("pyramidnet_112_64", r"must be 9n \+ 2 .*got 112 in 'pyramidnet_112_64'"),
        ("pyramidnet_2_9", r"must be 9n \+ 2 .*got 2"),
        ("shufflenetv3", "did you mean 'shufflenetv2'"),
        ("vgg12", r"must be one of 8, 11, 13, 16, 19, got 12"),
        ("resnet20x", "did you mean 'resnet20'"),
        ("mobilnet_v2", "did you mean 'mobilenet_v2'"),
        ("torchvision:resnet20", "unknown torchvision model 'resnet20'"),
    ],
)
def test_a_wrong_name_says_the_rule_or_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(name, classes=10, channels=3, size=32)
    with pytest.raises(ValueError, match=message):
        build(name, classes=10, seed=0)


@pytest.mark.parametrize(("key", "value"), [("classes", 1), ("channels", 0), ("size", 0)])
def test_a_number_out_of_range_is_refused(key: str, value: int) -> None:
    numbers = {"classes": 10, "channels": 3, "size": 32, key: value}
    with pytest.raises(ValueError, match=rf"{key} of a model must be >= \d, got {value}"):
        check("resnet8", **numbers)


@pytest.mark.parametrize("name", ["resnet6000002", "wrn_16_99999", f"vgg{'9' * 5000}"])
def test_a_network_that_would_only_fill_the_memory_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a number in the name of a network must be at most 2000"):
        check(name, classes=10, channels=3, size=32)


@pytest.mark.parametrize("name", ["alexnet", "vit_b_16", "maxvit_t", "inception_v3", "densenet121"])
def test_images_too_small_are_refused_before_any_work(name: str) -> None:
    with pytest.raises(ValueError, match=f"model '{name}' cannot read images of 3x8x8: "):
        check(name, classes=10, channels=3, size=8)


def test_an_unknown_tap_names_the_nearest() -> None:
    check("resnet8", classes=10, channels=3, size=32, taps=("stem", "block3", "pooled"))
    with pytest.raises(ValueError, match="unknown tap 'block5' of model 'vgg8'; did you mean"):
        check("vgg8", classes=10, channels=3, size=32, taps=("block5",))
    with pytest.raises(ValueError, match=r"unknown tap 'pooled' of model 'squeezenet1_1'\. "):
        check("squeezenet1_1", classes=10, channels=3, size=32, taps=("pooled",))
