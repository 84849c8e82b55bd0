"""What is known of a running stage: its trials, their scores, and when it may be over."""

import math
from dataclasses import dataclass, field

from kdtune.report.goals import ACCURACY, Goal

OUTCOMES = ("finished", "cut", "diverged", "failed", "stopped")
FEWEST_EPOCHS = 2
"""Epochs before a guess of the time left is shown."""


@dataclass
class TrialState:
    """One trial.

    Attributes:
        label: What a person reads.
        epochs: Planned; None if unknown.
        epoch: Done so far.
        value: Score in the last report; None before one.
        outcome: One of :data:`OUTCOMES`, empty while it runs.
    """

    label: str
    epochs: int | None
    epoch: int = 0
    value: float | None = None
    outcome: str = ""


@dataclass
class StageState:
    """A stage of a search; times are seconds on any one clock.

    Attributes:
        title: ``Search``, ``Teachers`` and so on.
        total: How many trials it will have; None if open.
        began: When.
        trials: By id, in the order of their start.
        goal: What the scores are.
    """

    title: str
    total: int | None
    began: float
    trials: dict[str, TrialState] = field(default_factory=dict)
    goal: Goal = ACCURACY

    def started(self, trial_id: str, label: str, epochs: int | None) -> None:
        """A trial begins; a second time changes nothing."""
        self.trials.setdefault(trial_id, TrialState(label, epochs))

    def reported(self, trial_id: str, epoch: int, value: float | None) -> None:
        """A trial has done ``epoch`` epochs."""
        trial = self.trials.setdefault(trial_id, TrialState(trial_id, None))
        trial.epoch = epoch
        trial.value = trial.value if value is None else value

    def ended(self, trial_id: str, outcome: str, value: float | None) -> None:
        """A trial is over."""
        trial = self.trials.setdefault(trial_id, TrialState(trial_id, None))
        trial.outcome = outcome
        trial.value = trial.value if value is None else value

    @property
    def running(self) -> list[TrialState]:
        """Trials that are not over, in the order of their start."""
        return [trial for trial in self.trials.values() if not trial.outcome]

    @property
    def over(self) -> int:
        """How many trials are."""
        return len(self.trials) - len(self.running)

    def counts(self) -> dict[str, int]:
        """How many trials are running, finished, cut and so on; zeros left out."""
        ends = [trial.outcome for trial in self.trials.values()]
        found = {"running": len(self.running), **{name: ends.count(name) for name in OUTCOMES}}
        return {name: count for name, count in found.items() if count}

    def best(self) -> TrialState | None:
        """The trial with the best score so far, the earliest of equals; no failed ones."""
        able = [t for t in self.trials.values() if t.outcome not in ("failed", "diverged")]
        scored = [t for t in able if t.value is not None and math.isfinite(t.value)]
        return min(scored, key=lambda trial: self.goal.cost(trial.value), default=None)

    def time_left(self, now: float) -> float | None:
        """A guess in seconds: epochs still to come, at the pace of those done; None if too early.

        A trial that has yet to start is expected to take as many epochs as those started do on
        average, where a running one counts half its remaining plan: some are cut. Trials that
        ended in an earlier process count as done at no cost, so a resumed stage starts hopeful.
        """
        done = sum(trial.epoch for trial in self.trials.values())
        if self.total is None or done < FEWEST_EPOCHS or now <= self.began:
            return None
        expected = [_expected_epochs(trial) for trial in self.trials.values()]
        unstarted = max(0, self.total - len(self.trials))
        to_come = sum(expected) - done + unstarted * sum(expected) / len(expected)
        return to_come * (now - self.began) / done


def _expected_epochs(trial: TrialState) -> float:
    if trial.outcome or trial.epochs is None:
        return float(trial.epoch)
    return (trial.epoch + max(trial.epoch, trial.epochs)) / 2
