"""The methods and augmentation policies as a Markdown page, read off the registries.

Whatever registers itself is on the page: its docstring, its keys and what it needs.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from kdtune import objectives
from kdtune.config.keys import OBJECTIVE_AXES
from kdtune.objectives import OBJECTIVES, Objective
from kdtune.settings import Settings
from kdtune.views import AUGMENTS

COMMAND = "kdtune methods --markdown"

HEAD = f"""# Methods and augmentation policies

Written by `{COMMAND}` from the docstrings of the code, so that a new file
under `kdtune/objectives` or `kdtune/views/policies` is here once the command has run again. What
the keys mean that several methods share is in [configuration.md](configuration.md).
"""

WARMUP_OF = 100
"""Epochs of the schedule that the page tells the length of a warm-up for."""


def method_page() -> str:
    """The whole page, which ends with a line break."""
    methods = [method_section(name) for name in OBJECTIVES.names()]
    policies = [policy_section(name) for name in AUGMENTS.names()]
    parts = [HEAD, "## Methods\n", _overview(), *methods, "## Augmentation policies\n", *policies]
    return "\n".join([*parts, "## Formulas\n", _formulas()])


def method_section(name: str) -> str:
    """What the page says of one method; it starts with the heading."""
    method = OBJECTIVES.get(name)
    about = inspect.getdoc(sys.modules[method.__module__]) or ""
    keys = {
        field: field if field in OBJECTIVE_AXES else f"method.{field}" for field in _fields(method)
    }
    return _section(
        name,
        _markdown(about),
        _markdown(inspect.getdoc(method) or ""),
        f"Needs: {', '.join(_needs(method()))}.",
        _keys(method, keys),
    )


def policy_section(name: str) -> str:
    """What the page says of one augmentation policy; it starts with the heading."""
    policy = AUGMENTS.get(name)
    about = inspect.getdoc(sys.modules[policy.__module__]) or ""
    keys = {field: f"augment.{field}" for field in _fields(policy)}
    text = _markdown(about), _markdown(inspect.getdoc(policy) or "")
    return _section(name, *text, _keys(policy, keys))


def _overview() -> str:
    rows = []
    for name in OBJECTIVES.names():
        method = OBJECTIVES.get(name)
        source = _first_paragraph(sys.modules[method.__module__])
        rows.append(f"| [`{name}`](#{name}) | {_first_paragraph(method)} | {source} |")
    return "\n".join(["| method | minimises | from |", "|---|---|---|", *rows]) + "\n"


def _section(name: str, *paragraphs: str) -> str:
    return "\n\n".join([f"### `{name}`", *(text for text in paragraphs if text)]) + "\n"


def _needs(objective: Objective) -> Iterator[str]:
    traits = objective.traits
    yield "a teacher" if traits.teacher else "no teacher"
    if traits.teacher_bn == "batch":
        yield "the teacher's features by the statistics of the batch"
    if traits.taps:
        yield "the taps " + ", ".join(f"`{tap}`" for tap in traits.taps)
    warmup = objective.warmup(WARMUP_OF)
    if warmup is not None:
        yield f"a warm-up of {warmup.epochs} epochs before {WARMUP_OF} of the schedule"
    if type(objective).companion is not Objective.companion:
        yield "parameters or buffers of its own, which are not delivered"
    if traits.team:
        yield "several networks, of which one is delivered"


def _fields(holder: type[Settings]) -> list[str]:
    return list(holder.model_fields)


def _keys(holder: type[Settings], keys: Mapping[str, str]) -> str:
    """A table of flat keys with default and range."""
    if not keys:
        return ""
    properties = holder.model_json_schema()["properties"]
    rows = [
        f"| `{key}` | {_value(properties[field].get('default'))} | {_range(properties[field])} |"
        for field, key in keys.items()
    ]
    return "\n".join(["| key | default | values |", "|---|---|---|", *rows])


def _range(schema: Mapping[str, Any]) -> str:
    """The values that a field takes, of its JSON schema."""
    kind = next((part for part in schema.get("anyOf", ()) if part.get("type") != "null"), schema)
    if "enum" in kind:
        return ", ".join(_value(value) for value in kind["enum"])
    words = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {_value(kind[word])}" for word, sign in words.items() if word in kind]
    return ", ".join(bounds) or str(kind.get("type", ""))


def _value(value: Any) -> str:
    if value is None:
        return "unset"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _formulas() -> str:
    rows = [
        f"| `{module.__name__}.{name}` | {_first_paragraph(formula)} |"
        for module in _modules()
        for name, formula in inspect.getmembers(module, inspect.isfunction)
        if formula.__module__ == module.__name__ and not name.startswith("_")
    ]
    return "\n".join(["| function | what it gives |", "|---|---|", *rows]) + "\n"


def _modules() -> list[ModuleType]:
    """The modules of methods, and the formulas that several of them share, by name."""
    own = objectives.__name__ + "."
    return [module for name, module in sorted(sys.modules.items()) if name.startswith(own)]


def _first_paragraph(documented: object) -> str:
    first = (inspect.getdoc(documented) or "").split("\n\n")[0]
    return _markdown(" ".join(first.split())).replace("|", "\\|")


def _markdown(docstring: str) -> str:
    """A docstring without reStructuredText's roles and double backticks."""
    plain = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring)
    return plain.replace("``", "`")
