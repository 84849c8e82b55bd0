"""Something else in place of a part of Ray that has no switch."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def substituted(owner: object, name: str, instead: object) -> Iterator[None]:
    """Inside, ``owner`` has ``instead`` as its ``name``; one that has none of that name keeps so.

    For what Ray can do without: a release with other private parts then does as it likes.
    """
    if not hasattr(owner, name):
        yield
        return
    own = getattr(owner, name)
    setattr(owner, name, instead)
    try:
        yield
    finally:
        setattr(owner, name, own)
