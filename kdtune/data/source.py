"""What a source of images is: a plain function from a request to a plan, under a name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdtune.registry import Registry

Location = Literal["none", "path", "root"]
"""What finds the data: nothing, the part of the name after the colon, or the root folder."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        location: After the colon of the name; absolute, or a URI; empty where there is none.
        root: Folder that holds the data of sources without a location; empty if not given.
        image_column: Parquet column of the images; empty means to detect it.
        label_column: Parquet column of the labels; empty means to detect it.
    """

    location: str = ""
    root: str = ""
    image_column: str = ""
    label_column: str = ""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Decoded images in the source's order.

    Attributes:
        images: ``(n, C, H, W)`` uint8.
        labels: ``(n,)`` int64.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Everything a source holds; validation is carved from ``train`` later."""

    train: Pictures
    test: Pictures
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A source that was found but not decoded yet.

    Attributes:
        identity: Whatever decides the decoded content (addresses, sizes, times, columns); equal
            identities share one cache entry.
        decode: Does the work.
        val_fraction: Share of the training images that become validation unless the user says.
        flip: Whether a horizontal flip keeps the label unless the user says.
    """

    identity: tuple[str, ...]
    decode: Callable[[], Decoded]
    val_fraction: float = 0.1
    flip: bool = True


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """One row of the list of datasets.

    Attributes:
        name: As written in a configuration.
        summary: What it is.
        classes: How many, or None where the data decides.
        shape: Channels x height x width, or the limits on them.
        needs: What the user has to provide.
    """

    name: str
    summary: str
    classes: int | None
    shape: str
    needs: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """An entry of the registry.

    Attributes:
        info: Its row in the list of datasets.
        location: What finds the data.
        plan: Finds the data without decoding it.
        fetch: Downloads the data into a root folder; None where that is not offered.
    """

    info: DatasetInfo
    location: Location
    plan: Callable[[Request], Plan]
    fetch: Callable[[str], None] | None = None


SOURCES: Registry[Source] = Registry("dataset")
