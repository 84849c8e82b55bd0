"""Which Parquet columns hold images and labels, and what the classes are called."""

import json
from dataclasses import dataclass
from typing import Any

from kdtune.data.errors import DataError
from kdtune.registry import nearest

LABEL_NAMES = ("label", "labels", "fine_label", "target", "class")
"""Tried in this order when several integer columns could be the label."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The layout that every shard of a dataset shares.

    Attributes:
        image: Name of the struct column with a field ``bytes``.
        label: Name of the integer column.
        class_names: From the Hugging Face metadata; empty if the file carries none.
    """

    image: str
    label: str
    class_names: tuple[str, ...]


def find_columns(schema: Any, *, image: str, label: str, place: str) -> Columns:
    """Take the columns asked for, or detect them.

    Args:
        schema: ``pyarrow.Schema`` of the first shard.
        image: Name of the image column; empty to detect it.
        label: Name of the label column; empty to detect it.
        place: The file, for messages.

    Raises:
        DataError: If a column is missing, of the wrong type, or cannot be told from others.
    """
    label = label or _detect_label(schema, place)
    columns = Columns(
        image=image or _detect_image(schema, place),
        label=label,
        class_names=_class_names(schema, label, place),
    )
    check_columns(schema, columns, place=place)
    return columns


def check_columns(schema: Any, columns: Columns, *, place: str) -> None:
    """Whether a shard has the columns, with the right types.

    Raises:
        DataError: If not.
    """
    for name in (columns.image, columns.label):
        if name not in schema.names:
            raise DataError(f"{place}: no column '{name}'{nearest(name, schema.names)}")
        if schema.names.count(name) > 1:
            raise DataError(f"{place}: several columns are called '{name}'; rename all but one")
    if not _holds_images(schema.field(columns.image).type):
        raise DataError(
            f"{place}: image column '{columns.image}' must be a struct with a binary field "
            f"'bytes', got {schema.field(columns.image).type}"
        )
    if not _holds_integers(schema.field(columns.label).type):
        raise DataError(
            f"{place}: label column '{columns.label}' must hold integers, "
            f"got {schema.field(columns.label).type}"
        )


def _detect_image(schema: Any, place: str) -> str:
    found = [field.name for field in schema if _holds_images(field.type)]
    if len(found) != 1:
        raise DataError(
            f"{place}: exactly one column must be a struct with a binary field 'bytes', "
            f"got {', '.join(found) or 'none'}; name one with image_column. "
            f"Columns: {', '.join(schema.names)}"
        )
    return str(found[0])


def _detect_label(schema: Any, place: str) -> str:
    found = [field.name for field in schema if _holds_integers(field.type)]
    for name in LABEL_NAMES:
        if name in found:
            return name
    if len(found) != 1:
        raise DataError(
            f"{place}: exactly one column must hold integer labels, "
            f"got {', '.join(found) or 'none'}; name one with label_column. "
            f"Columns: {', '.join(schema.names)}"
        )
    return str(found[0])


def _holds_images(kind: Any) -> bool:
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return False
    return any(
        field.name == "bytes"
        and (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))
        for field in kind
    )


def _holds_integers(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


def _class_names(schema: Any, label: str, place: str) -> tuple[str, ...]:
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return ()
    try:
        names = json.loads(raw)["info"]["features"][label].get("names") or []
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise TypeError("its names are not a list of texts")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{place}: the Hugging Face metadata must describe column '{label}' ({error!r}); "
            "rewrite the file, or drop the metadata"
        ) from error
    return tuple(names)
