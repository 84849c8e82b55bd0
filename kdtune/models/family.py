"""What a file of the zoo registers: a family of networks that share a naming rule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from kdtune.registry import Registry


class Builder(Protocol):
    """Builds one network, drawing its weights from torch's global generator."""

    def __call__(self, *, classes: int, channels: int, size: int) -> nn.Module:
        """A network from ``(B, channels, size, size)`` images to ``(B, classes)`` logits."""
        ...


@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks that differ by numbers in their name.

    Attributes:
        listed: The usual members, the ones that are shown; a family may accept more. A listed
            name takes precedence over the same name in torchvision.
        match: The builder of a member, or None for a name of another form. Raises ValueError
            with the rule for a name of the right form and impossible numbers.
    """

    listed: tuple[str, ...]
    match: Callable[[str], Builder | None]


FAMILIES: Registry[Family] = Registry("model family")
