"""The teacher of a trial: stored, shared, frozen."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import same
from runs import rest
from safetensors.torch import save_file

from kdtune.config import parse, teacher_trial
from kdtune.teachers.store import TeacherError, TeacherStore
from kdtune.training.trial import Trial


def test_a_teacher_is_trained_once_and_shared(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    assert trial.teacher is not None
    store = TeacherStore(base["teacher.store"])
    written = (store.root / trial.teacher.key / "weights.safetensors").stat().st_mtime_ns
    assert Trial(parse({**base, "alpha": 0.1})).teacher is trial.teacher
    assert (store.root / trial.teacher.key / "weights.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "change", [{"label_smoothing": 0.1}, {"teacher_epochs": 1}, {"teacher.seed": 1}]
)
def test_another_teacher_has_another_key(base: dict[str, Any], change: dict[str, Any]) -> None:
    one, other = Trial(parse(base)).teacher, Trial(parse({**base, **change})).teacher
    assert one is not None
    assert other is not None
    assert one.key != other.key


def test_a_teacher_runs_without_gradients_in_eval_mode(base: dict[str, Any]) -> None:
    trial = Trial(parse(base))
    assert trial.teacher is not None
    before = {k: v.clone() for k, v in trial.teacher.model.state_dict().items()}
    trial.next_epoch()
    assert not any(p.requires_grad for p in trial.teacher.model.parameters())
    assert not any(m.training for m in trial.teacher.model.modules())
    assert same(trial.teacher.model.state_dict(), before)


def test_a_users_own_weights_serve_as_teacher(base: dict[str, Any], tmp_path: Path) -> None:
    trained = Trial(teacher_trial(parse(base)))
    rest(trained)
    save_file(trained.student.state_dict(), tmp_path / "mine.safetensors")
    flat = {k: v for k, v in base.items() if k != "teacher.full_epochs"}
    trial = Trial(parse({**flat, "teacher.weights": str(tmp_path / "mine.safetensors")}))
    assert trial.teacher is not None
    assert trial.teacher.val_accuracy == pytest.approx(
        Trial(parse(base)).teacher.val_accuracy  # type: ignore[union-attr]
    )


def test_weights_of_another_network_are_an_error(base: dict[str, Any], tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    flat = {**base, "teacher.weights": str(tmp_path / "other.safetensors")}
    with pytest.raises(TeacherError, match=r"do not fit a resnet8x0\.5 with 10 classes"):
        Trial(parse(flat))


def test_untrained_weights_are_an_error(base: dict[str, Any], tmp_path: Path) -> None:
    state = Trial(teacher_trial(parse(base))).student.state_dict()
    save_file(state, tmp_path / "raw.safetensors")
    with pytest.raises(TeacherError, match="about chance for 10 classes"):
        Trial(parse({**base, "teacher.weights": str(tmp_path / "raw.safetensors")}))


def test_missing_weights_are_an_error(base: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match="no teacher weights at 'nowhere'"):
        Trial(parse({**base, "teacher.weights": "nowhere"}))


def test_a_method_that_reads_taps_the_network_lacks_fails_before_training(
    base: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="block4"):
        Trial(parse({**base, "method": "at", "method.blocks": 4}))
