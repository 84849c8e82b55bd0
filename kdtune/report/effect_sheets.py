"""Effects as sheets of written cells, which terminal and page show in their ways."""

import math
from collections.abc import Iterator, Sequence

from kdtune.compare.effects import Effects
from kdtune.compare.halving import ORDERS
from kdtune.compare.honesty import Estimate, Honesty
from kdtune.compare.importance import CLEAR, MEASURES, Importance
from kdtune.compare.interactions import Cell, Interaction
from kdtune.compare.levels import level_name
from kdtune.report.comparison_sheets import Sheet, Written
from kdtune.report.comparison_words import measure_of
from kdtune.report.goals import Measure
from kdtune.report.settings import MISSING

OBSERVED = (
    "Observed: settings beside the factors vary, as a search drew them, so a difference may be "
    "theirs. Trials that were cut do not count, which hides part of it."
)


def effect_sheets(effects: Effects) -> list[Sheet]:
    """All tables, in the order in which they are read."""
    told = [each for each in effects.interactions if each.estimates]
    return [
        *(importance_sheet(each) for each in effects.importance if each.axes),
        *([contrast_sheet(told)] if told else []),
        *map(cell_sheet, told),
        *(rung_sheet(each) for each in effects.honesty if each.rungs),
    ]


def importance_sheet(importance: Importance) -> Sheet:
    """Axis by axis the share under each measure, and whether that is more than chance."""
    order = [each.axis for each in importance.axes if each.measure == MEASURES[0]]
    found = {(each.axis, each.measure): each for each in importance.axes}
    rows = []
    for axis in order:
        own = [found[axis, measure] for measure in MEASURES]
        clear = [each.measure for each in own if each.clear]
        spans = [f"{100 * e.share:.0f} ({100 * e.low:.0f} to {100 * e.high:.0f})" for e in own]
        rows.append((axis, *spans, " and ".join(clear) or "no"))
    when = f"at epoch {importance.epoch}" if importance.epoch else "at their end"
    return Sheet(
        name="-".join(filter(None, ("importance", importance.search, importance.arm))),
        title=f"What mattered in {importance.search}{' ' * bool(importance.arm)}{importance.arm}: "
        f"{importance.n} trials {when}",
        headings=("axis", *(f"{measure} %" for measure in MEASURES), "beyond chance"),
        rows=_written(rows),
        left=frozenset({0, 3}),
        notes=(
            "In brackets: percentiles 5 and 95 of resampled trials. Beyond chance: before shuffled "
            f"copies of all axes in {100 * CLEAR:.0f} % of the draws.",
            *map(_sentence, importance.notes),
        ),
    )


def contrast_sheet(told: Sequence[Interaction]) -> Sheet:
    """What can be told of the claims: each contrast with its interval and a verdict."""
    rows = []
    for interaction in told:
        scale = measure_of(interaction.metric).scale
        for found in interaction.estimates:
            low, value, high = (scale * each for each in (found.low, found.value, found.high))
            rows.append(
                (
                    interaction.claim.paper,
                    found.contrast.says,
                    f"{value:+.2f} ({low:+.2f} to {high:+.2f})",
                    found.verdict,
                    "controlled" if interaction.controlled else "observed",
                )
            )
    return Sheet(
        name="claims",
        title="What the papers claim, and what these runs say",
        headings=("paper", "claim", "effect", "verdict", "design"),
        rows=_written(rows),
        left=frozenset({0, 1, 3, 4}),
        notes=(
            "Effects are in points for shares; 95 % intervals, each for itself: of twenty that "
            "hold nothing, one leaves 0 out.",
            *([] if all(each.controlled for each in told) else [OBSERVED]),
        ),
    )


def cell_sheet(interaction: Interaction) -> Sheet:
    """The means behind a claim: the first factor along, the others down."""
    factors, measure = interaction.claim.factors, measure_of(interaction.metric)
    across = list(dict.fromkeys(cell.levels[0] for cell in interaction.cells))
    down = list(dict.fromkeys(cell.levels[1:] for cell in interaction.cells))
    cells = {cell.levels: cell for cell in interaction.cells}
    rows = [
        (*levels, *(_mean(cells.get((first, *levels)), measure) for first in across))
        for levels in down
    ]
    beside = "These factors and the seed alone differ"
    if not interaction.controlled:
        beside = f"Beside these factors vary {', '.join(interaction.beside)}"
    return Sheet(
        name=f"cells-{interaction.claim.name.replace(' ', '-')}",
        title=f"{interaction.claim.name}: {measure.heading}, mean ± std (n)",
        headings=(
            *(factor.name for factor in factors[1:]),
            *(level_name(factors[0], level) for level in across),
        ),
        rows=_written(rows),
        left=frozenset(range(len(factors) - 1)),
        lead=len(factors) - 1,
        notes=(
            f"{_shared(interaction)}; {interaction.runs} runs. {beside}.",
            *(
                f"{name} is put into bins of about as many runs each."
                for name in interaction.binned
            ),
        ),
    )


