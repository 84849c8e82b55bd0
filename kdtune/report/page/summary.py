"""The search in plain words. Every sentence is computed, and says how many seeds it rests on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from kdtune.compare.effects import Effects
from kdtune.report.page.answer import (
    Difference,
    chosen_by_validation,
    difference,
    points,
    recommended,
)
from kdtune.report.page.cost import Cost
from kdtune.report.page.facts import PUBLISHED, Arm, Facts, in_a_line
from kdtune.report.page.papers import Printed
from kdtune.report.settings import percent

FEW = 5
"""With fewer seeds than this a standard deviation is itself little known."""


@dataclass(frozen=True)
class Sentence:
    """A paragraph of the summary, and the words that it begins with."""

    lead: str
    text: str


def summary(facts: Facts, spent: Cost, printed: Sequence[Printed], told: Effects) -> list[Sentence]:
    """What a reader should take away, the most important first."""
    best = recommended(facts)
    found = [
        *_interruption(facts),
        *(_of_finalists(facts, best) if best else _of_trials(facts)),
        *_of_papers(best, printed),
        *_front(facts),
        *_search(facts, spent),
        *_what_mattered(told),
        *_early_cuts(told),
        *_caution(facts, best),
    ]
    return [Sentence(each.lead, _unbroken(each.text)) for each in found]


def _interruption(facts: Facts) -> Iterator[Sentence]:
    match facts.record.search.outcome:
        case "stopped":
            yield Sentence("Stopped early.", "This is what was done by then.")
        case "failed":
            yield Sentence("Broken off.", "The search failed; this is what was done by then.")
        case "":
            yield Sentence("No end is told.", "The search still runs, or its process was killed.")


def _of_finalists(facts: Facts, best: Arm) -> Iterator[Sentence]:
    assert best.summary
    rivals = [arm for arm in facts.arms if not arm.baseline and arm.scores]
    if not chosen_by_validation(facts):
        choice = "It led the search; the finalists were trained on validation images as well."
    elif len(rivals) == 1:
        choice = "It is the only finalist."
    else:
        mean = facts.goal.measure.quantity(fmean(best.chosen_by.values()))
        choice = (
            f"Of {len(rivals)} finalists it has the best mean {facts.measured} over its seeds, "
            f"{mean}; test had no say in the choice."
        )
    score = _score(best)
    yield Sentence("Use", f"{in_a_line(best.config)} ({best.name}): {score} on test. {choice}")
    yield from _against_no_teacher(facts, best)
    yield from _against_published(facts, best)
    yield from _against_rivals(best, [arm for arm in rivals if arm != best])


def _against_no_teacher(facts: Facts, best: Arm) -> Iterator[Sentence]:
    base = facts.no_teacher
    gain = difference(best.scores, base.scores) if base else None
    if base is None or gain is None:
        return
    if base.same_as == best.name:
        yield Sentence("No teacher:", "this is it. Nothing that has a teacher was chosen over it.")
        return
    who = "the teacher" if best.config.get("teacher") else str(best.config.get("method"))
    what = "the same student without a teacher"
    if _own(best) != _own(base):
        what = "the student without a teacher (augmented and pruned as finalist 1)"
    text = f"{points(gain.mean)} points against {what}, which scores {_score(base)}. "
    text += _certainty(gain, better=f"{who} helps", worse=f"{who} hurts")
    if gain.clear and gain.mean > 0 and best.teacher:
        assert base.summary
        gap = best.teacher - base.summary.mean
        if gap > gain.mean:
            share = f"{100 * gain.mean / gap:.0f} %"
            text += f" That is {share} of the way to its teacher's {percent(best.teacher)} %."
    yield Sentence("No teacher:", text)


def _against_published(facts: Facts, best: Arm) -> Iterator[Sentence]:
    published = facts.arm(PUBLISHED)
    if published is None:
        return
    if published.same_as == best.name:
        yield Sentence(
            "Published recipe:",
            "this is it. The search tried it too, and found nothing that held up better.",
        )
        return
    gain = difference(best.scores, published.scores)
    if gain:
        text = f"{points(gain.mean)} points against {in_a_line(published.config)}, "
        text += f"which scores {_score(published)}. "
        text += _certainty(gain, better="searching paid off", worse="the search lost to it")
        yield Sentence("Published recipe:", text)


def _against_rivals(best: Arm, rivals: Sequence[Arm]) -> Iterator[Sentence]:
    gaps = {arm.name: difference(arm.scores, best.scores) for arm in rivals}
    open_ones = [
        f"{name} ({points(gap.mean)} points{', interval ' + gap.interval if gap.interval else ''})"
        for name, gap in gaps.items()
        if gap and not gap.clear
    ]
    higher = [name for name, gap in gaps.items() if gap and gap.clear and gap.mean > 0]
    if higher:
        text = f"{_listed(higher)} scored higher on test; to choose by that is to choose by test."
        yield Sentence("Against the choice:", text)
    if open_ones:
        text = f"{_listed(open_ones)}. More seeds would tell (--finalist-seeds)."
        yield Sentence("Not told apart from it:", text)


def _of_papers(best: Arm | None, printed: Sequence[Printed]) -> Iterator[Sentence]:
    """Whether the closest printed figure agrees."""
    if best is None:
        return
    own = [each for each in printed if each.arm.name == best.name]
    if not own:
        yield Sentence(
            "The papers:",
            f"none of the five prints a figure for {best.config.get('method')} with student "
            f"{best.config.get('student')} on these data, so there is nothing to agree with.",
        )
        return
    closest = own[0]
    figure, alike = closest.figure, sum(1 for each in own if not each.apart)
    text = f"{figure.paper}, {figure.table}, prints {percent(figure.mean)} % ({figure.label}); "
    text += f"this is {points(closest.difference)} points from it. "
    if closest.apart:
        keys = _listed([difference.key for difference in closest.apart])
        text += f"It is the most alike of {len(own)} figures, but its {keys} differ, so it neither "
        text += "confirms nor contradicts."
    elif closest.spread is None:
        text += "Nothing that it tells differs; without its deviation nobody can say more."
    else:
        verdict = "within" if abs(closest.difference) <= closest.spread else "beyond"
        text += f"Nothing that it tells differs, and that is {verdict} the spread of both."
    if alike > 1:
        text += f" {alike} printed figures are comparable."
    yield Sentence("The papers:", text)


def _of_trials(facts: Facts) -> Iterator[Sentence]:
    """What can be said without finalists."""
    if not facts.trials:
        yield Sentence("No trial", "was started.")
    elif not facts.finished:
        yield Sentence("No trial finished,", "so nothing was tested.")
    else:
        row = facts.finished[0].row
        value = facts.goal.measure.quantity(row.value)
        text = f"The best of {len(facts.trials)} trials has a {facts.measured} of {value}: "
        text += f"{in_a_line(row.config)}. It is one run"
        text += ", picked as the best of several, so expect less." if len(facts.trials) > 1 else "."
        yield Sentence("Nothing was tested on test images.", text)


def _front(facts: Facts) -> Iterator[Sentence]:
    if len(facts.goals) > 1:
        names = _listed([f"{goal.measure.label} ({goal.mode})" for goal in facts.goals])
        members = sum(trial.row.front for trial in facts.trials)
        text = f"{names}. {members} of {len(facts.trials)} trials are on the Pareto front: none "
        text += "beats another in everything, so the choice among them is yours."
        yield Sentence("Several objectives:", text)


def _search(facts: Facts, spent: Cost) -> Iterator[Sentence]:
    if not facts.trials:
        return
    outcomes = [trial.row.outcome for trial in facts.trials]
    counts = {name: outcomes.count(name) for name in dict.fromkeys(sorted(outcomes))}
    tried = "configuration" if len(outcomes) == 1 else "configurations"
    text = f"{len(outcomes)} {tried}: {_listed([f'{n} {name}' for name, n in counts.items()])}."
    if spent.saved_epochs:
        text += f" Cutting saved {100 * spent.saved_share:.0f} % of the epochs."
    text += _optimism(facts)
    yield Sentence("The search:", text)


def _optimism(facts: Facts) -> str:
    """What became of the best trial's validation score with new seeds."""
    if not facts.finished or not chosen_by_validation(facts):
        return ""
    top, measure = facts.finished[0], facts.goal.measure
    for arm in facts.arms:
        if arm.chosen_by and not arm.baseline and facts.trial_of(arm) is top:
            mean, n = measure.quantity(fmean(arm.chosen_by.values())), len(arm.chosen_by)
            best = f"{facts.measured} {measure.quantity(top.row.value)}"
            again = f"with new seeds, as {arm.name}, it has {mean} on average (n = {n})"
            return f" Its best trial, number {top.row.trial}, had {best}; {again}."
    return ""


