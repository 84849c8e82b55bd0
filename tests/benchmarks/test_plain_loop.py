"""The loop that kdtune is compared with trains the same thing as kdtune."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import plain_loop
from kdtune.config import TrialConfig, parse
from kdtune.data import Dataset
from kdtune.seeds import derive
from kdtune.training.evaluate import predict, scores
from kdtune.training.schedules import learning_rate
from kdtune.training.trial import Trial
from kdtune.views import ViewStream, plain_batches

STEPS = 3


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "student": "resnet8x0.25",
        "teacher": "resnet8x0.5",
        "teacher.full_epochs": 1,
        "teacher.store": str(tmp_path_factory.mktemp("teachers")),
        "data.train_limit": 64 * STEPS,
        "train.epochs": 2,
        "train.device": "cpu",
        "temperature": 3.0,
        "alpha": 0.7,
    }


def settings(config: TrialConfig) -> plain_loop.Settings:
    train = config.train
    return plain_loop.Settings(
        epochs=train.epochs,
        batch_size=train.batch_size,
        lr=train.lr,
        momentum=train.momentum,
        nesterov=train.nesterov,
        weight_decay=train.weight_decay,
        temperature=3.0,
        alpha=0.7,
    )


def arrays(data: Dataset) -> plain_loop.Arrays:
    """Grey digits as colour images: what torchvision's CIFAR datasets hold has three channels."""

    def pixels(split: Any) -> Any:
        return split.images[split.index].permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()

    return plain_loop.Arrays(
        train=np.ascontiguousarray(pixels(data.train)),
        train_labels=data.train.targets.numpy(),
        val=np.ascontiguousarray(pixels(data.val)),
        val_labels=data.val.targets.numpy(),
        mean=data.mean * 3,
        std=data.std * 3,
    )


def stream_of(trial: Trial) -> ViewStream:
    config = trial.config
    return ViewStream(
        trial.dataset,
        policy=config.views,
        batch_size=config.train.batch_size,
        seed=derive(config.seed, "student", "views"),
    )


def distance(one: nn.Module, other: nn.Module) -> float:
    """The largest difference between two networks, buffers included."""
    states = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in states)


def test_a_step_is_a_step_of_kdtune(flat: dict[str, Any]) -> None:
    trial = Trial(parse({**flat, "data.train_limit": 64, "train.epochs": 1}))
    assert trial.teacher is not None
    how = settings(trial.config)
    student = deepcopy(trial.student).train()
    optimizer = plain_loop.new_optimizer(student, how)
    batch = stream_of(trial).batch(0, 0)
    loss, _ = plain_loop.train_step(
        student, trial.teacher.model, optimizer, batch.images, batch.labels, how
    )
    before = deepcopy(trial.student)
    metrics = trial.next_epoch()
    assert loss.item() == pytest.approx(metrics["train/loss"], abs=1e-5)
    assert distance(student, trial.student) < 1e-5 < distance(before, trial.student)


def test_an_epoch_on_the_same_views_is_an_epoch_of_kdtune(flat: dict[str, Any]) -> None:
    trial = Trial(parse(flat))
    assert trial.teacher is not None
    how = settings(trial.config)
    student = deepcopy(trial.student)
    optimizer = plain_loop.new_optimizer(student, how)
    schedule = plain_loop.new_schedule(optimizer, how, STEPS)
    loader: Any = [(batch.images, batch.labels) for batch in stream_of(trial).epoch(0)]
    own = plain_loop.train_epoch(student, trial.teacher.model, loader, optimizer, schedule, how)
    metrics = trial.next_epoch()
    assert own["train/loss"] == pytest.approx(metrics["train/loss"], abs=1e-4)
    assert distance(student, trial.student) < 1e-3
    val = plain_batches(trial.dataset.val, trial.dataset, batch_size=512)
    judged = plain_loop.evaluate(student, [(b.images, b.labels) for b in val], how)  # type: ignore[arg-type]
    found = scores(
        *predict(student, plain_batches(trial.dataset.val, trial.dataset, batch_size=512))
    )
    assert judged["val/accuracy"] == found["accuracy"]
    assert judged["val/loss"] == pytest.approx(found["loss"], abs=1e-6)


def test_the_rates_are_those_of_kdtune(flat: dict[str, Any]) -> None:
    config = parse(flat)
    how = settings(config)
    optimizer = plain_loop.new_optimizer(nn.Linear(1, 1), how)
    schedule = plain_loop.new_schedule(optimizer, how, STEPS)
    for step in range(STEPS * config.train.epochs):
        own = optimizer.param_groups[0]["lr"]
        assert own == pytest.approx(learning_rate(config.train, step / STEPS), abs=1e-12)
        optimizer.step()
        schedule.step()


def test_validation_images_are_those_of_kdtune(flat: dict[str, Any]) -> None:
    trial = Trial(parse(flat))
    _, loader = plain_loop.loaders(arrays(trial.dataset), settings(trial.config))
    images, labels = next(iter(loader))
    batch = next(plain_batches(trial.dataset.val, trial.dataset, batch_size=512))
    assert torch.equal(labels, batch.labels)
    assert torch.allclose(images, batch.images.expand_as(images), atol=1e-5)


def test_training_images_are_moved_and_flipped_anew(flat: dict[str, Any]) -> None:
    trial = Trial(parse(flat))
    loader, _ = plain_loop.loaders(arrays(trial.dataset), settings(trial.config))
    torch.manual_seed(0)
    first, second = (torch.cat([images for images, _ in loader]) for _ in range(2))
    assert len(first) == len(trial.dataset.train)
    assert not torch.allclose(
        first.sum((1, 2, 3)).sort().values, second.sum((1, 2, 3)).sort().values
    )
