"""Imports run one way, and only the parts that should know Ray and MLflow do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FREE = {
    "contracts",
    "credentials",
    "registry",
    "replacing",
    "seeds",
    "settings",
    "discovery",
    "multiply_adds",
    "palette",
    "__init__",
}
"""Modules of kdtune that every part may import."""

ALLOWED = {
    "data": FREE,
    "models": FREE,
    "objectives": FREE,
    "pruning": FREE,
    "storage": FREE,
    "teachers": FREE | {"storage"},
    "papers": FREE,
    "tracking": FREE | {"papers"},
    "compare": FREE | {"config", "papers", "tracking"},
    "views": FREE | {"data"},
    "config": FREE | {"objectives", "views", "pruning"},
    "students": FREE | {"models", "pruning", "storage"},
    "training": FREE
    | {"config", "data", "models", "objectives", "pruning", "students", "teachers", "views"},
    "analysis": FREE | {"config", "data", "models", "objectives", "training", "views"},
    "doctor": FREE | {"storage", "tracking"},
    "report": FREE | {"compare", "config", "papers", "tracking"},
    "cluster": FREE | {"search"},
}
MAY_KNOW = {
    "ray": {"kdtune/cluster", "kdtune/search", "trainables", "search_spaces"},
    "mlflow": {"kdtune/tracking"},
}
SOURCES = [
    p for top in ("kdtune", "search_spaces", "trainables") for p in (ROOT / top).rglob("*.py")
]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    own = ROOT / "kdtune" / part
    files = list(own.rglob("*.py")) if own.is_dir() else [own.with_suffix(".py")]
    assert files
    known = {p.stem for p in (ROOT / "kdtune").iterdir()}
    for file in files:
        for name in _imports(file):
            words = name.split(".")
            if words[0] in ("trainables", "search_spaces"):
                pytest.fail(f"{file} imports {name}")
            if words[0] == "kdtune" and len(words) > 1 and words[1] in known:
                assert words[1] in ALLOWED[part] | {part}, f"{file} imports {name}"


@pytest.mark.parametrize("library", sorted(MAY_KNOW))
def test_a_library_is_known_only_where_it_belongs(library: str) -> None:
    for file in SOURCES:
        if any(name.split(".")[0] == library for name in _imports(file)):
            place = str(file.relative_to(ROOT))
            assert any(place.startswith(top) for top in MAY_KNOW[library]), place
