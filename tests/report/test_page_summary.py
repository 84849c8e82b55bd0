"""What the report claims in words, and what it does not."""

from collections.abc import Sequence

import pytest
from recorded import RECIPE, Recorded, rising, whole_search

from kdtune.compare.effects import effects
from kdtune.report.page.answer import Difference, difference, recommended
from kdtune.report.page.cost import cost
from kdtune.report.page.facts import Facts
from kdtune.report.page.papers import beside_papers
from kdtune.report.page.summary import summary


def told(made: Recorded) -> str:
    """The summary as one text, with plain spaces."""
    facts = Facts.of(made.record())
    found = summary(facts, cost(facts), beside_papers(facts), effects([facts.record]))
    return "\n".join(f"{each.lead} {each.text}" for each in found).replace("\u00a0", " ")


def compared(
    finalist: Sequence[float], alone: Sequence[float], *, published: Sequence[float] = ()
) -> str:
    """The summary of a search with one finalist and these test accuracies by seed."""
    made = Recorded()
    made.trial(*rising(0.9), temperature=2.0)
    made.final("finalist 1", finalist, temperature=2.0)
    made.final("no teacher", alone, kind="baseline")
    if published:
        made.final("published recipe", published, kind="baseline")
    return told(made.end())


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    found = difference({1: 0.5, 2: 0.6, 3: 0.7, 9: 0.1}, {1: 0.4, 2: 0.4, 3: 0.4, 8: 0.9})
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(0.2), 3)
    # t of 2 degrees of freedom at 97.5 % is 4.3027; the standard error is 0.1 / sqrt(3).
    assert found.high == pytest.approx(0.2 + 4.30265 * 0.1 / 3**0.5, rel=1e-5)
    assert found.interval == "\u22124.84 to +44.84"
    assert not found.clear


def test_one_seed_has_no_interval_and_none_no_difference() -> None:
    assert difference({1: 0.5}, {1: 0.4}) == Difference(
        mean=pytest.approx(0.1), low=None, high=None, n=1
    )
    assert difference({1: 0.5}, {2: 0.4}) is None


def test_the_same_difference_for_every_seed_has_no_interval() -> None:
    assert difference({1: 0.5, 2: 0.6}, {1: 0.4, 2: 0.5}) == Difference(
        mean=pytest.approx(0.1), low=None, high=None, n=2
    )
    assert "the same for all 2 seeds" in compared([0.5, 0.6], [0.4, 0.5])


def test_the_finalist_to_use_is_chosen_without_test() -> None:
    made = Recorded()
    made.final("finalist 1", [0.99, 0.99], val=0.90, temperature=2.0)
    made.final("finalist 2", [0.95, 0.95], val=0.91)
    best = recommended(Facts.of(made.record()))
    assert best is not None
    assert best.name == "finalist 2"


def test_a_metric_that_should_be_small_is_chosen_by_its_least() -> None:
    made = Recorded(params={"search.objectives": "val/accuracy:min"})
    made.final("finalist 1", [0.9], val=0.5, temperature=2.0)
    made.final("finalist 2", [0.9], val=0.4)
    best = recommended(Facts.of(made.record()))
    assert best is not None
    assert best.name == "finalist 2"


def test_validation_that_was_trained_on_chooses_nothing() -> None:
    made = Recorded(params={"search.finalists_on": "train+val"})
    made.trial(*rising(0.9), temperature=2.0)
    made.final("finalist 1", [0.90], val=0.90, temperature=2.0)
    made.final("finalist 2", [0.95], val=1.00)
    best = recommended(Facts.of(made.record()))
    assert best is not None
    assert best.name == "finalist 1"
    assert "trained on validation images as well" in told(made)


def test_a_clear_gain_is_called_one() -> None:
    text = compared([0.95, 0.96, 0.95, 0.96, 0.95], [0.90, 0.91, 0.90, 0.92, 0.90])
    assert "+4.80 points against the same student without a teacher" in text
    assert "leaves zero out: the teacher helps." in text
    assert "are few" not in text


def test_a_gain_is_set_against_the_teacher_of_the_recipe_itself() -> None:
    made = Recorded()
    made.final("finalist 1", [0.93, 0.94, 0.93], val=0.8, teacher_scores=0.97, teacher_epochs=14)
    made.final("finalist 2", [0.94, 0.95, 0.94], val=0.9, teacher_scores=0.99)
    made.final("no teacher", [0.89, 0.90, 0.895], kind="baseline")
    assert "That is 51 % of the way to its teacher's 99.00 %." in told(made)


