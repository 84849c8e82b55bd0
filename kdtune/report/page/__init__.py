"""One search as a page of HTML that stands alone: no network, no other file."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import kdtune
from kdtune.report.chart_style import script
from kdtune.report.page.facts import Facts
from kdtune.report.page.sections import sections
from kdtune.tracking.record import SearchRecord

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["FILE", "report_page"]

FILE = "report.html"
"""What the page is called beside the results of its search."""


def report_page(record: SearchRecord, *, folder: Path | None = None) -> str:
    """The whole page.

    Args:
        record: Of a search, finished or not.
        folder: Of its results, for the commands that name it; guessed if not given.
    """
    from markupsafe import Markup

    facts = Facts.of(record)
    here = Path(__file__).parent
    return _template().render(
        title=record.name,
        about=_about(facts),
        sections=sections(facts, folder),
        version=kdtune.__version__,
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        behaviour=Markup((here / "page.js").read_text(encoding="utf-8")),
        library=Markup(script()),
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kdtune.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _about(facts: Facts) -> str:
    """What was searched, and when."""
    search = facts.record.search
    began = datetime.fromtimestamp(search.started_ms / 1000, tz=UTC).astimezone()
    parts = [search.tags.get("space", ""), search.params.get("dataset", "")]
    what = " on ".join(part.rpartition("/")[2] for part in parts if part)
    pair = " \u2192 ".join(search.params[k] for k in ("teacher", "student") if k in search.params)
    return " · ".join(filter(None, (what, pair, f"{began:%d %B %Y, %H:%M %Z}")))