def _what_mattered(told: Effects) -> Iterator[Sentence]:
    """The axes that chance does not explain, by either measure."""
    for each in told.importance[:1]:
        if not each.axes:
            continue
        clear = list(dict.fromkeys(axis.axis for axis in each.axes if axis.clear))
        when = f"at epoch {each.epoch}" if each.epoch else "at their end"
        text = "no setting stands out from chance"
        if clear:
            text = f"{_listed(clear)} {'matters' if len(clear) == 1 else 'matter'} beyond chance"
        yield Sentence("What mattered:", f"{text}, over {each.n} trials {when}.")


def _early_cuts(told: Effects) -> Iterator[Sentence]:
    """Whether one of the trials that were cut may have won."""
    for each in told.honesty:
        if each.forecast:
            text = f"the chance that one of the {each.cut} trials that were cut would have won is "
            chance = _rounded(each.forecast.chance)
            yield Sentence("Early cuts:", f"{text}{chance}, by what the finished ones tell.")
        elif each.cut:
            text = f"{each.finished} trials finished, too few to tell whether cutting misled."
            yield Sentence("Early cuts:", text)


def _rounded(chance: float) -> str:
    return "less than 1 %" if chance < 0.01 else f"{100 * chance:.0f} %"


def _caution(facts: Facts, best: Arm | None) -> Iterator[Sentence]:
    found = []
    if best and len(best.scores) < FEW:
        found.append(f"{len(best.scores)} seeds are few: deviations and intervals are rough")
    lost = {arm.name: arm.runs - len(arm.scores) for arm in facts.arms if not arm.same_as}
    found += [f"{n} runs of {name} have no test score" for name, n in lost.items() if n]
    if facts.record.search.tags.get("git.dirty") == "true":
        found.append("the code had changes that its commit does not hold")
    if found:
        yield Sentence("Mind:", f"{'; '.join(found)}.")


def _certainty(gain: Difference, *, better: str, worse: str) -> str:
    if gain.n == 1:
        return "One shared seed says nothing of chance."
    if not gain.interval:
        return f"It is the same for all {gain.n} seeds, which says nothing of chance."
    over = f"The 95 % interval over {gain.n} paired seeds, {gain.interval}"
    if gain.clear:
        return f"{over}, leaves zero out: {better if gain.mean > 0 else worse}."
    return f"{over}, includes zero: {gain.n} seeds do not show that {better}."


def _score(arm: Arm) -> str:
    assert arm.summary
    spread = "" if arm.summary.std is None else f" ± {percent(arm.summary.std)}"
    return f"{percent(arm.summary.mean)}{spread} % (n = {arm.summary.n})"


def _own(arm: Arm) -> dict[str, object]:
    """What a student without a teacher shares with one that has a teacher."""
    shared = ("augment", "prune_ratio", "prune.method")
    return {key: arm.config.get(key) for key in shared}


def _listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _unbroken(text: str) -> str:
    """``text`` whose numbers stay on one line with their units and deviations."""
    return re.sub(r" (?=[%±=] ?)|(?<=[±=]) ", "\u00a0", text)
