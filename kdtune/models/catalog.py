"""From a name to a network: the zoo first, then torchvision."""

import re
from collections.abc import Collection

import torch
from torch import nn

from kdtune.models import zoo  # noqa: F401 - registers the families
from kdtune.models.family import FAMILIES, Builder
from kdtune.models.library import PREFIX, library_builder, library_names
from kdtune.models.tap import require_taps
from kdtune.registry import nearest
from kdtune.seeds import global_stream

LIBRARY = "torchvision"
LARGEST = 2000
"""Number in a name: the deepest published resnet has 1,202 layers."""


def build(name: str, *, classes: int, channels: int = 3, size: int = 32, seed: int) -> nn.Module:
    """A network on the CPU, in train mode, its weights drawn on the ``init`` stream of ``seed``.

    Equal arguments give equal bits, whatever was drawn before; the global generators are left as
    they were.

    Args:
        name: Out of :func:`names`, or any other member of a family (``wrn_22_3``), or
            ``torchvision:`` and a name there.
        classes: Number of logits, >= 2.
        channels: Channels of the images, >= 1.
        size: Side of the square images in pixels; the zoo serves 8 to 64 and more.
        seed: Of the run.

    Raises:
        ValueError: If the name is unknown or a number is out of range.
    """
    _, builder = locate(name)
    _check_numbers(classes, channels, size)
    with global_stream(seed, "init"):
        return builder(classes=classes, channels=channels, size=size)


def check(name: str, *, classes: int, channels: int, size: int, taps: Collection[str] = ()) -> None:
    """Refuse what :func:`build` and a forward pass cannot do, before any work.

    The proof is a forward pass on the meta device, which holds no data.

    Raises:
        ValueError: If the name is unknown, a depth or width does not exist in its family, the
            images are too small for the network, or it has no such tap.
    """
    model = blueprint(name, classes=classes, channels=channels, size=size).eval()
    try:
        with torch.no_grad():
            model(torch.empty(1, channels, size, size, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _does_not_fit(name, channels, size, error) from error
    require_taps(model, taps, name)


def blueprint(name: str, *, classes: int, channels: int, size: int) -> nn.Module:
    """The network on the meta device: shapes without weights, in milliseconds.

    Raises:
        ValueError: As :func:`check`, for what shows without a forward pass.
    """
    _, builder = locate(name)
    _check_numbers(classes, channels, size)
    with global_stream(0, "init"):
        try:
            with torch.device("meta"):
                return builder(classes=classes, channels=channels, size=size)
        except NotImplementedError:
            # torchvision's regnets compute their widths with tensors, which need real numbers.
            return builder(classes=classes, channels=channels, size=size).to("meta")
        except (RuntimeError, AssertionError, ValueError) as error:
            raise _does_not_fit(name, channels, size, error) from error


def locate(name: str) -> tuple[str, Builder]:
    """The family of a name (or ``torchvision``) and its builder.

    A name that a family lists is that family's (so ``resnet50`` is the bottleneck network, though
    50 = 6n + 2), then torchvision's names count (``resnet152`` is the library's), then the
    families' rules. ``torchvision:`` before a name always means the library.

    Raises:
        ValueError: If there is none: with the family's rule, or the nearest names.
    """
    if name.startswith(PREFIX):
        return LIBRARY, library_builder(name.removeprefix(PREFIX))
    listing = [family for family in FAMILIES.names() if name in FAMILIES.get(family).listed]
    if not listing and name in library_names():
        return LIBRARY, library_builder(name)
    if not listing:
        _check_size(name)
    for family in listing or FAMILIES.names():
        builder = FAMILIES.get(family).match(name)
        if builder is not None:
            return family, builder
    raise ValueError(f"unknown model '{name}'{nearest(name, names())}")


def names() -> list[str]:
    """The listed names of the zoo, then torchvision's, prefixed where the zoo has the name."""
    own = zoo_names()
    return own + [f"{PREFIX}{name}" if name in own else name for name in library_names()]


def zoo_names() -> list[str]:
    """The names that the families list, family by family."""
    return [name for family in FAMILIES.names() for name in FAMILIES.get(family).listed]


def _check_size(name: str) -> None:
    """Refuse a network that would only be built to fill the memory, such as ``resnet6000002``."""
    for number in re.findall(r"\d+", name):
        if len(number) > len(str(LARGEST)) or int(number) > LARGEST:
            raise ValueError(
                f"a number in the name of a network must be at most {LARGEST}, got '{name}'"
            )


def _check_numbers(classes: int, channels: int, size: int) -> None:
    for key, value, least in (
        ("classes", classes, 2),
        ("channels", channels, 1),
        ("size", size, 1),
    ):
        if value < least:
            raise ValueError(f"{key} of a model must be >= {least}, got {value}")


def _does_not_fit(name: str, channels: int, size: int, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(
        f"model '{name}' cannot read images of {channels}x{size}x{size}: {reason}; "
        "choose a model of the zoo or larger images"
    )
