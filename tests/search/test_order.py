"""The virtual clock: what a suggestion knows does not depend on real time."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdtune.search.order import Start, VirtualClock

Epochs = Callable[[Start], int]


def replay(workers: int, slots: int, trials: int, epochs: Epochs, timing: int) -> list[Start]:
    """Run a search whose events come in a random order on ``slots`` machines."""
    clock, chance = VirtualClock(workers), random.Random(timing)
    starts: list[Start] = []
    running: dict[int, int] = {}
    while len(starts) < trials or running:
        events: list[tuple[str, int]] = [("report", index) for index in list(running)[:slots]]
        if len(starts) < trials and clock.next_start() is not None:
            events.append(("ask", -1))
        assert events, "nothing runs and no trial may start"
        kind, index = chance.choice(events)
        if kind == "ask":
            starts.append(clock.begin())
            running[starts[-1].index] = 0
            continue
        if running[index] < epochs(starts[index]):
            running[index] += 1
            clock.saw(index, running[index])
            if running[index] < epochs(starts[index]) or chance.random() < 0.5:
                continue
        del running[index]
        clock.end(index)
    return starts


@settings(max_examples=200, deadline=None)
@given(
    workers=st.integers(1, 5),
    slots=st.integers(1, 5),
    trials=st.integers(1, 25),
    longest=st.integers(0, 9),
    seed=st.integers(0, 2**16),
    timings=st.tuples(st.integers(0, 2**16), st.integers(0, 2**16)),
)
def test_real_time_changes_nothing_and_nothing_waits_for_ever(
    workers: int, slots: int, trials: int, longest: int, seed: int, timings: tuple[int, int]
) -> None:
    def epochs(start: Start) -> int:
        # Depends on all that the trial may know, as a sampler's choice would.
        return random.Random(f"{seed} {start}").randint(0, longest)

    first = replay(workers, slots, trials, epochs, timings[0])
    second = replay(workers, workers, trials, epochs, timings[1])
    assert first == second
    told = [index for start in first for index in start.known]
    assert len(told) == len(set(told))
    for start in first:
        assert all(index < start.index for index in start.known)


def test_one_worker_knows_all_that_came_before() -> None:
    starts = replay(1, 1, 4, lambda start: start.index + 1, 0)
    assert [start.time for start in starts] == [0, 1, 3, 6]
    assert [start.known for start in starts] == [(), (0,), (1,), (2,)]


def test_a_start_waits_while_a_running_trial_may_still_end_first() -> None:
    clock = VirtualClock(2)
    assert [clock.begin().index, clock.begin().index] == [0, 1]
    clock.saw(0, 3)
    clock.end(0)
    assert clock.next_start() is None
    clock.saw(1, 3)
    assert clock.next_start() is None  # it could still end at 3
    clock.saw(1, 4)
    assert clock.begin() == Start(2, 3, (0,))


def test_trials_that_end_together_are_known_together_by_index() -> None:
    clock = VirtualClock(2)
    clock.begin(), clock.begin()
    for index in (1, 0):
        clock.saw(index, 2)
        clock.end(index)
    assert clock.begin() == Start(2, 2, (0, 1))
    assert clock.begin() == Start(3, 2, ())


def test_a_retry_that_goes_back_does_not_move_the_clock_back() -> None:
    clock = VirtualClock(1)
    clock.begin()
    for epochs in (1, 2, 3, 1, 2):
        clock.saw(0, epochs)
    clock.end(0)
    clock.end(0)
    assert clock.next_start() == 3


def test_the_rest_is_handed_out_at_the_end() -> None:
    clock = VirtualClock(3)
    for index in range(3):
        clock.begin()
        clock.saw(index, 3 - index)
        clock.end(index)
    assert clock.drain() == (2, 1, 0)
    assert clock.drain() == ()


def test_a_clock_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 worker, got 0"):
        VirtualClock(0)
