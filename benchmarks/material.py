"""What both sides of a comparison train on: the images, the networks, the teacher's weights.

The images are CIFAR-10 from a folder of Parquet files, or made-up ones of the same shape, written
as such files. Teachers need not be good to be measured: `publish` stores one with random weights
whose batch statistics are those of the images, so that its outputs are neither huge nor constant.
"""

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from plain_loop import Arrays, Distillation, Settings
from torch import nn

from kdtune import models
from kdtune.config import TrialConfig, parse, teacher_trial
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import Dataset, ImageSplit
from kdtune.seeds import derive, generator
from kdtune.teachers.store import TeacherStore
from kdtune.training.data import load_trial_data
from kdtune.training.device import resolve_device
from kdtune.training.teacher import publish_teacher
from kdtune.views import ViewStream

PAIRS = (("wrn_40_2", "wrn_16_2"), ("resnet56", "resnet20"), ("resnet32x4", "resnet8x4"))
"""Teachers and students as the literature pairs them."""

BATCH, CLASSES, SIDE = 64, 10, 32
VAL_SHARE = 0.1
CALIBRATION_BATCHES = 2


@contextmanager
def dataset_name(folder: Path | None, scratch: Path, *, images: int) -> Iterator[str]:
    """The name of a dataset with at least so many training images, as ``dataset`` takes it.

    Args:
        folder: Of CIFAR-10 as Parquet files; None for made-up images.
        scratch: A folder that goes away, for the made-up ones and their decoded form.
        images: Training images, validation not counted.
    """
    if folder is not None:
        yield f"parquet:{folder.resolve()}"
        return
    # The user's cache of decoded data is no place for what is deleted in minutes.
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")
    try:
        # A third may go to validation.
        yield f"parquet:{write_made_up(scratch / 'made up', train=images * 3 // 2 + 100, test=100)}"
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def write_made_up(folder: Path, *, train: int, test: int) -> Path:
    """Parquet files of colour images in ten classes: smooth patterns, each class around its own."""
    draws = np.random.default_rng(0)
    centres = draws.random((CLASSES, 8, 8, 3))
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        labels = [row % CLASSES for row in range(count)]
        coarse = centres[labels] + 0.5 * draws.standard_normal((count, 8, 8, 3))
        pixels = (255 * coarse.clip(0, 1)).astype(np.uint8)
        rows = [{"bytes": _png(image), "path": None} for image in pixels]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array(rows, kind), "label": pa.array(labels, pa.int64())})
        names = [f"class {label}" for label in range(CLASSES)]
        features = {"image": {"_type": "Image"}, "label": {"names": names}}
        about = json.dumps({"info": {"features": features}})
        pq.write_table(
            table.replace_schema_metadata({"huggingface": about}), folder / f"{split}.parquet"
        )
    return folder


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def lesson(
    dataset: str, pair: tuple[str, str], *, images: int, epochs: int, store: Path, device: str
) -> dict[str, Scalar]:
    """The flat configuration of a plain distillation: crops and flips, soft labels, SGD, cosine."""
    teacher, student = pair
    return {
        "dataset": dataset,
        "data.train_limit": images,
        "data.val_fraction": VAL_SHARE,
        "teacher": teacher,
        "student": student,
        "teacher.full_epochs": 1,
        "teacher.store": str(store),
        "augment": "standard",
        "train.epochs": epochs,
        "train.batch_size": BATCH,
        "train.device": device,
        "train.threads": 1,
    }


def publish(flat: FlatConfig) -> str:
    """Store an untrained teacher where ``flat`` looks for its own, and return its key."""
    trial = teacher_trial(parse(flat))
    device, data = resolve_device(trial.train.device), load_trial_data(trial)
    network = new_network(trial.student, data, seed=derive(trial.seed, "teacher")).to(device)
    views = ViewStream(data, policy=trial.views, batch_size=BATCH, seed=0, device=device)
    network.train()
    with torch.no_grad():
        for count in range(CALIBRATION_BATCHES):
            network(views.batch(count, 0).images)
    return publish_teacher(trial, device, network.state_dict())


def new_network(name: str, data: Dataset, *, seed: int) -> nn.Module:
    """A network of kdtune's zoo for the images of ``data``."""
    return models.build(
        name, classes=data.classes, channels=data.channels, size=data.size, seed=seed
    )


def plain_run(flat: FlatConfig, key: str, *, workers: int = 0) -> Distillation:
    """The plain loop on what ``flat`` describes: same images, first weights and teacher.

    Args:
        flat: Of a trial.
        key: Of its teacher in the store.
        workers: Processes that load images beside the one that trains.
    """
    config = parse(flat)
    assert config.teacher is not None
    data = load_trial_data(config)
    teacher = new_network(config.teacher.model, data, seed=0)
    teacher.load_state_dict(TeacherStore(config.store).read(key)[0])
    student = new_network(config.student, data, seed=derive(config.seed, "student"))
    return Distillation(student, teacher, arrays(data), plain_settings(config, workers=workers))


def plain_settings(config: TrialConfig, *, workers: int = 0) -> Settings:
    """The hyperparameters of ``config`` as the plain loop takes them."""
    train, method = config.train, config.objective.model_dump()
    return Settings(
        epochs=train.epochs,
        batch_size=train.batch_size,
        lr=train.lr,
        momentum=train.momentum,
        nesterov=train.nesterov,
        weight_decay=train.weight_decay,
        temperature=method["temperature"],
        alpha=method["alpha"],
        workers=workers,
        device=resolve_device(train.device).type,
    )


def arrays(data: Dataset) -> Arrays:
    """The training and the validation images as torchvision's datasets keep them."""
    return Arrays(
        train=_pixels(data.train),
        train_labels=data.train.targets.numpy(),
        val=_pixels(data.val),
        val_labels=data.val.targets.numpy(),
        mean=data.mean,
        std=data.std,
    )


def _pixels(split: ImageSplit) -> NDArray[np.uint8]:
    chosen = split.images[split.index].permute(0, 2, 3, 1).contiguous()
    pixels: NDArray[np.uint8] = chosen.numpy()
    return pixels


def noise(count: int, device: str) -> Any:
    """A batch of normalised images that are nothing, for networks that run alone."""
    return torch.randn(count, 3, SIDE, SIDE, generator=generator(0, "noise")).to(device)
