"""Encoded images to arrays."""

import io

import numpy as np
import pytest
from PIL import Image
from tiny_data import encode, pixels

from kdtune.data import DataError
from kdtune.data.pictures import decode_pictures


def test_pixels_survive_in_channel_first_order() -> None:
    colour = pixels(3, seed=0)
    decoded = decode_pictures([(str(row), encode(image)) for row, image in enumerate(colour)])
    np.testing.assert_array_equal(decoded, colour.transpose(0, 3, 1, 2))


def test_grey_images_keep_one_channel() -> None:
    grey = pixels(3, seed=0, channels=1)
    decoded = decode_pictures([("", encode(image)) for image in grey])
    np.testing.assert_array_equal(decoded, grey[:, None])


@pytest.mark.parametrize("grey_first", [1, 300])
def test_grey_among_colour_becomes_rgb(grey_first: int) -> None:
    grey = encode(pixels(1, seed=0, channels=1)[0])
    colour = encode(pixels(1, seed=1)[0])
    decoded = decode_pictures([("", grey)] * grey_first + [("", colour)])
    assert decoded.shape == (grey_first + 1, 3, 8, 8)
    np.testing.assert_array_equal(decoded[0, 0], decoded[0, 2])


def test_large_images_decode_in_threads_in_order() -> None:
    images = pixels(600, seed=0, channels=1, side=64)
    decoded = decode_pictures(("", encode(image)) for image in images)
    np.testing.assert_array_equal(decoded[:, 0], images)


def of_mode(mode: str, size: tuple[int, int] = (8, 8), format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, format)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (b"not an image", "not a readable image"),
        (encode(pixels(1, seed=0)[0])[:60], "not a readable image"),
        (of_mode("L", (6, 6)), "one size, got 6x6 pixels after 8x8"),
        (of_mode("I;16"), "8 bits a channel, got Pillow mode 'I;16'"),
        (of_mode("RGB", format="EPS"), "not a readable image"),
    ],
    ids=["noise", "truncated", "size", "16 bits", "postscript"],
)
def test_a_bad_image_is_named(blob: bytes, words: str) -> None:
    good = encode(pixels(1, seed=0)[0])
    with pytest.raises(DataError, match="'x', row 1: .*" + words):
        decode_pictures([("'x', row 0", good), ("'x', row 1", blob)])


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(DataError, match="sides must be <= 512 pixels, got 4000x4000"):
        decode_pictures([("'x'", of_mode("1", (4000, 4000)))])


def test_images_must_be_square() -> None:
    with pytest.raises(DataError, match="square, got 8x6"):
        decode_pictures([("'x'", of_mode("RGB", (8, 6)))])
