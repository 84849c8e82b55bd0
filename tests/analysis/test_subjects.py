"""Students as they were at an epoch, trained again."""

from pathlib import Path

import pytest
import torch
from made_subjects import CPU, config
from torch import nn

from kdtune.config import TrialConfig
from kdtune.contracts import Scalar
from kdtune.search.subjects import TrainedAgain, prepared
from kdtune.training.trial import Trial


@pytest.fixture
def trained_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every epoch that any trial trains, as it is trained."""
    epochs: list[int] = []
    train = Trial.next_epoch

    def next_epoch(trial: Trial) -> dict[str, float]:
        metrics = train(trial)
        epochs.append(trial.epoch)
        return metrics

    monkeypatch.setattr(Trial, "next_epoch", next_epoch)
    return epochs


def _again(config: TrialConfig) -> TrainedAgain:
    return TrainedAgain(config=config, device=CPU)


def _straight(config: TrialConfig, epochs: int) -> nn.Module:
    trial = Trial(config)
    while trial.epoch < epochs:
        trial.next_epoch()
    return trial.student


def _same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize(
    "keys", [{}, {"prune_ratio": 0.3, "prune.phase": "self_distill"}], ids=["whole", "pruned"]
)
def test_rising_epochs_come_of_one_training_with_the_bits_of_the_run(
    tmp_path: Path, trained_epochs: list[int], keys: dict[str, Scalar]
) -> None:
    run = config(tmp_path, method="kd" if keys else "scratch", **keys)
    again = _again(run)
    found = {epoch: again(epoch) for epoch in (1, 3)}
    own = trained_epochs[-3:]  # A teacher is trained before them.
    assert own == [1, 2, 3]
    for epoch, student in found.items():
        assert _same(student, _straight(run, epoch))
        assert not student.training
        assert not any(each.requires_grad for each in student.parameters())


def test_an_earlier_epoch_starts_anew(tmp_path: Path, trained_epochs: list[int]) -> None:
    run = config(tmp_path, method="scratch")
    again = _again(run)
    again(2)
    assert _same(again(1), _straight(run, 1))
    assert trained_epochs[:3] == [1, 2, 1]


@pytest.mark.parametrize("epoch", [-1, 4])
def test_an_epoch_that_the_run_never_had_is_refused_before_any_training(
    tmp_path: Path, trained_epochs: list[int], epoch: int
) -> None:
    with pytest.raises(ValueError, match=rf"epochs must be in \[0, 3\] for this run, got {epoch}"):
        _again(config(tmp_path, method="scratch"))(epoch)
    assert trained_epochs == []


def test_a_training_that_failed_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(tmp_path, method="scratch")
    again = _again(run)
    again(1)
    with monkeypatch.context() as patched:
        patched.setattr(Trial, "next_epoch", lambda trial: trial.no_such_memory)
        with pytest.raises(AttributeError):
            again(2)
    assert _same(again(2), _straight(run, 2))


def test_who_had_more_threads_has_them_again(tmp_path: Path, threads: int) -> None:
    _again(config(tmp_path, method="scratch", train__epochs=1))(1)
    assert torch.get_num_threads() == threads


def test_what_was_prepared_is_put_back_even_after_an_error(threads: int) -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    inside = []

    def measure() -> None:
        with prepared(torch.device("cuda"), 1):
            inside.append((torch.get_num_threads(), cudnn.deterministic, cudnn.benchmark))
            raise KeyError

    with pytest.raises(KeyError):
        measure()
    assert inside == [(1, True, False)]
    assert torch.get_num_threads() == threads
    assert (cudnn.deterministic, cudnn.benchmark) == before
