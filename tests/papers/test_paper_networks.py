"""Every network of the papers is one that kdtune builds, or is known not to be."""

import pytest

from kdtune.models.catalog import blueprint
from kdtune.papers import figures, network_name

SIDES = {"cifar10": 32, "cifar100": 32, "tiny_imagenet": 64}
PRINTED = sorted({(n, f.dataset) for f in figures() for n in (f.teacher, f.student) if n})
NAMED = sorted({(name, d) for n, d in PRINTED if (name := network_name(n, d)) is not None})


def test_only_the_translating_network_is_not_built() -> None:
    assert {n for n, d in PRINTED if network_name(n, d) is None} == {"Transformer"}


@pytest.mark.parametrize(("name", "dataset"), NAMED)
def test_a_named_network_is_built(name: str, dataset: str) -> None:
    blueprint(name, classes=10, channels=3, size=SIDES.get(dataset, 224))


def test_the_dataset_decides_between_the_zoo_and_torchvision() -> None:
    assert network_name("ResNet-50", "cifar100") == "resnet50"
    assert network_name("ResNet-50", "imagenet") == "torchvision:resnet50"
    assert network_name("ResNet-50", "a dataset of no paper") is None
