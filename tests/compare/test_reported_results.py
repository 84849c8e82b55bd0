"""Printed figures as results."""

import pytest

from kdtune.compare import reported_results
from kdtune.compare.reported import reported_metrics


def test_a_figure_has_the_papers_settings_and_shares_for_percentages() -> None:
    found = [
        result
        for result in reported_results("wang2020", "T3")
        if result.settings["student"] == "wrn_16_2"
        and result.settings["method"] == "kd"
        and result.settings.get("augment") == "cutmix"
    ]
    # Wang et al., 2020, table 3: 75.34 +- 0.19, three runs of 240 epochs.
    (found,) = [result for result in found if result.settings["train.epochs"] == 240]
    assert (found.mean, found.std, found.n) == (0.7534, 0.0019, 3)
    assert found.settings["temperature"] == 4.0
    assert (found.paper, found.table, found.source) == ("wang2020", "T3", "reported")


def test_an_error_is_an_accuracy_of_which_more_is_better() -> None:
    found = reported_results("cho2019", "T1")
    assert found
    assert all(result.higher_is_better and 0.6 < result.mean < 0.8 for result in found)


def test_teachers_and_quotations_are_no_contestants() -> None:
    roles = {result.role for result in reported_results("cho2019")}
    assert roles == {"", "teacher", "quoted"}


def test_what_kdtune_has_no_setting_for_keeps_figures_apart() -> None:
    generations = {result.settings.get("generation") for result in reported_results("cho2019")}
    assert {1, 5} < generations
    unpruned = [r for r in reported_results("park2020") if r.settings.get("prune_ratio") == 0]
    assert unpruned
    assert not any("remaining" in result.settings for result in unpruned)


def test_other_metrics_stay_as_printed() -> None:
    assert "reported/transferability" in reported_metrics("sarfraz2020")
    assert reported_results("sarfraz2020", metric="reported/transferability")


def test_an_unknown_paper_or_table_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'wang2020'"):
        reported_results("wang2019")
    with pytest.raises(ValueError, match="unknown table 'T9' of wang2020"):
        reported_results("wang2020", "T9")
