"""What holds on the CPU holds on a CUDA device."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kdtune.config import parse
from kdtune.training.trial import Trial

CLOCK = {"images_per_s", "time/epoch_s"}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "student": "resnet8",
        "teacher": "resnet14",
        "teacher.full_epochs": 6,
        "teacher.store": str(tmp_path_factory.mktemp("teachers")),
        "train.epochs": 4,
        "train.device": "cuda",
    }


def _rest(trial: Trial) -> list[dict[str, float]]:
    history = []
    while not trial.finished:
        history.append({k: v for k, v in trial.next_epoch().items() if k not in CLOCK})
    return history


@pytest.mark.parametrize("method", ["kd", "at", "scratch"])
@pytest.mark.parametrize("augment", ["standard", "cutmix"])
@pytest.mark.parametrize("prune_ratio", [0.0, 0.5])
def test_a_trial_on_the_gpu_is_the_same_bits_again(
    base: dict[str, Any], method: str, augment: str, prune_ratio: float
) -> None:
    flat = {**base, "method": method, "augment": augment, "prune_ratio": prune_ratio}
    if method == "scratch":
        flat = {k: v for k, v in flat.items() if k not in ("teacher", "teacher.full_epochs")}
    first, second = Trial(parse(flat)), Trial(parse(flat))
    assert _rest(first) == _rest(second)
    for one, two in zip(first.student.parameters(), second.student.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("prune_ratio", [0.0, 0.5])
def test_a_trial_on_the_gpu_is_restored_bit_for_bit(
    base: dict[str, Any], tmp_path: Path, prune_ratio: float
) -> None:
    flat = {**base, "prune_ratio": prune_ratio}
    whole = _rest(Trial(parse(flat)))
    first = Trial(parse(flat))
    for _ in range(3):
        first.next_epoch()
    first.save(tmp_path)
    second = Trial(parse(flat))
    second.load(tmp_path)
    assert _rest(second) == whole[3:]


def test_everything_lies_on_the_device(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    assert trial.teacher is not None
    tensors = [*trial.student.parameters(), *trial.teacher.model.parameters()]
    assert {tensor.device.type for tensor in tensors} == {"cuda"}
    assert trial.next_epoch()["val/accuracy"] > 0.1


def test_cpu_and_gpu_teachers_have_keys_of_their_own(base: dict[str, Any]) -> None:
    gpu, cpu = (
        Trial(parse({**base, "train.device": device})).teacher for device in ("cuda", "cpu")
    )
    assert gpu is not None
    assert cpu is not None
    assert gpu.key != cpu.key
