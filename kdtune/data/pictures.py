"""Encoded images to uint8 arrays, with errors that name the place of the bad one."""

import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtune.data.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")
MAX_SIDE = 512
"""Pixels; a larger image is refused from its header, before memory is spent on it."""
MAX_BYTES = 4 << 20
"""Of one encoded image; without any compression the largest one has a quarter of that."""

GREY_MODES = ("1", "L")
COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "LA", "CMYK", "YCbCr")
CHUNK = 256
THREADS_PAY_FROM = 64
"""Side in pixels; below it the threads cost more in hand-overs than they gain."""

Pixels = NDArray[np.uint8]
Item = tuple[str, bytes]
"""Where an image is from, in words, and its encoded bytes."""


def decode_pictures(items: Iterable[Item], *, side: int | None = None) -> Pixels:
    """Decode square images of one size.

    Grey stays one channel if all images are grey; otherwise every image becomes RGB (an alpha
    channel is dropped).

    Args:
        items: At least one.
        side: Height and width every image must have; None takes them from the first.

    Returns:
        ``(n, C, side, side)`` with C of 1 or 3.

    Raises:
        DataError: For the first image that cannot be read, is too large in pixels or in bytes, is
            not square, differs in size, or has more than 8 bits a channel.
    """
    source = iter(items)
    if side is None:
        first = next(source)
        side = _square_side(*first)
        source = chain([first], source)
    workers = (os.cpu_count() or 1) if side >= THREADS_PAY_FROM else 1
    decode = partial(_decode_chunk, side=side)
    chunks: list[Pixels] = []
    with ThreadPoolExecutor(workers) as pool:
        while group := list(_chunks(source, 4 * workers)):
            chunks.extend(pool.map(decode, group))
    return _join(chunks)


def as_rgb(images: Pixels) -> Pixels:
    """``(n, 1 or 3, H, W)`` to ``(n, 3, H, W)``; grey is repeated as a view, without a copy."""
    return np.broadcast_to(images, (len(images), 3, *images.shape[2:]))


def check_bytes(place: str, size: int) -> None:
    """Refuse an encoded image for its size alone, before memory is spent on it.

    Raises:
        DataError: If it is above :data:`MAX_BYTES`.
    """
    if size > MAX_BYTES:
        raise DataError(
            f"{place}: an encoded image must have <= {MAX_BYTES:,} bytes, got {size:,}; "
            "encode it anew, without metadata"
        )


def _chunks(source: Iterator[Item], count: int) -> Iterator[list[Item]]:
    for _ in range(count):
        if chunk := list(islice(source, CHUNK)):
            yield chunk


def _decode_chunk(items: list[Item], *, side: int) -> Pixels:
    """``(n, C, side, side)``; grey only if the whole chunk is."""
    pixels = [_decode(place, blob, side=side) for place, blob in items]
    if all(each.ndim == 2 for each in pixels):
        return np.stack(pixels)[:, None]
    colour = [each if each.ndim == 3 else np.stack([each] * 3, axis=-1) for each in pixels]
    return np.stack(colour).transpose(0, 3, 1, 2)


def _join(chunks: list[Pixels]) -> Pixels:
    if any(chunk.shape[1] == 3 for chunk in chunks):
        chunks = [as_rgb(chunk) for chunk in chunks]
    return np.ascontiguousarray(np.concatenate(chunks))


def _square_side(place: str, blob: bytes) -> int:
    pixels = _decode(place, blob, side=None)
    height, width = pixels.shape[:2]
    if height != width:
        raise DataError(f"{place}: images must be square, got {width}x{height} pixels")
    return int(height)


def _decode(place: str, blob: bytes, *, side: int | None) -> Pixels:
    """``(H, W)`` if grey, ``(H, W, 3)`` otherwise."""
    check_bytes(place, len(blob))
    try:
        with Image.open(io.BytesIO(blob), formats=FORMATS) as image:
            _check_header(place, image, side=side)
            if image.mode in GREY_MODES:
                return np.asarray(image.convert("L"))
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything inside a decoder
        raise DataError(f"{place}: not a readable image ({error})") from error


def _check_header(place: str, image: Image.Image, *, side: int | None) -> None:
    width, height = image.size
    if side is not None and (width, height) != (side, side):
        raise DataError(
            f"{place}: all images must be of one size, "
            f"got {width}x{height} pixels after {side}x{side}; resize the dataset first"
        )
    if max(width, height) > MAX_SIDE:
        raise DataError(
            f"{place}: image sides must be <= {MAX_SIDE} pixels, got {width}x{height}; "
            "resize the dataset first"
        )
    if image.mode not in GREY_MODES + COLOUR_MODES:
        raise DataError(
            f"{place}: images must have 8 bits a channel, got Pillow mode '{image.mode}'; "
            f"convert to one of {', '.join(GREY_MODES + COLOUR_MODES)}"
        )
