import pytest
import torch
from lessons import buffers, network, same
from torch import Tensor, nn

from kdtune.seeds import generator
from kdtune.training.batch_norm import batch_statistics


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 1, 6, 6, generator=generator(0, "images"))


def test_the_buffers_stay_the_same_bits(images: Tensor) -> None:
    model = network(0).train()
    model(images)
    before = buffers(model)
    with batch_statistics(model):
        model(images + 1)
    assert int(before["norm.num_batches_tracked"]) == 1
    assert same(buffers(model), before)


@pytest.mark.parametrize("training", [True, False])
def test_the_outputs_are_those_of_train_mode(images: Tensor, training: bool) -> None:
    model = network(0).train(training)
    with batch_statistics(model):
        found = model(images)
    assert torch.equal(found, network(0).train()(images))
    assert not torch.equal(found, network(0).eval()(images))


@pytest.mark.parametrize("training", [True, False])
def test_the_modes_come_back_even_after_an_error(training: bool) -> None:
    model = network(0).train(training)
    with pytest.raises(RuntimeError), batch_statistics(model):
        model(torch.zeros(2, 7, 6, 6))
    assert all(module.training is training for module in model.modules())
    assert model.get_submodule("norm").track_running_stats is True


def test_other_layers_keep_their_mode(images: Tensor) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)).eval()
    with batch_statistics(model):
        found = model(images)
    assert torch.equal(found, nn.BatchNorm2d(1)(images))


def test_a_layer_without_statistics_stays_without(images: Tensor) -> None:
    model = nn.BatchNorm2d(1, track_running_stats=False).eval()
    with batch_statistics(model):
        model(images)
    assert (model.training, model.track_running_stats) == (False, False)
