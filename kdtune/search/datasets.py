"""The datasets that runs read, as they are logged: an input for each split, with its digest."""

import hashlib
import json
from functools import lru_cache

import torch

from kdtune.config import TrialConfig, parse
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import Dataset, ImageSplit
from kdtune.tracking.events import DatasetUse
from kdtune.training.data import load_trial_data

DIGEST = 32
"""Hexadecimal characters; MLflow takes 36."""

SETTINGS = ("dataset", "train.on")
"""What decides on the data, besides the keys of ``data.``."""


def inputs_of(config: FlatConfig) -> tuple[DatasetUse, ...]:
    """What a run reads: ``train`` and ``val``, a finalist ``test`` as well.

    A split's digest is of the pixels, of which images it holds and of their labels: label noise
    gives the training split another one, and validation keeps its own. Loads the dataset, which
    costs something once per process and combination of data settings.

    Args:
        config: Flat; of the keys that are no data settings only ``role`` counts.

    Returns:
        Empty where no dataset is named, or it cannot be read: the run itself will tell why.
    """
    if "dataset" not in config:
        return ()
    settings = {k: v for k, v in config.items() if k in SETTINGS or k.startswith("data.")}
    contexts = ("train", "val", "test") if config.get("role") == "finalist" else ("train", "val")
    try:
        uses = _uses(tuple(sorted(settings.items())))
    except (ValueError, OSError):
        return ()
    return tuple(use for use in uses if use.context in contexts)


@lru_cache(maxsize=64)
def _uses(settings: tuple[tuple[str, Scalar], ...]) -> tuple[DatasetUse, ...]:
    config = parse(dict(settings))
    dataset = load_trial_data(config)
    drawn = config.data.model_dump(include={"seed", "val_fraction", "train_limit"})
    spoilt = config.data.model_dump(include={"label_noise", "imbalance"})
    return (
        _use("train", dataset, dataset.train, config, {**drawn, **spoilt}),
        _use("val", dataset, dataset.val, config, drawn),
        _use("test", dataset, dataset.test, config, {}),
    )


def _use(
    context: str, dataset: Dataset, split: ImageSplit, config: TrialConfig, choice: FlatConfig
) -> DatasetUse:
    name, root = dataset.name, config.data.root
    profile = json.dumps({**_sizes(dataset, split), **choice, "fingerprint": dataset.fingerprint})
    # MLflow keeps the profile that came first with a digest, so one must follow from the other.
    content = hashlib.sha256(profile.encode())
    content.update(split.index.numpy().tobytes())
    content.update(split.targets.numpy().tobytes())
    return DatasetUse(
        name=name.rpartition(":")[2].rstrip("/").rpartition("/")[2],
        digest=content.hexdigest()[:DIGEST],
        context=context,
        source=f"{name} in {root}" if root and ":" not in name else name,
        profile=profile,
    )


def _sizes(dataset: Dataset, split: ImageSplit) -> dict[str, Scalar]:
    """The number of images under the name that MLflow's UI looks for."""
    counts = torch.bincount(split.targets, minlength=dataset.classes)
    wrong = split.targets != dataset.test.labels[split.index]
    return {
        "num_rows": len(split),
        "classes": dataset.classes,
        "channels": dataset.channels,
        "size": dataset.size,
        "smallest_class": int(counts.min()),
        "largest_class": int(counts.max()),
        "wrong_labels": int(wrong.sum()),
    }
