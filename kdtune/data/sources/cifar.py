"""CIFAR-10 and CIFAR-100 in torchvision's own folder layout, with the official test set.

The files are pickles, so nothing is read from them before torchvision's list of MD5 sums agrees.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kdtune.data.errors import DataError
from kdtune.data.source import SOURCES, DatasetInfo, Decoded, Pictures, Plan, Request, Source

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def cifar(name: str, request: Request) -> Plan:
    """The plan for ``cifar10`` or ``cifar100`` under ``request.root``.

    Raises:
        FileNotFoundError: If the folder is not there.
    """
    folder = Path(request.root) / FOLDERS[name]
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder '{folder}' for dataset '{name}'; "
            "give the folder that contains it as the data root, or download it"
        )
    files = sorted((path.name, path.stat()) for path in folder.iterdir() if path.is_file())
    return Plan(
        identity=(
            name,
            str(folder.resolve()),
            *(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in files),
        ),
        decode=partial(_decode, name, request.root),
    )


def fetch(name: str, root: str) -> None:
    """Download and unpack into ``root`` through torchvision, which checks the archive's MD5."""
    _torchvision_class(name)(root, download=True)


def _decode(name: str, root: str) -> Decoded:
    kind = _torchvision_class(name)
    try:
        train, test = kind(root, train=True), kind(root, train=False)
    except RuntimeError as error:
        raise DataError(
            f"a file under '{Path(root) / FOLDERS[name]}' is missing or its MD5 sum is not that "
            f"of {name}; remove the folder and download it again"
        ) from error
    return Decoded(
        train=_pictures(train), test=_pictures(test), class_names=tuple(map(str, train.classes))
    )


def _pictures(split: Any) -> Pictures:
    return Pictures(
        images=split.data.transpose(0, 3, 1, 2), labels=np.asarray(split.targets, dtype=np.int64)
    )


def _torchvision_class(name: str) -> Any:
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


for _name, _classes in (("cifar10", 10), ("cifar100", 100)):
    SOURCES.register(_name)(
        Source(
            info=DatasetInfo(
                name=_name,
                summary=f"CIFAR-{_classes} in torchvision's layout, 50,000 + 10,000 images",
                classes=_classes,
                shape="3x32x32",
                needs=f"a data root that holds {FOLDERS[_name]}/, or a download",
            ),
            location="root",
            plan=partial(cifar, _name),
            fetch=partial(fetch, _name),
        )
    )
