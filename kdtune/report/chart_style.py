"""How every interactive chart looks, and how it gets into a page without a network."""

import re
from functools import cache
from typing import TYPE_CHECKING

from kdtune.palette import COLOURS

if TYPE_CHECKING:
    import plotly.graph_objects as go

MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "triangle-down")
"""One for each colour: what colour says, shape says too, also on paper."""

OPTIONS = {
    "displaylogo": False,
    "responsive": True,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
}
"""Of every chart: nothing in it sends its data anywhere."""

HEIGHT_PX = 420
"""Of a chart that has no height of its own; the width is that of the page."""

_MARKUP = re.compile(r"\\u003c(?!(?:br|extra|\\u002fextra)\\u003e)")
"""A ``<`` in the JSON of a chart that begins none of the tags that we put there."""


def styled(figure: "go.Figure", *, title: str, x: str = "", y: str = "") -> "go.Figure":
    """``figure`` in the house style, in place.

    Args:
        figure: Of plotly.
        title: What it shows, as a sentence.
        x, y: Titles of the axes with their units, such as ``validation accuracy (%)``.
    """
    figure.update_layout(
        title={"text": title, "x": 0, "xanchor": "left", "font": {"size": 16}},
        template="simple_white",
        colorway=COLOURS,
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 70, "r": 20, "t": 56, "b": 56},
        legend={"title": None, "orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"},
    )
    if figure.layout.height is None:
        figure.update_layout(height=HEIGHT_PX)
    size = {"size": 13}
    if x:
        figure.update_xaxes(title={"text": x, "font": size})
    if y:
        figure.update_yaxes(title={"text": y, "font": size})
    return figure


def fragment(figure: "go.Figure", name: str) -> str:
    """The chart as a piece of HTML, for a page that holds :func:`script` once.

    Plotly makes links and other elements of tags in its texts. Those that are not ours become
    plain text, so no name of a run can bring any.

    Args:
        figure: Of plotly.
        name: Identifier of the element, unique in its page; also the name of a saved picture.
    """
    options = {**OPTIONS, "toImageButtonOptions": {"filename": name}}
    text: str = figure.to_html(full_html=False, include_plotlyjs=False, config=options, div_id=name)
    return _MARKUP.sub("&lt;", text)


@cache
def script() -> str:
    """The library that draws the charts, some 5 MB of JavaScript, to stand in a page itself."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
