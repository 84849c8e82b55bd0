"""The sections of the page. One without data is left out, or says in a line why it is empty."""

from collections.abc import Iterable
from pathlib import Path

from kdtune.compare.effects import PARTS, effects
from kdtune.report.page import answer_sections as answers
from kdtune.report.page import effect_sections
from kdtune.report.page import search_sections as searching
from kdtune.report.page.analysis_section import analyses
from kdtune.report.page.blocks import Block, Section
from kdtune.report.page.cost import cost
from kdtune.report.page.facts import Facts
from kdtune.report.page.papers import beside_papers


def sections(facts: Facts, folder: Path | None) -> list[Section]:
    """All that have something to say, in the order of a reader's questions."""
    spent, printed = cost(facts), beside_papers(facts)
    told = effects([facts.record], only=[part for part in PARTS if _in_time(part, facts)])
    titled: dict[str, Iterable[Block]] = {
        "Summary": answers.opening(facts, spent, printed, told),
        "Finalists": answers.finalists(facts),
        "Papers": answers.papers(printed),
        "Leaderboard": searching.trials(facts),
        "Pareto front": searching.front(facts),
        "Curves": searching.curves(facts),
        "Settings": searching.settings(facts),
        "What mattered": effect_sections.what_mattered(facts, told),
        "Interplay": effect_sections.interplay(told),
        "Early cuts": effect_sections.early_cuts(told.honesty),
        "Analyses": analyses(folder),
        "Cost": searching.expenses(spent),
        "Recipe": answers.ready_to_paste(facts, folder),
        "Reproduce": searching.provenance(facts),
        "Errors": searching.errors(facts),
    }
    made = [Section(title, tuple(blocks)) for title, blocks in titled.items()]
    return [section for section in made if section.blocks]


def _in_time(part: str, facts: Facts) -> bool:
    """Whether an analysis is a matter of seconds."""
    return part != "importance" or len(facts.trials) <= effect_sections.MOST_FOR_IMPORTANCE