def test_overlapping_seeds_are_no_gain() -> None:
    text = compared([0.95, 0.90, 0.93], [0.94, 0.92, 0.90])
    assert "includes zero: 3 seeds do not show that the teacher helps." in text
    assert "3 seeds are few" in text


def test_a_clear_loss_is_called_one() -> None:
    assert "the teacher hurts" in compared([0.80, 0.81, 0.80], [0.90, 0.91, 0.905])


def test_one_seed_shows_nothing() -> None:
    text = compared([0.95], [0.90])
    assert "95.00 % (n = 1) on test" in text
    assert "One shared seed says nothing of chance." in text


def test_the_published_recipe_may_win() -> None:
    text = compared([0.90, 0.91, 0.90], [0.80, 0.81, 0.82], published=[0.95, 0.96, 0.951])
    assert "Published recipe: \u22125.03 points" in text
    assert "the search lost to it" in text


def test_the_published_recipe_may_be_the_answer() -> None:
    assert "this is it" in told(whole_search())


def test_a_recipe_without_a_teacher_is_not_praised_for_its_teacher() -> None:
    made = Recorded()
    made.final("finalist 1", [0.9, 0.8], also="no teacher")
    assert "No teacher: this is it." in told(made)


def test_a_method_without_a_teacher_is_named_in_its_place() -> None:
    made = Recorded(tags={"space": "joint"})
    made.final("finalist 1", [0.95, 0.96, 0.95], **DML)
    made.final("no teacher", [0.90, 0.91, 0.905], kind="baseline")
    assert "leaves zero out: dml helps." in told(made)


def test_rivals_that_seeds_cannot_tell_apart_are_named() -> None:
    text = told(whole_search())
    assert "Not told apart from it: finalist 3 (\u22122.42 points" in text


def test_a_rival_that_is_better_on_test_is_not_hushed_up() -> None:
    made = Recorded()
    made.final("finalist 1", [0.98, 0.981, 0.982], val=0.90, temperature=2.0)
    made.final("finalist 2", [0.95, 0.951, 0.95], val=0.91)
    assert "finalist 1 scored higher on test; to choose by that is to choose by test." in told(made)


def test_a_baseline_with_other_settings_is_told_as_such() -> None:
    made = Recorded()
    made.final("finalist 1", [0.9, 0.8], val=0.8, augment="mixup")
    made.final("finalist 2", [0.9, 0.7], val=0.9)
    made.final("no teacher", [0.7, 0.6], kind="baseline", augment="mixup")
    assert "(augmented and pruned as finalist 1)" in told(made)


def test_the_best_trial_is_set_against_its_new_seeds() -> None:
    text = told(whole_search())
    assert "Its best trial, number 0, had validation accuracy 96.00 %" in text
    assert "as finalist 1, it has 94.00 % on average (n = 4)" in text


def test_a_single_run_is_not_sold_as_more() -> None:
    made = Recorded()
    made.trial(*rising(0.9))
    made.trial(*rising(0.8), temperature=2.0)
    text = told(made.end())
    assert "Nothing was tested on test images." in text
    assert "picked as the best of several, so expect less" in text


def test_failed_runs_and_changed_code_are_told() -> None:
    made = Recorded(tags={"git.dirty": "true"})
    made.final("finalist 1", [0.9, None, None])
    text = told(made)
    assert "2 runs of finalist 1 have no test score" in text
    assert "the code had changes that its commit does not hold" in text


def test_papers_without_such_a_figure_are_told_to_have_none() -> None:
    assert "none of the five prints a figure for kd with student resnet8x0.125" in told(
        whole_search()
    )


def test_a_protocol_that_is_alike_is_compared() -> None:
    made = Recorded()
    made.trial(*rising(0.7))
    made.final("finalist 1", [0.74, 0.75, 0.76], **WANG_2020)
    text = told(made)
    assert "wang2020, T1, prints 74.92 %" in text
    assert "within the spread of both" in text


OF_A_TEACHER = ("teacher", "label_smoothing", "alpha")
DML = {**{key: None for key in RECIPE if key.startswith(OF_A_TEACHER)}, "method": "dml"}
WANG_2020 = {
    "dataset": "cifar100",
    "teacher": "wrn_40_2",
    "student": "wrn_16_2",
    "augment": "standard",
    "train.lr": 0.05,
    "train.epochs": 240,
    "train.lr_factor": 0.1,
    "train.schedule": "step",
    "train.milestones": "0.625,0.75,0.875",
}
"""What the paper tells of its table 1."""
