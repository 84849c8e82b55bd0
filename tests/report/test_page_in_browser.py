"""The report in a real browser: without a network, with charts drawn and tables that sort."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded import whole_search

from kdtune.report.page import report_page

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]

if CHROMIUM is not None:
    from playwright.sync_api import Browser, Page, sync_playwright

DRAWN = "[...document.querySelectorAll('.js-plotly-plot')].map(e => e.querySelector('.main-svg'))"
TOO_WIDE = "document.documentElement.scrollWidth > window.innerWidth"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report") / "report.html"
    made.write_text(report_page(whole_search().record()), encoding="utf-8")
    return made


@pytest.fixture
def page(browser: "Browser", file: Path) -> "Iterator[Page]":
    """The report, opened offline; whatever it asks for or complains of fails the test."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("request", lambda request: wrong.append(request.url))
    opened.goto(file.as_uri())
    opened.wait_for_function(f"{DRAWN}.every(Boolean)")
    yield opened
    context.close()
    assert [text for text in wrong if not text.startswith(("file://", "data:"))] == []


def test_all_charts_are_drawn(page: "Page") -> None:
    assert page.locator(".js-plotly-plot .main-svg").count() >= 4
    lines = page.locator("#chart-curves .scatterlayer .js-line")
    assert lines.count() >= 4
    assert page.locator("#chart-parallel .annotation-text").count() > 10


def test_charts_fill_the_room_that_they_have(page: "Page") -> None:
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("""
            [...document.querySelectorAll('.js-plotly-plot')].every(chart => Math.abs(
                chart.parentElement.clientWidth - chart.querySelector('.main-svg').clientWidth) < 2)
        """)
        assert not page.evaluate(TOO_WIDE)


def test_a_click_on_a_heading_sorts_the_leaderboard(page: "Page") -> None:
    table = page.locator("#leaderboard table")
    temperatures = [15.0, 4.0, 8.0, 1.0, 2.0]

    def shown() -> list[float]:
        cells = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
        return [float(cell) for cell in cells]

    assert shown() == temperatures
    heading = table.get_by_role("button", name="temperature")
    heading.click()
    assert shown() == sorted(temperatures)
    assert table.locator("th[aria-sort=ascending]").inner_text().strip() == "temperature"
    heading.click()
    assert shown() == sorted(temperatures, reverse=True)


def test_the_keyboard_reaches_a_heading(page: "Page") -> None:
    heading = page.locator("#leaderboard").get_by_role("button", name="augment")
    heading.focus()
    page.keyboard.press("Enter")
    first = page.locator("#leaderboard tbody tr").first
    assert "mixup" in first.inner_text()


def test_the_line_under_the_pointer_stands_out(page: "Page") -> None:
    chart = page.locator("#chart-parallel")
    chart.scroll_into_view_if_needed()
    x, y = page.evaluate("""() => {
        const { data, _fullLayout: { xaxis, yaxis, _size } } = document.getElementById(
            "chart-parallel");
        return [xaxis.d2p(data[0].x[1]) + _size.l, yaxis.d2p(data[0].y[1]) + _size.t];
    }""")
    chart.hover(position={"x": x, "y": y})
    page.wait_for_function("""
        document.getElementById("chart-parallel").data.some(
            trace => trace.meta === "highlight" && trace.x.length > 4)
    """)


def test_a_printed_page_holds_its_charts(page: "Page") -> None:
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 970})  # A4 less the margins.
    assert not page.evaluate(TOO_WIDE)
    assert not page.locator("nav").is_visible()
    widths = page.locator(".js-plotly-plot .main-svg").evaluate_all(
        "all => all.map(svg => svg.getBoundingClientRect().right)"
    )
    assert max(widths) <= 688


def test_the_recipe_can_be_copied(page: "Page") -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the command that trains it").click()
    page.get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert str(copied).startswith("kdtune search quickstart")


def test_hidden_seeds_fold_out(page: "Page") -> None:
    seeds = page.get_by_role("region", name="Test accuracy in percent by seed")
    assert not seeds.is_visible()
    page.get_by_text("Every seed").click()
    assert "96.10" in seeds.inner_text()
