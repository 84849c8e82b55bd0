"""The frozen teacher of a trial: read from the store, trained when it is not there, verified."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from kdtune import models
from kdtune.config import TrialConfig, teacher_trial
from kdtune.data import Dataset
from kdtune.teachers.store import (
    DamagedTeacher,
    TeacherError,
    TeacherStore,
    key_of,
    read_weights,
    teacher_identity,
)
from kdtune.training.data import load_trial_data
from kdtune.training.evaluate import predict, scores
from kdtune.training.layout import arranged
from kdtune.views import plain_batches

EVAL_BATCH = 256
STORED = "store:"
"""Before a key, it makes ``teacher.weights`` mean a network of the teacher store."""
_ACCURACY_SLACK = 2
"""How many validation images a re-measured teacher may judge otherwise, for other hardware."""


@dataclass(frozen=True, kw_only=True)
class FrozenTeacher:
    """A teacher in eval mode without gradients, and what it says of the validation split.

    Attributes:
        model: Parameters frozen; never part of a student.
        key: What it is stored under; for weights from a file, their sha256.
        val_accuracy: Measured now, share in [0, 1].
        val_top1: ``(n_val,)`` its classes, for the agreement of students.
    """

    model: nn.Module
    key: str
    val_accuracy: float
    val_top1: Tensor


def identity_of(trial: TrialConfig, device_type: str) -> dict[str, object]:
    """Everything that fixes the weights of the teacher that ``trial`` trains.

    Args:
        trial: The teacher's own.
        device_type: ``cpu`` or ``cuda``: the bits depend on it.
    """
    dataset = load_trial_data(trial)
    return teacher_identity(
        trial.flat(),
        fingerprint=dataset.fingerprint,
        split=split_digest(dataset),
        flip=dataset.flip,
        device=device_type,
    )


def obtain_teacher(
    config: TrialConfig, device: torch.device, train: Callable[[TrialConfig], None]
) -> FrozenTeacher:
    """The teacher that ``config`` asks for.

    Args:
        config: Of the student's trial.
        device: Where the teacher shall run.
        train: Trains a teacher from its own trial and publishes it; called at most once, under
            the store's lock.

    A stored one that is damaged is trained again, and a warning says so; only one that the user
    names by its key cannot be.

    Raises:
        TeacherError: If the teacher is damaged, of another network, or scores otherwise than
            recorded.
        StorageError: If it must be trained and the store cannot be written.
    """
    teacher = config.teacher
    assert teacher is not None
    dataset = load_trial_data(config)
    store = TeacherStore(config.store)
    if teacher.weights.startswith(STORED):
        key = teacher.weights.removeprefix(STORED)
        _check_stored(store, key, teacher.model)
        return stored_teacher(store.root, key, dataset, device)
    if teacher.weights:
        return _from_file(teacher.model, teacher.weights, dataset, device)
    trial = teacher_trial(config)
    key = key_of(identity_of(trial, device.type))
    data = load_trial_data(trial)
    with suppress(KeyError, DamagedTeacher):
        return stored_teacher(store.root, key, data, device)
    with store.lock(key):
        if key not in store:
            train(trial)
    return stored_teacher(store.root, key, data, device)


def publish_teacher(trial: TrialConfig, device: torch.device, state: Mapping[str, Tensor]) -> str:
    """Measure a trained teacher, store it unless it is there already, and return its key."""
    dataset = load_trial_data(trial)
    accuracy, _ = _measure(_load(trial.student, state, dataset, device), dataset, device)
    identity = identity_of(trial, device.type)
    store = TeacherStore(trial.store)
    return store.publish(identity, state, val_accuracy=accuracy, dataset=dataset.name)


def split_digest(dataset: Dataset) -> str:
    """Which images are training and which validation, as 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.val):
        digest.update(split.index.numpy().tobytes())
    return digest.hexdigest()[:16]


def _check_stored(store: TeacherStore, key: str, model: str) -> None:
    try:
        stored = store.read(key)[1].config["student"]
    except KeyError:
        raise TeacherError(
            f"teacher.weights must name a stored network, got '{STORED}{key}', and "
            f"'{store.root}' has none of that key; check teacher.store"
        ) from None
    if stored != model:
        raise TeacherError(
            f"teacher must be '{stored}', the network stored under '{key}', got '{model}'"
        )


@lru_cache(maxsize=16)
def stored_teacher(root: str, key: str, dataset: Dataset, device: torch.device) -> FrozenTeacher:
    """A network of the store in ``root``, frozen and measured again.

    Raises:
        KeyError: If it is not stored.
        DamagedTeacher: If it is not what was stored.
        TeacherError: If it does not fit the data, or scores otherwise than recorded.
    """
    state, record = TeacherStore(root).read(key)
    model = _load(str(record.config["student"]), state, dataset, device)
    accuracy, top1 = _measure(model, dataset, device)
    slack = _ACCURACY_SLACK / len(dataset.val)
    if abs(accuracy - record.val_accuracy) > slack + 1e-9:
        raise TeacherError(
            f"teacher {key} in '{root}' scores {accuracy:.4f} on validation, but "
            f"{record.val_accuracy:.4f} was recorded when it was trained; delete "
            f"'{root}/{key}' and it is trained again"
        )
    return FrozenTeacher(model=model, key=key, val_accuracy=accuracy, val_top1=top1)


@lru_cache(maxsize=2)
def _from_file(name: str, file: str, dataset: Dataset, device: torch.device) -> FrozenTeacher:
    state, digest = read_weights(Path(file))
    model = _load(name, state, dataset, device)
    accuracy, top1 = _measure(model, dataset, device)
    if accuracy < 1.5 / dataset.classes:
        raise TeacherError(
            f"the teacher in '{file}' scores {accuracy:.4f} on validation, about chance for "
            f"{dataset.classes} classes; was it trained on '{dataset.name}' with inputs "
            f"normalised by mean {dataset.mean} and std {dataset.std}?"
        )
    return FrozenTeacher(model=model, key=digest, val_accuracy=accuracy, val_top1=top1)


def _load(
    name: str, state: Mapping[str, Tensor], dataset: Dataset, device: torch.device
) -> nn.Module:
    model = models.build(
        name, classes=dataset.classes, channels=dataset.channels, size=dataset.size, seed=0
    )
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise TeacherError(
            f"the weights do not fit a {name} with {dataset.classes} classes and "
            f"{dataset.channels} input channels: {error}"
        ) from None
    return arranged(model, device).eval().requires_grad_(False)


def _measure(model: nn.Module, dataset: Dataset, device: torch.device) -> tuple[float, Tensor]:
    batches = plain_batches(dataset.val, dataset, batch_size=EVAL_BATCH, device=device)
    logits, labels = predict(model, batches)
    return scores(logits, labels)["accuracy"], logits.argmax(dim=1)
