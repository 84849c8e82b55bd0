"""Latency: bounded, positive, and without a trace."""

import time

import pytest
import torch
from torch import nn

from kdtune.models import build
from kdtune.pruning import latency, prune


class Sleeper(nn.Module):
    """Takes ``seconds`` in evaluation mode, the first ``slow`` passes ten times as long."""

    def __init__(self, seconds: float, slow: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds, self.slow, self.passes = seconds, slow, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.passes += 1
        time.sleep(self.seconds * (10 if self.passes <= self.slow else 1))
        return x


def test_the_median_is_in_milliseconds_and_warm_up_does_not_count() -> None:
    model = Sleeper(0.002, slow=2)
    assert 2 <= latency(model, channels=1, size=4, repeats=9) < 15


def test_a_slow_net_is_cut_short() -> None:
    model = Sleeper(0.06)
    assert latency(model, channels=1, size=4) >= 60
    assert 2 <= model.passes <= 4


def test_repeats_bound_the_passes() -> None:
    model = Sleeper(0.0)
    latency(model, channels=1, size=4, repeats=3)
    assert model.passes == 13


@pytest.mark.parametrize("method", ["", "magnitude"])
def test_modes_buffers_random_state_and_masks_are_left_alone(method: str) -> None:
    model = build("resnet8", classes=10, channels=1, size=8, seed=0)
    if method:
        prune(model, method=method, ratio=0.5, channels=1, size=8)
    model.get_submodule("block2").eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [list(module._forward_pre_hooks.items()) for module in model.modules()]
    state = torch.get_rng_state()
    latency(model, channels=1, size=8, batch_size=2, repeats=2)
    assert [module.training for module in model.modules()] == modes
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [list(module._forward_pre_hooks.items()) for module in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_masks_are_not_applied_while_the_time_runs() -> None:
    model = build("resnet8", classes=10, channels=1, size=8, seed=0)
    prune(model, method="magnitude", ratio=0.5, channels=1, size=8)
    model(torch.randn(2, 1, 8, 8))
    weight = model.get_submodule("stem.conv").weight
    latency(model, channels=1, size=8, repeats=2)
    assert model.get_submodule("stem.conv").weight is weight


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size of a latency must be >= 1, got 0"),
        ({"repeats": 0}, "repeats of a latency must be >= 1, got 0"),
        ({"budget": 0.0}, "budget of a latency must be > 0 seconds, got 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latency(Sleeper(0.0), channels=1, size=4, **wrong)