def rung_sheet(honesty: Honesty) -> Sheet:
    """Rung by rung: how its values and the final ones agree, and what a cut there does."""
    rows = []
    for place, rung in enumerate(honesty.rungs):
        row = [str(rung.epoch), str(rung.reached), str(len(rung.pairs))]
        row += [_interval(rung.tau), _interval(rung.rho), f"{rung.place} of {rung.reached}"]
        if honesty.replay:
            regret = measure_of(honesty.objective.metric).scale * honesty.replay.regrets[place]
            row += [str(honesty.replay.survivors[place]), f"{regret:.2f}"]
        rows.append(row)
    replayed = ("would pass", "regret") if honesty.replay else ()
    return Sheet(
        name=f"rungs-{honesty.search}",
        title=f"Early values and the end in {honesty.search}: {honesty.finished} of "
        f"{honesty.trials} trials finished",
        headings=(
            *("epoch", "reached", "finished", "Kendall's tau", "Spearman's rho"),
            *("place of the best", *replayed),
        ),
        rows=_written(rows),
        lead=1,
        notes=(
            "Rank correlation of the values at a rung with the final ones over finished trials, "
            "with bootstrap intervals of 95 %.",
            *honesty_sentences(honesty),
            *map(_sentence, honesty.notes),
        ),
    )


def honesty_sentences(honesty: Honesty) -> Iterator[str]:
    """What early cutting would have cost, or may have."""
    measure = measure_of(honesty.objective.metric)
    unit = " points" if measure.unit == "%" else ""

    def amount(value: float) -> str:
        return f"{measure.scale * value:.2f}{unit}"

    if replay := honesty.replay:
        yield (
            f"Had ASHA judged these trials (rungs as above, 1 in {honesty.reduction_factor} "
            f"passes), {100 * replay.epochs_saved:.0f} % of the epochs would have been saved and "
            f"{amount(replay.regrets[-1])} lost. In {ORDERS} other orders of the same trials: "
            f"{amount(replay.mean_regret)} on average, {amount(replay.worst_regret)} or less in 95 "
            f"%, nothing in {100 * replay.harmless:.0f} %. A sampler that learns would have "
            "suggested others after a cut."
        )
    if told := honesty.forecast:
        yield (
            f"The chance that one of the {honesty.cut} trials that were cut would have beaten "
            f"{measure.quantity(honesty.best)} is {100 * told.chance:.0f} %, and cutting cost "
            f"{amount(told.regret)} on average ({amount(told.high_regret)} or less in 95 %), if "
            f"the line through the {honesty.finished} finished trials holds below them. Had early "
            f"values said nothing, that chance would be {100 * told.blind_chance:.0f} %."
        )


def untold(effects: Effects) -> list[str]:
    """Why numbers are missing, a sentence or a command each."""
    lines = [
        f"Importance in {' '.join(filter(None, (each.search, each.arm)))}: {each.refused}."
        for each in effects.importance
        if each.refused
    ]
    for interaction in effects.interactions:
        if not interaction.missing:
            continue
        claim = interaction.claim
        lines.append(f"{claim.name} ({claim.paper}) needs {'; '.join(interaction.missing)}:")
        lines += [f"  {command}" for command in interaction.commands]
    lines += [
        f"Rungs of {each.search}: {'; '.join(each.notes) or 'there are none'}."
        for each in effects.honesty
        if not each.rungs
    ]
    return lines


def _shared(interaction: Interaction) -> str:
    named = ("dataset", "student", "teacher", "method", "train.epochs")
    return ", ".join(
        f"{key.removeprefix('train.')} {interaction.context[key]}"
        for key in named
        if key in interaction.context
    )


def _mean(cell: Cell | None, measure: Measure) -> str:
    if cell is None:
        return MISSING
    std = None if math.isnan(cell.std) else cell.std
    return f"{measure.text(cell.mean)} ± {measure.text(std)} ({cell.n})"


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return MISSING
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _written(rows: Sequence[Sequence[str]]) -> tuple[tuple[Written, ...], ...]:
    return tuple(tuple(map(Written, row)) for row in rows)
