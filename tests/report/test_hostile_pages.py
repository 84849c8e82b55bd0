"""Whatever stands in names, settings, errors and commands is text in every page, and only text."""

import re
from html.parser import HTMLParser

import pytest
from recorded import Recorded, rising
from test_comparison_view import figure, result

from kdtune.compare import compare
from kdtune.compare.effects import effects
from kdtune.report.comparison_files import FORMATS
from kdtune.report.effect_files import effects_page
from kdtune.report.page import report_page

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "--></style></script></title><svg onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "{{ 7 * 7 }}{% raw %}",
    "\u2028</script\u2029><br onload=alert(1)>",
)


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, in order, and its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.feed(html)
        self.close()
        found = re.findall(r"<script[^>]*>(.*?)</script>", html, flags=re.DOTALL)
        self.charts = [script for script in found if "Plotly.newPlot" in script[:5000]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment",))


def search_page(word: str) -> str:
    made = Recorded(
        name=word,
        params={"search.sampler": word, "dataset": word, "teacher.store": word},
        tags={"space": word, "command": word, "mlflow.source.git.commit": word, word: word},
    )
    made.teacher()
    for value in (0.7, 0.8):
        made.trial(*rising(value), dataset=word, student=word, tags={"error": word, "also": word})
    made.final(word, [0.9, 0.8], also=word)
    made.final("no teacher", [0.8, 0.7], kind="baseline")
    made.trial(outcome="failed", tags={"error": f"Traceback\n{word}"})
    return report_page(made.end(word).record())


def comparison(word: str) -> str:
    ours = [result(method, 0.9 + place / 100) for place, method in enumerate((word, "scratch"))]
    found = compare([*ours, figure("scratch", 0.91)], by=["method"])
    return FORMATS["html"](found, f"kdtune compare {word}").decode()


def effect(word: str) -> str:
    made = Recorded(name=word, tags={"command": word})
    for value, policy in ((0.7, "none"), (0.8, "standard"), (0.9, "none"), (0.6, "standard")):
        made.trial(*rising(value), augment=policy, student=word, temperature=10 * value)
    return effects_page(effects([made.end().record()]), command=word)


PAGES = {"search": search_page, "comparison": comparison, "effects": effect}


@pytest.mark.parametrize("word", HOSTILE)
@pytest.mark.parametrize("kind", PAGES)
def test_a_hostile_text_changes_the_words_of_a_page_alone(kind: str, word: str) -> None:
    usual = re.sub(r"[^ ]", "h", word)
    plain, attacked = Structure(PAGES[kind](usual)), Structure(PAGES[kind](word))
    assert attacked.elements == plain.elements
    assert not any(name.startswith("on") for _, *names in attacked.elements for name in names)
    for chart in attacked.charts:  # Plotly makes elements of some tags itself.
        tags = set(re.findall(r"(?:<|\\u003c)(.*?)(?:>|\\u003e)", chart))
        assert tags <= {"br", "extra", r"\u002fextra"}
