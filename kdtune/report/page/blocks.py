"""What a section of the page is made of, besides tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from markupsafe import Markup

from kdtune.report.chart_style import fragment
from kdtune.report.page.tables import Listing

if TYPE_CHECKING:
    import plotly.graph_objects as go


TITLE_PX, LINE_PX = 36, 12
"""What a chart is lower by without its title; with a legend there, hardly."""


@dataclass(frozen=True)
class Text:
    """A paragraph; ``lead`` is what it begins with, in bold."""

    kind: ClassVar = "text"
    text: str
    lead: str = ""


@dataclass(frozen=True)
class Code:
    """Something to paste; ``what`` says what it is."""

    kind: ClassVar = "code"
    what: str
    text: str


@dataclass(frozen=True)
class Tile:
    """One number that the reader came for."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Tiles:
    """A few of them in a row."""

    kind: ClassVar = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        title: Above it.
        html: The chart itself.
        alt: What it shows, in words, for those who do not see it.
        note: Below it.
        wide: Whether it scrolls on a narrow screen rather than shrink.
    """

    kind: ClassVar = "chart"
    title: str
    html: Markup
    alt: str
    note: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Row:
    """Charts side by side where there is room."""

    kind: ClassVar = "row"
    charts: Sequence[Chart]


Block = Text | Code | Tiles | Chart | Row | Listing


@dataclass(frozen=True)
class Section:
    """A section: its title, and what it holds."""

    title: str
    blocks: Sequence[Block]

    @property
    def name(self) -> str:
        """In links."""
        return self.title.lower().replace(" ", "-")


def chart(figure: "go.Figure", name: str, *, alt: str, note: str = "", wide: bool = False) -> Chart:
    """``figure`` in the page: its title becomes a heading, which wraps and can be read aloud."""
    title = figure.layout.title.text or ""
    legend = any(trace.name and trace.showlegend is not False for trace in figure.data)
    above = figure.layout.margin.t - (LINE_PX if legend else TITLE_PX)
    figure.update_layout(title=None, margin={"t": above})
    return Chart(
        title=title,
        html=Markup(fragment(figure, f"chart-{name}")),
        alt=alt,
        note=note,
        wide=wide,
    )
