"""The sections that answer: which recipe, how sure, and what the papers say."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kdtune.compare.effects import Effects
from kdtune.report.comparison_words import apart_text
from kdtune.report.page.answer import Difference, difference, points, recommended
from kdtune.report.page.blocks import Block, Code, Row, Text, Tile, Tiles, chart
from kdtune.report.page.charts import difference_chart, score_chart
from kdtune.report.page.cost import Cost
from kdtune.report.page.facts import PUBLISHED, Facts, in_a_line
from kdtune.report.page.papers import Printed
from kdtune.report.page.recipe import recipe
from kdtune.report.page.summary import summary
from kdtune.report.page.tables import Cell, Line, Listing, arms_table, seeds_table
from kdtune.report.progress import duration
from kdtune.report.settings import MISSING, percent

MOST_PRINTED = 12
"""Printed figures that are shown, the most alike first."""


def opening(
    facts: Facts, spent: Cost, printed: Sequence[Printed], told: Effects
) -> Iterator[Block]:
    """A few numbers, then the search in plain words."""
    yield Tiles([*_gains(facts), _budget(facts, spent)])
    for sentence in summary(facts, spent, printed, told):
        yield Text(sentence.text, lead=sentence.lead)


def _gains(facts: Facts) -> Iterator[Tile]:
    best = recommended(facts)
    if best is None or best.summary is None:
        if facts.finished:
            row = facts.finished[0].row
            value = facts.goal.measure.quantity(row.value)
            yield Tile(f"best {facts.measured}", value, f"trial {row.trial}, one run")
        return
    mean, std, n = best.summary.mean, best.summary.std, best.summary.n
    spread = "one seed" if std is None else f"± {percent(std)}, {n} seeds"
    published = facts.arm(PUBLISHED)
    yield Tile("test accuracy", f"{percent(mean)} %", spread)
    for label, other in (("no teacher", facts.no_teacher), ("the published recipe", published)):
        if other and other.same_as == best.name:
            yield Tile(f"over {label}", "same", f"it is {label}")
        elif other:
            yield _gain(f"over {label}", difference(best.scores, other.scores))


def _gain(label: str, gap: Difference | None) -> Tile:
    if gap is None:
        return Tile(label, MISSING, "no seeds in common")
    note = f"points; 95 %: {gap.interval}" if gap.interval else f"points; no interval, n = {gap.n}"
    return Tile(label, points(gap.mean), note)


def _budget(facts: Facts, spent: Cost) -> Tile:
    note = "1 trial" if len(facts.trials) == 1 else f"{len(facts.trials)} trials"
    if spent.saved_epochs:
        note += f", {100 * spent.saved_share:.0f} % of their epochs saved"
    return Tile("wall clock", duration(spent.wall_s), note)


def finalists(facts: Facts) -> Iterator[Block]:
    """Test accuracy of finalists and baselines."""
    if not facts.arms:
        asked = facts.record.search.params.get("search.finalists")
        why = "none was asked for" if asked == "0" else "the search did not get that far"
        yield Text(f"No finalist was trained: {why}.")
        return
    tested = [arm for arm in facts.arms if arm.scores]
    if tested:
        told = "; ".join(f"{arm.name} {arm.summary}" for arm in tested)
        charts = [chart(score_chart(facts), "scores", alt=f"Test accuracy in percent: {told}.")]
        gains = difference_chart(facts)
        if gains and len(tested) > 1:
            charts.append(chart(gains, "gains", alt=_gains_told(facts)))
        yield Row(charts)
    yield arms_table(facts)
    if any(len(arm.scores) > 1 for arm in tested):
        yield seeds_table(facts)


def _gains_told(facts: Facts) -> str:
    base = facts.no_teacher
    found = [(arm, difference(arm.scores, base.scores)) for arm in facts.arms if base]
    told = [
        f"{arm.name} {points(gap.mean)}" + (f" ({gap.interval})" if gap.interval else "")
        for arm, gap in found
        if gap and arm != base
    ]
    return f"Points over no teacher, with 95 % intervals: {'; '.join(told)}."


def papers(printed: Sequence[Printed]) -> Iterator[Block]:
    """Printed figures of the same student, data and method."""
    if not printed:
        return
    more = len(printed) - MOST_PRINTED
    yield Listing(
        caption="Printed figures of the same student, data and method, the most alike first",
        columns=[
            *("paper", "row", "printed %", "arm", "measured %", "difference"),
            "what differs, as far as the paper tells",
        ],
        lines=[_printed(each) for each in printed[:MOST_PRINTED]],
        notes=(
            "Differences are in points. A figure of another protocol says little of this search.",
            *([f"{more} more are left out: see kdtune compare."] if more > 0 else []),
        ),
    )


def _printed(each: Printed) -> Line:
    figure, own = each.figure, each.arm.summary
    n = "n not told" if figure.n is None else f"n = {figure.n}"
    note = f" ({figure.note})" if figure.note else ""
    return Line(
        cells=[
            Cell(text=f"{figure.paper} {figure.table}", kind="head"),
            Cell(text=figure.label + note, kind="text"),
            Cell(text=f"{percent(figure.mean)} ± {percent(figure.std)} ({n})"),
            Cell(text=each.arm.name, kind="text"),
            Cell(text=str(own)),
            Cell(text=points(each.difference)),
            Cell(text=apart_text(each.apart) or "nothing", kind="text"),
        ]
    )


def ready_to_paste(facts: Facts, folder: Path | None) -> Iterator[Block]:
    """The best recipe as a command and as a configuration."""
    best = recommended(facts)
    made = recipe(facts, best, folder)
    if made is None:
        return
    config = best.config if best else facts.finished[0].row.config
    yield Text(f"{in_a_line(config)}.", lead=f"{made.name.capitalize()}:")
    if made.command:
        yield Text("Train exactly this again, with the same seeds and beside the baselines:")
        yield Code("the command that trains it", made.command)
    yield Text("One run of it from Python:")
    yield Code("the configuration", made.code)
    if made.export:
        yield Text("Its student as ONNX, of the seed that was best on validation:")
        yield Code("the command that exports it", made.export)
