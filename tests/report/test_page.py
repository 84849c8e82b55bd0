"""The report of a search as a file: complete, alone, and safe whatever the record holds."""

import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from recorded import EPOCHS, Recorded, rising, whole_search

from kdtune.report.page import report_page

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a test asks of a page: its elements, and its words without scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._inside):
            self.words += f"{data} "

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of that name with those attributes."""
        return [own for name, own in self.elements if name == tag and wanted.items() <= own.items()]

    @property
    def sections(self) -> list[str]:
        return [str(section["id"]) for section in self.all("section")]


def page(made: Recorded) -> Page:
    return Page(report_page(made.record()))


@pytest.fixture(scope="module")
def whole() -> str:
    return report_page(whole_search().record())


def test_a_whole_search_has_every_section_that_it_can_fill(whole: str) -> None:
    assert Page(whole).sections == [
        *("summary", "finalists", "leaderboard", "curves", "settings"),
        *("what-mattered", "early-cuts", "cost", "recipe", "reproduce"),
    ]


def test_the_contents_lead_to_the_sections(whole: str) -> None:
    found = Page(whole)
    links = [str(link["href"]) for link in found.all("a") if link.get("class") != "skip"]
    assert links == [f"#{name}" for name in found.sections]


def test_nothing_is_fetched_from_anywhere(whole: str) -> None:
    found = Page(whole)
    addresses = [own[key] for _, own in found.elements for key in ("src", "href") if key in own]
    assert all(str(address).startswith(("#", "data:")) for address in addresses)
    styles = " ".join(re.findall(r"<style>(.*?)</style>", whole, flags=re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_library_of_charts_is_there_once(whole: str) -> None:
    assert whole.count("plotly.js v") == 1
    assert len(whole) < 6_000_000


def test_no_chart_can_be_sent_away(whole: str) -> None:
    assert whole.count('"modeBarButtonsToRemove": ["sendChartToCloud"') == whole.count(
        "Plotly.newPlot("
    )


def test_charts_say_in_words_what_they_show(whole: str) -> None:
    charts = Page(whole).all("div", role="img")
    assert len(charts) == 5
    told = " ".join(str(chart["aria-label"]) for chart in charts)
    assert "finalist 2 95.32 ± 0.61 (4)" in told
    assert "Cut: 2 at epoch 2." in told


def test_identifiers_are_unique(whole: str) -> None:
    names = [own["id"] for _, own in Page(whole).elements if "id" in own]
    assert len(names) == len(set(names))


def test_tables_say_what_their_headings_are_of(whole: str) -> None:
    headings = Page(whole).all("th")
    assert headings
    assert {heading["scope"] for heading in headings} == {"col", "row"}


def test_what_a_reader_wants_to_know_is_told(whole: str) -> None:
    words = Page(whole).words
    for part in (
        "95.32",
        "kd T=4 alpha=0.9",
        "kdtune search --name made-up",
        "0123456789abcdef",
        "kdtune 1.2.3",
        "digits train f1n9e7",
        "3 were in the store",
        "Cutting saved 12 epochs",
    ):
        assert part in words


def test_a_page_is_made_within_seconds() -> None:
    record = whole_search().record()
    began = time.process_time()
    report_page(record)
    assert time.process_time() - began < 3.0


@pytest.mark.parametrize(
    "made",
    [
        Recorded(name=HOSTILE, params={"dataset": HOSTILE}, tags={"space": HOSTILE}),
        Recorded(tags={"command": HOSTILE}, params={"search.sampler": HOSTILE}),
    ],
)
def test_hostile_texts_of_the_search_stay_texts(made: Recorded) -> None:
    made.trial(*rising(0.9))
    html = report_page(made.end().record())
    assert HOSTILE not in html
    assert HOSTILE in Page(html).words


def test_hostile_texts_of_trials_stay_texts_also_in_charts() -> None:
    made = Recorded()
    for value in (0.7, 0.8):
        made.trial(*rising(value), dataset=HOSTILE, student=f"{HOSTILE}{value}")
    made.final(HOSTILE, [0.9, 0.8], also=f"{HOSTILE} too")
    made.trial(outcome="failed")
    html = report_page(made.end().record())
    assert HOSTILE not in html
    _, *charts = re.findall(r"<script[^>]*>(.*?)</script>", html, flags=re.DOTALL)
    assert any("&lt;script" in chart for chart in charts)  # Plotly reads some tags itself.
    assert not any("<script" in chart or r"\u003cscript" in chart for chart in charts)


def test_without_trials_the_page_says_so() -> None:
    found = page(Recorded())
    assert "No trial was started." in found.words
    assert "The search still runs, or its process was killed." in found.words


def test_a_single_trial_is_enough() -> None:
    made = Recorded(params={"search.finalists": 0})
    made.trial(*rising(0.9))
    found = page(made.end())
    assert "none was asked for" in found.words
    assert "curves" in found.sections
    assert "settings" not in found.sections  # One line through all axes tells nothing.
    assert "recipe" in found.sections


def test_a_search_of_which_all_trials_failed_says_why() -> None:
    made = Recorded()
    for _ in range(7):
        made.trial(outcome="failed")
    found = page(made.end("failed"))
    assert "RuntimeError: out of luck" in found.words
    assert "and 2 more" in found.words
    assert "No trial finished," in found.words
    assert "recipe" not in found.sections


def test_finalists_that_all_failed_are_told_as_failed() -> None:
    made = Recorded()
    made.trial(*rising(0.9))
    made.final("finalist 1", [None, None])
    found = page(made.end())
    assert "2 runs of finalist 1 have no test score" in found.words
    assert "Nothing was tested" in found.words


def test_an_interrupted_search_shows_what_was_done() -> None:
    made = Recorded()
    made.trial(*rising(0.9))
    made.trial(0.2, 0.3, 0.4, outcome="stopped")
    found = page(made.end("stopped"))
    assert "Stopped early." in found.words
    assert "the search did not get that far" in found.words


def test_a_running_search_shows_what_is_done() -> None:
    made = Recorded()
    made.trial(*rising(0.9))
    made.trial(0.2, outcome="running")
    assert "1 finished and 1 running" in page(made).words


def test_arms_of_a_space_are_named() -> None:
    made = Recorded(tags={"space": "joint"})
    made.trial(*rising(0.9), tags={"space.arm": "kd"})
    made.trial(*rising(0.8), tags={"space.arm": "at"}, **{"method": "at", "method.beta": 10.0})
    found = page(made.end())
    assert "arm" in found.words
    assert "--set arm=kd" in found.words


def test_several_objectives_have_a_front() -> None:
    goals = "val/accuracy:max, student/params:min"
    made = Recorded(params={"search.objectives": goals})
    for number, size in enumerate((900.0, 700.0, 800.0)):
        made.trial(*rising(0.9 - number / 10), metrics={"student/params": size})
    for number in (0, 1):
        made.tag(number, pareto="true")
    found = page(made.end())
    assert "pareto-front" in found.sections
    assert "2 of 3 trials are on the Pareto front" in found.words
    assert "700" in found.words


def test_a_front_that_was_never_marked_is_not_made_up() -> None:
    made = Recorded(params={"search.objectives": "val/accuracy:max, student/params:min"})
    made.trial(*rising(0.9), metrics={"student/params": 10.0})
    assert "ended before its front was marked" in page(made).words


def test_figures_of_the_papers_stand_beside_measured_ones() -> None:
    made = Recorded(tags={"space": "wang2020"})
    task = {"dataset": "cifar100", "teacher": "wrn_40_2", "student": "wrn_16_2"}
    made.trial(*rising(0.7), **task)
    made.final("finalist 1", [0.74, 0.75, 0.76], **task)
    found = page(made.end())
    assert "papers" in found.sections
    assert "74.92 ± 0.28 (n = 3)" in found.words
    assert "epochs 8 here, 240 printed" in found.words
    assert "neither confirms nor contradicts" in found.words


def test_a_trainable_of_ones_own_has_a_page_as_well() -> None:
    record = whole_search().record()
    own = [replace(run, params={"width": "3"}) for run in record.runs if run.kind == "trial"]
    found = Page(report_page(replace(record, runs=own)))
    assert "leaderboard" in found.sections
    assert "width=3" in found.words
    assert "Distill" not in found.words


def test_a_page_of_500_trials_is_neither_slow_nor_large() -> None:
    made = Recorded()
    curve = [0.5 + epoch / 1000 for epoch in range(EPOCHS)]
    for number in range(500):
        long = number % 3 == 0
        settings = {"temperature": 1.0 + number / 50, "alpha": number / 500}
        made.trial(*(curve if long else curve[:3]), **settings)
    record = made.end().record()
    began = time.process_time()
    html = report_page(record)
    assert time.process_time() - began < 15.0
    assert len(html) < 7_000_000
    assert len(Page(html).all("tr")) > 500
