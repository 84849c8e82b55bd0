"""A document against a JSON schema, with a hint for every mistyped key."""

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from kdtune.cluster.finding import Finding, error
from kdtune.registry import nearest


def violations(document: object, schema: Mapping[str, Any]) -> Iterator[Finding]:
    """Every place where ``document`` breaks ``schema`` (JSON Schema, draft 7)."""
    validator = jsonschema.Draft7Validator(schema)
    for found in sorted(validator.iter_errors(document), key=lambda e: [str(p) for p in e.path]):
        place = ".".join(str(part) for part in found.absolute_path)
        if found.validator == "additionalProperties" and "properties" in found.schema:
            known = set(found.schema["properties"])
            for key in sorted(str(k) for k in set(found.instance) - known):
                yield error(joined(place, key), f"unknown key '{key}'{nearest(key, known)}")
        else:
            yield error(place, _shortened(found.message))


def joined(*parts: object) -> str:
    """The place below a place: its parts with dots between them."""
    return ".".join(str(part) for part in parts if str(part))


def _shortened(message: str, width: int = 300) -> str:
    """The message; it quotes the whole value, of which the end says what was expected."""
    return message if len(message) <= width else f"{message[:60]} ... {message[-width:]}"
