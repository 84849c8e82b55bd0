"""The live display: a panel on a terminal, few lines elsewhere."""

import io

import pytest
from rich.console import Console

from kdtune.report.goals import goal_of
from kdtune.report.progress import MOST_ROWS, Display, duration, panel
from kdtune.report.stage_state import StageState

LABEL = "kd T=4 alpha=0.9123 smooth=0.1 t.epochs=30 augment=cutmix prune=0.3"


class Clock:
    """Time that moves when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def busy(total: int | None = 20) -> StageState:
    state = StageState("Search", total, 0.0)
    for number in range(12):
        state.started(str(number), f"trial {number}  {LABEL}", 9)
        state.reported(str(number), 3, 0.5 + number / 100)
    for number, outcome in enumerate(("finished", "cut", "diverged", "failed")):
        state.ended(str(number), outcome, None)
    return state


def lines(state: StageState, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(panel(state, 31.0))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [40, 80, 100, 140])
@pytest.mark.parametrize("total", [20, None])
def test_a_panel_fits_its_terminal(width: int, total: int | None) -> None:
    assert max(len(line) for line in lines(busy(total), width)) <= width


def test_a_panel_says_what_a_person_wants_to_know() -> None:
    text = lines(busy(), 100)
    assert text[0].startswith("Search")
    assert "4/20" in text[0]
    assert "0:31 elapsed, about" in text[0]
    assert text[1].rstrip() == "8 running · 1 finished · 1 cut · 1 diverged · 1 failed"
    assert text[2].startswith("best 61.00 %  trial 11")
    assert sum("3/9" in line for line in text) == MOST_ROWS
    assert text[-1].startswith("and 2 more")


def test_a_panel_speaks_of_what_is_sought() -> None:
    state = StageState("Search", 2, 0.0, goal=goal_of("latency"))
    for name, value in (("a", 2.5), ("b", 1.25)):
        state.started(name, f"trial {name}", 9)
        state.reported(name, 3, value)
    text = lines(state, 100)
    assert text[2].startswith("best 1.25 ms  trial b")
    assert "latency ms" in text[4]


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end() -> None:
    clock, out = Clock(), io.StringIO()
    display = Display(Console(file=out, width=80), every_s=5.0, clock=clock)
    with display.stage("Search", 2):
        display.trial_started("a", f"trial 0  {LABEL}", 9)
        for epoch in range(1, 10):
            clock.now += 1.5
            display.trial_reported("a", epoch, epoch / 10)
        display.trial_ended("a", "finished", 0.9)
    assert out.getvalue().splitlines() == [
        "Search 0/2: 1 running; best 40.00 %; 0:06 elapsed, about 0:14 left",
        "Search 0/2: 1 running; best 80.00 %; 0:12 elapsed, about 0:14 left",
        f"Search: 1 finished in 0:14; best 90.00 % (trial 0  {LABEL})",
    ]


def test_stages_follow_each_other_and_each_leaves_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, no_color=True)
    with Display(console) as display:
        display.stage("Teachers", 1)
        display.trial_started("t", "resnet8", 3)
        display.say("a note")
        display.trial_ended("t", "finished", 0.99)
        display.stage("Search", 1)
        display.trial_started("s", "trial 0", 3)
        display.trial_ended("s", "stopped", None)
    text = out.getvalue()
    assert "a note" in text
    assert "Teachers: 1 finished in 0:00; best 99.00 % (resnet8)" in text
    assert text.rstrip().endswith("Search: 1 stopped in 0:00")


def test_a_display_without_a_stage_takes_anything() -> None:
    out = io.StringIO()
    display = Display(Console(file=out))
    display.trial_started("a", "x", None)
    display.trial_reported("a", 1, None)
    display.trial_ended("a", "cut", None)
    display.end_stage()
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (6.6, "0:07"), (760, "12:40"), (11100, "3:05:00")]
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text
