"""What trials leave on a CUDA device, and what they do when it is too small."""

from typing import Any

import pytest
import torch

from trainables import Distill

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

FLAT = {
    "student": "resnet56",
    "method": "scratch",
    "train.batch_size": 512,
    "train.epochs": 2,
    "train.device": "cuda",
}


@pytest.fixture
def peak() -> int:
    """Bytes that are reserved at most while a trial trains in the parts that a retry takes."""
    actor = Distill({**FLAT, "train.micro_batch": 128})
    torch.cuda.reset_peak_memory_stats()
    actor.train()
    found = torch.cuda.max_memory_reserved()
    actor.cleanup()
    return found


def test_a_reused_actor_gives_the_memory_of_the_trial_before_back(peak: int) -> None:
    baseline = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    actor = Distill(dict(FLAT))
    for seed in (1, 2):
        actor.train()
        assert torch.cuda.memory_reserved() > baseline[1]
        assert actor.reset({**FLAT, "seed": seed})
        assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == baseline


def test_on_a_device_that_is_too_small_a_trial_goes_on_in_parts(
    peak: int,
) -> None:
    total: Any = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(1.5 * peak / total)
    try:
        report = Distill(dict(FLAT)).train()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert report["train/micro_batch"] == 128
    direct = Distill({**FLAT, "train.micro_batch": 128}).train()
    assert report["val/loss"] == direct["val/loss"]
