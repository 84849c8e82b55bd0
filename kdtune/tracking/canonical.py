"""One text for each value, and the names and lengths that MLflow takes."""

import functools
import posixpath
import re
from collections.abc import Mapping

from kdtune.credentials import without_credentials

MAX_NAME = 250
MAX_PARAM = 6000
MAX_TAG = 8000

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_\-. :/]")


def canonical(value: object) -> str:
    """The one text of a value, so that MLflow's filters find it: ``4.0`` for a float 4, ``true``.

    Args:
        value: A JSON scalar, or a numpy scalar (read as the Python value it holds).

    Raises:
        ValueError: If ``value`` is None, which has no text; leave the key out instead.
    """
    item = getattr(value, "item", None)
    plain = item() if callable(item) else value
    if plain is None:
        raise ValueError("a logged value must not be None; leave the key out")
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return repr(plain) if isinstance(plain, float) else str(plain)


def canonical_params(params: Mapping[str, object]) -> dict[str, str]:
    """All of ``params`` as texts under allowed names, without None and without credentials.

    Clipped to MLflow's length.
    """
    return {
        entity_name(key): clipped(without_credentials(canonical(value)), MAX_PARAM)
        for key, value in params.items()
        if value is not None
    }


def canonical_tags(tags: Mapping[str, object]) -> dict[str, str]:
    """The same for tags, which may be a little longer."""
    return {
        entity_name(key): clipped(without_credentials(canonical(value)), MAX_TAG)
        for key, value in tags.items()
        if value is not None
    }


@functools.lru_cache(maxsize=4096)
def entity_name(name: str) -> str:
    """``name`` as MLflow takes it: other characters become ``_``; a relative path, 250 at most."""
    path = posixpath.normpath(_FORBIDDEN.sub("_", name).strip("/ ") or "_")
    parts = ["_" if part in (".", "..") else part for part in path.split("/")]
    return "/".join(parts)[:MAX_NAME]


def clipped(text: str, limit: int) -> str:
    """``text`` cut to ``limit`` characters, the last of them an ellipsis where it was longer.

    What is no Unicode, as a file name may be, becomes a question mark.
    """
    text = text.encode(errors="replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"
