"""What is damaged, ambiguous or inferred in a table: said once, and of whom."""

from collections.abc import Iterator
from dataclasses import dataclass

from kdtune.papers.facets import METRICS, in_line
from kdtune.papers.layout import Arranged

MARKS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"


@dataclass(frozen=True, kw_only=True)
class Remark:
    """What is to be said of some figures of a table.

    Attributes:
        text: The parts of notes that they share.
        of: Whom it concerns, in words; empty if single figures, which bear ``mark``.
        mark: A raised letter; empty if ``of`` is not.
        figures: Positions of those it concerns, in the order of the table's figures.
    """

    text: str
    of: str
    mark: str
    figures: frozenset[int]


def remarks(arranged: Arranged) -> list[Remark]:
    """The parts of all notes, each once; what holds for a whole row or column is not marked.

    Raises:
        ValueError: If there are more remarks than letters to mark them with.
    """
    concerned: dict[str, set[int]] = {}
    for position, figure in enumerate(arranged.figures):
        for part in filter(None, figure.note.split("; ")):
            concerned.setdefault(part, set()).add(position)
    shared: dict[frozenset[int], list[str]] = {}
    for part, positions in concerned.items():
        shared.setdefault(frozenset(positions), []).append(part)
    scopes = list(_scopes(arranged))
    marks = iter(MARKS)
    made = []
    for figures, parts in shared.items():
        of = next((name for name, held in scopes if held == figures), "")
        mark = "" if of else next(marks, "")
        if not (of or mark):
            raise ValueError(f"a table can have {len(MARKS)} marked remarks, got more")
        made.append(Remark(text="; ".join(parts), of=of, mark=mark, figures=figures))
    return made


def _scopes(arranged: Arranged) -> Iterator[tuple[str, set[int]]]:
    """Groups of figures that have a name: all, a column, a row, a metric, a method."""
    figures, layout = arranged.figures, arranged.layout
    yield "all figures", set(range(len(figures)))
    places = {id(figure): place for place, held in arranged.cells.items() for figure in held}
    for axis, keys, facets in (
        (1, arranged.columns, layout.columns),
        (0, arranged.rows, layout.rows),
    ):
        for key in keys:
            named = zip(facets, key, strict=True)
            name = ", ".join(in_line(f"{facet.title} {text}") for facet, text in named)
            held = {i for i, f in enumerate(figures) if places[id(f)][axis] == key}
            yield name, held if len(held) > 1 else set()
    for metric in dict.fromkeys(figure.metric for figure in figures):
        name = METRICS.get(metric, metric.replace("_", " "))
        yield name, {i for i, figure in enumerate(figures) if figure.metric == metric}
    yield "all with soft labels", {i for i, f in enumerate(figures) if "alpha" in f.conditions}
    for method in dict.fromkeys(figure.method for figure in figures):
        held = {i for i, figure in enumerate(figures) if figure.method == method}
        yield f"rows of {method}", held if len(held) > 1 else set()
