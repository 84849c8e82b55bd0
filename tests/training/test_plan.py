import pytest

from kdtune.config import parse
from kdtune.training.plan import phase_at, phases


def test_without_pruning_there_is_one_phase() -> None:
    (phase,) = phases(parse({"train.epochs": 7}))
    assert (phase.start, phase.stop, phase.prune) == (0, 7, False)


@pytest.mark.parametrize(("epochs", "at", "cut"), [(10, 0.5, 5), (3, 0.9, 2), (2, 0.1, 1)])
def test_pruning_starts_a_second_phase(epochs: int, at: float, cut: int) -> None:
    plan = phases(parse({"train.epochs": epochs, "prune_ratio": 0.5, "prune.at": at}))
    assert [(p.start, p.stop, p.prune) for p in plan] == [(0, cut, False), (cut, epochs, True)]
    assert [phase_at(plan, e).prune for e in range(epochs)] == [e >= cut for e in range(epochs)]


def test_a_single_epoch_is_pruned_before_it() -> None:
    (phase,) = phases(parse({"train.epochs": 1, "prune_ratio": 0.5}))
    assert phase.prune
