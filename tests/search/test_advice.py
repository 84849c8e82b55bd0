"""What a person is told about a search that found nothing to choose from."""

import pytest

from kdtune.report.goals import ACCURACY
from kdtune.search.advice import advice
from kdtune.search.outcomes import Outcome


def trials(**ends: int) -> list[Outcome]:
    """So many trials of each kind; the finished ones have different scores."""
    return [
        Outcome(trial_id="t", config={}, kind=kind, epoch=1, value=place / 10, result={})
        for kind, count in ends.items()
        for place in range(count)
    ]


def alike(count: int) -> list[Outcome]:
    return trials(finished=1) * count


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (trials(failed=3), ["Every trial failed.", "--retry-failed"]),
        (trials(diverged=3), ["Every trial diverged", "smaller --set train.lr"]),
        (trials(cut=3), ["Every trial was cut", "--grace-period"]),
        (trials(stopped=3), ["Every trial was stopped", "--hours +1"]),
        (trials(failed=2, diverged=1), ["Of the 3 trials none ran to its end (2 failed, 1 div"]),
        (alike(3), ["All 3 finished trials have the same val/accuracy (0)", "labels"]),
        (trials(finished=2, diverged=2), ["2 of 4 trials diverged", "train.lr"]),
        (trials(finished=3, diverged=1, failed=1, cut=5), []),
        (alike(2), []),
        ([], []),
    ],
)
def test_each_way_to_find_nothing_has_its_remedy(found: list[Outcome], said: list[str]) -> None:
    (*sentences,) = advice(found, ACCURACY)
    assert len(sentences) == bool(said)
    assert all(text in sentences[0] for text in said)
