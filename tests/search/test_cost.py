"""What a search cost."""

from dataclasses import replace
from typing import Any

import pytest

from kdtune.search.cost import cost
from kdtune.search.finalists import Arm
from kdtune.search.outcomes import Outcome
from kdtune.search.stages import FinalRun, SearchResult


def run(name: str, kind: str, epoch: int, hours: float, **config: Any) -> Outcome:
    return Outcome(
        trial_id=name,
        config={"train.epochs": 9, **config},
        kind=kind,
        epoch=epoch,
        value=None,
        result={},
        seconds=3600 * hours,
    )


def final(arm: str, outcome: Outcome, same_as: str = "") -> FinalRun:
    return FinalRun(
        arm=Arm(kind="finalist", label=arm, config={}, same_as=same_as), outcome=outcome
    )


def test_hours_and_epochs_are_added_up_by_what_they_were_for() -> None:
    served = run("f", "finished", 9, 3)
    found = cost(
        SearchResult(
            teachers=[run("t", "finished", 30, 8), run("u", "failed", 2, 1)],
            trials=[
                run("a", "finished", 9, 2),
                run("b", "cut", 3, 0.5),
                run("c", "cut", 1, 0.25),
                run("d", "failed", 0, 0),
                run("e", "stopped", 4, 1),
            ],
            finals=[final("finalist 1", served), final("published recipe", served, "finalist 1")],
            teachers_reused=3,
        ),
        wall_s=7200,
    )
    assert found == {
        "search/hours": 2.0,
        "search/trial_hours": 3.75,
        "search/final_hours": 3.0,
        "search/teacher_hours": 9.0,
        "search/teachers_trained": 1.0,
        "search/teachers_reused": 3.0,
        "search/epochs": 17.0,
        "search/epochs_saved": 6.0 + 8.0,
    }


def test_a_teacher_that_another_search_trained_is_reused() -> None:
    waited = replace(run("t", "finished", 30, 0), result={"from_store": 1.0})
    found = cost(SearchResult(teachers=[waited], teachers_reused=2), wall_s=1)
    assert (found["search/teachers_trained"], found["search/teachers_reused"]) == (0, 3)


def test_a_search_that_was_stopped_at_once_cost_its_time() -> None:
    found = cost(SearchResult(), wall_s=36)
    assert found.pop("search/hours") == pytest.approx(0.01)
    assert set(found.values()) == {0.0}
