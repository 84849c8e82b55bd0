"""The documentation keeps up with the code."""

import re
from pathlib import Path

import pytest

from kdtune.analysis import ANALYSES
from kdtune.config import method_page
from kdtune.config.keys import Chosen, routes
from kdtune.objectives import OBJECTIVES
from kdtune.pruning import PRUNERS
from kdtune.views import AUGMENTS

DOCS = Path(__file__).parent.parent / "docs"
EVERY_KEY = routes(Chosen(None, None, None))
OF_A_CHOICE = ("objective", "views", "teacher_views")


def read(name: str) -> str:
    return (DOCS / name).read_text()


def sections(page: str) -> dict[str, str]:
    """What a page says under each heading that is a name."""
    parts = re.split(r"^(?=##)", page, flags=re.MULTILINE)
    found = ((re.match(r"### `(\w+)`\n", part), part) for part in parts)
    return {match[1]: part.strip() for match, part in found if match}


def test_every_key_of_every_trial_is_documented() -> None:
    text = read("configuration.md")
    keys = [key for key, route in EVERY_KEY.items() if route.section not in OF_A_CHOICE]
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.parametrize("page", ["configuration.md", "methods.md"])
def test_no_key_is_documented_that_does_not_exist(page: str) -> None:
    named = re.findall(r"`((?:method|augment|teacher|prune|train|data)\.[\w.]+)[=`]", read(page))
    assert [key for key in named if key not in EVERY_KEY and key != "teacher.augment"] == []


@pytest.mark.parametrize("name", PRUNERS.names())
def test_every_pruner_is_documented(name: str) -> None:
    assert f"| `{name}` |" in read("configuration.md")


@pytest.mark.parametrize("name", [*OBJECTIVES.names(), *AUGMENTS.names()])
def test_whatever_registers_itself_is_on_the_page_that_is_written(name: str) -> None:
    section = sections(method_page())[name]
    registry = OBJECTIVES if name in OBJECTIVES else AUGMENTS
    prefix = "method" if name in OBJECTIVES else "augment"
    fields = registry.get(name).model_fields  # type: ignore[attr-defined]
    documented = re.findall(r"^\| `([\w.]+)`", section, flags=re.MULTILINE)
    assert [key.removeprefix(f"{prefix}.") for key in documented] == list(fields)


def test_the_page_that_was_written_is_not_stale() -> None:
    """A new file is not on it before the command has run again, and that is no failure."""
    written, kept = sections(method_page()), sections(read("methods.md"))
    assert {name: text for name, text in kept.items() if written.get(name) != text} == {}


def test_every_analysis_is_documented_in_its_own_words() -> None:
    page = read("analyses.md")
    for name in ANALYSES.names():
        kind = ANALYSES.get(name)
        assert f"| `{name}` | {kind.summary} | {kind.source} |" in page


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]*)#?[^)]*\)", page.read_text()):
            assert not target or (page.parent / target).exists(), (page.name, target)
