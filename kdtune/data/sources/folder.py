"""Image folders: ``train/<class>/*.png`` and ``test/<class>/*.png``."""

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from kdtune.data.errors import DataError
from kdtune.data.pictures import Item, check_bytes, decode_pictures
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
        DataError: If a class of the test split is not one of the training split, or a file cannot
            be read, is too large, or is a link that leads out of the folder.
    """
    root = Path(request.location).resolve()
    listed = [*_list_split(root, "train"), *_list_split(root, "test")]
    names = tuple(sorted({name for split, name, _ in listed if split == "train"}))
    for _, name, path in listed:
        if name not in names:
            raise DataError(
                f"test class folder '{path.parent}' has no training images; "
                f"classes under '{root / 'train'}': {', '.join(names)}"
            )
    stats = [(path, _checked(path)) for _, _, path in listed]
    return Plan(
        identity=(
            "folder",
            str(root),
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
    _check_link(folder, root)
    classes = sorted(entry.name for entry in _entries(folder, root) if entry.is_dir())
    files = [
        (split, name, folder / name / file)
        for name in classes
        for file in sorted(entry.name for entry in _entries(folder / name, root))
        if file.lower().endswith(SUFFIXES)
    ]
    if not files:
        raise FileNotFoundError(
            f"no images under '{folder}'; expected <class>/*.png "
            f"(or {', '.join(SUFFIXES[1:])}) inside it"
        )
    return files


def _entries(folder: Path, root: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in ``folder`` and is not hidden; a link to elsewhere is not followed."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    _check_link(Path(entry.path), root)
                yield entry
    except OSError as error:
        raise DataError(f"'{folder}' cannot be read ({error}); check its permissions") from error


def _check_link(path: Path, root: Path) -> None:
    try:
        inside = path.resolve().is_relative_to(root)
    except RuntimeError:  # It leads in a circle, which reading it will find out.
        return
    if not inside:
        raise DataError(
            f"'{path}' is a link that leads out of '{root}'; put what it points to in its place"
        )


def _checked(path: Path) -> os.stat_result:
    """Of a file that can be an image, by what the system says of it."""
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"'{path}' cannot be read ({error}); remove or replace it") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"'{path}' must be an image file, and is none; remove it")
    check_bytes(f"'{path}'", found.st_size)
    return found


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
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"'{path}' cannot be read ({error}); check its permissions") from error
        yield f"'{path}'", content


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
