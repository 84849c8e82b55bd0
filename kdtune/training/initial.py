"""The network that a trial starts from: fresh weights, or a finished network's."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdtune import models
from kdtune.config import ConfigError, TrialConfig
from kdtune.data import Dataset
from kdtune.pruning import PruneRecord, replay
from kdtune.seeds import global_stream
from kdtune.students import StudentCard, load_student
from kdtune.teachers.store import TeacherRecord, TeacherStore
from kdtune.training.teacher import STORED


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A trained network to start from.

    Attributes:
        model: On the CPU, with the classifier that it was trained with.
        name: As ``kdtune.models`` knows it.
        channels: Of the images that it reads.
        pruned: What was removed from it; None for a whole network.
    """

    model: nn.Module
    name: str
    channels: int
    pruned: PruneRecord | None = None


def initial_network(config: TrialConfig, dataset: Dataset, seed: int) -> nn.Module:
    """What ``config`` trains, on the CPU, in train mode.

    With ``config.init`` it is that network with a new classifier for the classes of ``dataset``,
    drawn on the ``init`` stream of ``seed``, even where their number is the same; every layer is
    trained. A student that was pruned stays as small as it is, and the zeros of one pruned by
    magnitude stay zeros.

    Raises:
        FileNotFoundError: If there is no such student.
        ValueError: If the network is unknown, or what ``init`` holds is damaged, another network
            than ``config.student``, of images with other channels or of a fixed size, or pruned
            already while ``config`` prunes.
    """
    if not config.init:
        return models.build(
            config.student,
            classes=dataset.classes,
            channels=dataset.channels,
            size=dataset.size,
            seed=seed,
        )
    finished = read_finished(config.init, store=config.store, size=dataset.size)
    _check_use(config, finished, dataset)
    model, head = finished.model, _classifier_path(finished.name, finished.channels, dataset.size)
    old = model.get_submodule(head)
    if not isinstance(old, nn.Linear):
        raise ConfigError(
            f"the classifier of '{finished.name}' must be a linear layer to be replaced, got "
            f"{type(old).__name__}; start from another network"
        )
    with global_stream(seed, "init"):
        new = nn.Linear(old.in_features, dataset.classes, bias=old.bias is not None)
    parent, _, leaf = head.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)
    _prove(model, finished.name, dataset)
    return model.train().requires_grad_(True)


def read_finished(source: str, *, store: str = "", size: int) -> Finished:
    """The network behind an ``init``.

    Args:
        source: Folder of a saved student, or ``store:`` and the key of a stored teacher.
        store: Folder of the teachers; empty for the user's cache folder.
        size: Side of the images that a stored teacher shall read.

    Raises:
        FileNotFoundError: If there is no such student.
        ValueError: If it is damaged, there is no such teacher, or it does not read that size.
    """
    if source.startswith(STORED):
        return _from_store(source.removeprefix(STORED), TeacherStore(store), size)
    model, card = load_student(Path(source))
    record = _record(card)
    if record is not None and not record.detail:
        replay(model, record, channels=card.channels, size=card.size)
        _mask_zeros(model)
    return Finished(model=model, name=card.model, channels=card.channels, pruned=record)


def initial_pruning(source: str) -> PruneRecord | None:
    """What was removed from the network behind an ``init``; None for a whole one.

    Raises:
        FileNotFoundError: If there is no such student.
        ValueError: If it is damaged.
    """
    if not source or source.startswith(STORED):
        return None
    return _record(load_student(Path(source))[1])


def finished_name(source: str, *, store: str = "") -> str:
    """The name of the network behind an ``init``; arguments and errors as above."""
    if source.startswith(STORED):
        _, record = _stored(source.removeprefix(STORED), TeacherStore(store))
        return str(record.config["student"])
    return load_student(Path(source))[1].model


def _record(card: StudentCard) -> PruneRecord | None:
    return None if card.pruned is None else PruneRecord.from_json(card.pruned)


def _mask_zeros(model: nn.Module) -> None:
    """Let the masks hide the zeros, which a saved student has as plain weights."""
    for module in model.modules():
        if hasattr(module, "weight_mask"):
            module.get_buffer("weight_mask").copy_(module.get_parameter("weight_orig") != 0)


def _from_store(key: str, store: TeacherStore, size: int) -> Finished:
    state, record = _stored(key, store)
    name = str(record.config["student"])
    channels = state[f"{_reader_path(name, size)}.weight"].shape[1]
    classes = state[f"{_classifier_path(name, channels, size)}.weight"].shape[0]
    model = models.build(name, classes=classes, channels=channels, size=size, seed=0)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"the weights of '{name}' do not fit images of {size}x{size}: {error}"
        ) from None
    return Finished(model=model, name=name, channels=channels)


def _stored(key: str, store: TeacherStore) -> tuple[dict[str, Tensor], TeacherRecord]:
    try:
        return store.read(key)
    except KeyError:
        raise ConfigError(f"no network '{key}' in the teacher store '{store.root}'") from None


def _reader_path(name: str, size: int) -> str:
    """Path of the conv that reads the image."""
    model = models.blueprint(name, classes=2, channels=3, size=size)
    convs = (path for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    return str(next(convs))


def _classifier_path(name: str, channels: int, size: int) -> str:
    """Path of the one layer whose shape depends on the number of classes."""
    two, three = (
        models.blueprint(name, classes=classes, channels=channels, size=size).state_dict()
        for classes in (2, 3)
    )
    differing = {key.rpartition(".")[0] for key in two if two[key].shape != three[key].shape}
    if len(differing) != 1:
        raise ConfigError(f"'{name}' must have one classifier, got {sorted(differing)}")
    return differing.pop()


def _check_use(config: TrialConfig, finished: Finished, dataset: Dataset) -> None:
    """Refuse to start from a network that cannot serve the trial."""
    if config.student != finished.name:
        raise ConfigError(
            f"init '{config.init}' holds a {finished.name}, and student is '{config.student}'; "
            f"set student={finished.name}"
        )
    if config.role == "teacher" and not config.init.startswith(STORED):
        raise ConfigError(
            f"a published teacher must start from '{STORED}' and a key, which fixes the weights, "
            f"got init '{config.init}'"
        )
    if finished.channels != dataset.channels:
        raise ConfigError(
            f"init '{config.init}' reads images of {finished.channels} channel(s), and those of "
            f"dataset '{dataset.name}' have {dataset.channels}; choose a dataset with as many"
        )
    if finished.pruned is not None and config.prune_ratio:
        raise ConfigError(
            f"prune_ratio must be 0 with init '{config.init}', which is pruned already, got "
            f"{config.prune_ratio}"
        )


def _prove(model: nn.Module, name: str, dataset: Dataset) -> None:
    image = torch.zeros(1, dataset.channels, dataset.size, dataset.size)
    try:
        with torch.no_grad():
            model.eval()(image)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"the finished '{name}' cannot read images of "
            f"{dataset.channels}x{dataset.size}x{dataset.size}: {error}"
        ) from error
