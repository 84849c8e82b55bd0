"""Small subjects: networks on the handwritten digits, trained for a moment or made by hand."""

from pathlib import Path

import torch
from torch import nn

from kdtune.analysis import Item, Measured, Subject
from kdtune.config import TrialConfig, parse
from kdtune.contracts import Scalar
from kdtune.training.data import load_trial_data
from kdtune.training.trial import Trial

CPU = torch.device("cpu")


def config(store: Path, **keys: Scalar) -> TrialConfig:
    """A short distillation on the digits; ``teacher__model`` means the key ``teacher.model``."""
    own = {key.replace("__", "."): value for key, value in keys.items()}
    taught: dict[str, Scalar] = {
        "method": "kd",
        "temperature": 4.0,
        "alpha": 0.9,
        "teacher": "resnet8x0.5",
        "teacher_epochs": 3,
        "teacher.full_epochs": 3,
    }
    without = own.get("method") == "scratch"
    return parse(
        {
            "dataset": "digits",
            "student": "resnet8x0.25",
            "train.epochs": 3,
            "train.device": "cpu",
            "teacher.store": str(store),
            **({} if without else taught),
            **own,
        }
    )


def trained(label: str, config: TrialConfig) -> Subject:
    """A subject that was trained as its configuration says."""
    trial = Trial(config)
    history: dict[str, list[tuple[int, float]]] = {}
    while not trial.finished:
        for name, value in trial.next_epoch().items():
            history.setdefault(name, []).append((trial.epoch, value))

    def at_epoch(epoch: int) -> nn.Module:
        again = Trial(config)
        while again.epoch < epoch:
            again.next_epoch()
        return frozen(again.student)

    return Subject(
        label=label,
        config=config,
        student=frozen(trial.student),
        teacher=trial.teacher.model if trial.teacher else None,
        dataset=trial.dataset,
        device=CPU,
        history=history,
        at_epoch=at_epoch,
    )


def made(
    label: str,
    config: TrialConfig,
    student: nn.Module,
    teacher: nn.Module | None = None,
) -> Subject:
    """A subject whose networks are given; it was never trained."""
    return Subject(
        label=label,
        config=config,
        student=frozen(student),
        teacher=None if teacher is None else frozen(teacher),
        dataset=load_trial_data(config),
        device=CPU,
        history={},
        at_epoch=lambda epoch: student,
    )


def item(subject: Subject, measured: Measured) -> Item:
    """What ``present`` takes."""
    return Item(label=subject.label, config=subject.config, measured=measured)


def frozen(model: nn.Module) -> nn.Module:
    """``model`` in eval mode without gradients."""
    return model.eval().requires_grad_(False)
