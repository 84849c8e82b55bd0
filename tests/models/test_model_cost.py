"""Parameters and multiply-adds."""

import pytest
import torch

from kdtune.models import build, cost, describe


def test_the_multiply_adds_of_resnet20_are_those_of_its_convs() -> None:
    stage = [16 * 16 * 9 * 32**2, 32 * 32 * 9 * 16**2, 64 * 64 * 9 * 8**2]
    entries = [16 * 32 * 9 * 16**2, 32 * 64 * 9 * 8**2]
    shortcuts = [16 * 32 * 16**2, 32 * 64 * 8**2]
    expected = 3 * 16 * 9 * 32**2 + 6 * stage[0] + 5 * (stage[1] + stage[2])
    expected += sum(entries) + sum(shortcuts) + 64 * 10
    counted = cost(build("resnet20", classes=10, seed=0), channels=3, size=32)
    assert counted.macs == expected == 40_813_184
    assert counted.params == 272_474


def test_counting_leaves_the_model_as_it_was() -> None:
    model = build("resnet8", classes=10, seed=0)
    model.get_submodule("block1").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    cost(model, channels=3, size=32)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes


def test_the_list_of_models_counts_the_zoo() -> None:
    rows = {row.name: row for row in describe(size=8, channels=1)}
    assert {"resnet8", "wrn_40_2", "vgg8"} < set(rows)
    row = rows["resnet8"]
    assert (row.family, row.params) == ("resnet", 77_754)
    assert row.taps == ("stem", "block1", "block2", "block3", "last_map", "pooled")
    assert (
        row.macs == cost(build("resnet8", classes=10, channels=1, seed=0), channels=1, size=8).macs
    )


def test_models_of_choice_are_listed_with_their_family() -> None:
    rows = describe(only=["wrn_22_3", "torchvision:vgg11"])
    assert [row.family for row in rows] == ["wrn", "torchvision"]


def test_an_unknown_name_in_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown model 'nothing'"):
        describe(only=["nothing"])
