"""What holds on the CPU holds on a CUDA device."""

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import advance, rest

from kdtune.config import parse
from kdtune.objectives import OBJECTIVES
from kdtune.training.trial import Trial
from kdtune.views.stream import resident

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
        "train.schedule": "step",
        "train.device": "cuda",
    }


def _with(base: dict[str, Any], method: str, **flat: Any) -> dict[str, Any]:
    kept = base
    if not OBJECTIVES.get(method)().traits.teacher:
        kept = {k: v for k, v in base.items() if k not in ("teacher", "teacher.full_epochs")}
    return {**kept, "method": method, **flat}


def _same_bits(first: Trial, second: Trial) -> bool:
    pairs = zip(first.student.parameters(), second.student.parameters(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize("method", OBJECTIVES.names())
def test_every_method_is_the_same_bits_again(base: dict[str, Any], method: str) -> None:
    flat = _with(base, method, augment="cutmix")
    first, second = Trial(parse(flat)), Trial(parse(flat))
    assert rest(first) == rest(second)
    assert _same_bits(first, second)


@pytest.mark.parametrize("augment", ["standard", "autoaugment", "cutmix_pick"])
@pytest.mark.parametrize("pruning", ["none", "l1_filter", "slimming", "magnitude"])
def test_every_pruner_is_the_same_bits_again(
    base: dict[str, Any], augment: str, pruning: str
) -> None:
    flat = {**base, "augment": augment}
    if pruning != "none":
        flat |= {"prune_ratio": 0.5, "prune.method": pruning}
    first, second = Trial(parse(flat)), Trial(parse(flat))
    assert rest(first) == rest(second)
    assert _same_bits(first, second)


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("kd", {}),
        ("kd", {"prune_ratio": 0.5}),
        ("kd", {"prune_ratio": 0.5, "prune.phase": "self_distill"}),
        ("fitnet", {}),
        ("crd", {"method.negatives": 64}),
        ("overhaul", {}),
        ("one", {}),
    ],
)
def test_a_trial_on_the_gpu_is_restored_bit_for_bit(
    base: dict[str, Any], tmp_path: Path, method: str, more: dict[str, Any]
) -> None:
    flat = _with(base, method, **more)
    first = advance(Trial(parse(flat)), 3)
    first.save(tmp_path)
    expected = rest(first)
    second = Trial(parse(flat))
    second.load(tmp_path)
    assert rest(second) == expected


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


@pytest.mark.parametrize("method", ["kd", "at_kd", "sp", "rkd", "crd"])
def test_a_shared_teacher_gives_the_same_student_as_a_running_one(
    base: dict[str, Any], method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdtune.teachers.store.TeacherStore.signals_folder", tmp_path)
    flat = _with(base, method, augment="cutmix", **{"teacher.signals": "exact"})
    trials = [Trial(parse({**flat, "teacher.signals": s})) for s in ("live", "exact", "exact")]
    live, writer, reader = (rest(trial) for trial in trials)
    assert live == writer == reader
    assert _same_bits(trials[0], trials[2])


def test_images_stay_on_the_device_between_trials(base: dict[str, Any]) -> None:
    first, second = Trial(parse(base)), Trial(parse(base))
    images = [resident(trial.dataset.train.images, trial.device) for trial in (first, second)]
    assert images[0].device.type == "cuda"
    assert images[0].data_ptr() == images[1].data_ptr()


def test_bfloat16_is_repeatable_and_near_float32(base: dict[str, Any]) -> None:
    full = rest(Trial(parse(base)))
    first, second = (rest(Trial(parse({**base, "train.precision": "bf16"}))) for _ in range(2))
    assert first == second
    assert first[0]["train/kd"] == pytest.approx(full[0]["train/kd"], rel=0.1)
