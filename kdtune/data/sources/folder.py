"""Image folders: ``train/<class>/*.png`` and ``test/<class>/*.png``."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from kdtune.data.errors import DataError
from kdtune.data.pictures import Item, decode_pictures
from kdtune.data.source import SOURCES, DatasetInfo, Decoded, Pictures, Plan, Request, Source

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm")
"""Files that end otherwise are passed over, and so are hidden ones."""

Listed = tuple[str, str, Path]
"""Split, class name, file."""


def image_folder(request: Request) -> Plan:
    """The plan for a folder; classes and files are taken in the order of their names.

    Raises:
        FileNotFoundError: If the folder, one of its two splits, or all of a split's images are
            missing.
        DataError: If a class of the test split is not one of the training split.
    """
    root = Path(request.location)
    listed = [*_list_split(root, "train"), *_list_split(root, "test")]
    names = tuple(sorted({name for split, name, _ in listed if split == "train"}))
    for _, name, path in listed:
        if name not in names:
            raise DataError(
                f"test class folder '{path.parent}' has no training images; "
                f"classes under '{root / 'train'}': {', '.join(names)}"
            )
    stats = ((path, path.stat()) for _, _, path in listed)
    return Plan(
        identity=(
            "folder",
            str(root.resolve()),
            *(f"{path.relative_to(root)} {s.st_size} {s.st_mtime_ns}" for path, s in stats),
        ),
        decode=partial(_decode, listed, names),
    )


def _list_split(root: Path, split: str) -> list[Listed]:
    folder = root / split
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder '{folder}'; expected {split}/<class>/*.png under '{root}'"
        )
    classes = sorted(entry.name for entry in os.scandir(folder) if _is_class(entry))
    files = [
        (split, name, folder / name / file)
        for name in classes
        for file in sorted(os.listdir(folder / name))
        if file.lower().endswith(SUFFIXES) and not file.startswith(".")
    ]
    if not files:
        raise FileNotFoundError(
            f"no images under '{folder}'; expected <class>/*.png "
            f"(or {', '.join(SUFFIXES[1:])}) inside it"
        )
    return files


def _is_class(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _decode(listed: list[Listed], names: tuple[str, ...]) -> Decoded:
    train = _pictures([entry for entry in listed if entry[0] == "train"], names, side=None)
    side = train.images.shape[2]
    test = _pictures([entry for entry in listed if entry[0] == "test"], names, side=side)
    return Decoded(train=train, test=test, class_names=names)


def _pictures(listed: list[Listed], names: tuple[str, ...], *, side: int | None) -> Pictures:
    number = {name: label for label, name in enumerate(names)}
    return Pictures(
        images=decode_pictures(_items(listed), side=side),
        labels=np.array([number[name] for _, name, _ in listed], dtype=np.int64),
    )


def _items(listed: list[Listed]) -> Iterator[Item]:
    for _, _, path in listed:
        yield f"'{path}'", path.read_bytes()


SOURCES.register("folder")(
    Source(
        info=DatasetInfo(
            name="folder:PATH",
            summary="image files in one folder per class",
            classes=None,
            shape="1 or 3 x up to 512x512, square, one size",
            needs="PATH/train/<class>/*.png and PATH/test/<class>/*.png",
        ),
        location="path",
        plan=image_folder,
    )
)
