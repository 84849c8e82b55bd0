"""What to do about a search that found nothing to choose from."""

from collections import Counter
from collections.abc import Sequence

from kdtune.report.goals import Goal
from kdtune.search.outcomes import Outcome

ALIKE = 3
"""So many finished trials with one score are no coincidence."""


def advice(trials: Sequence[Outcome], goal: Goal) -> list[str]:
    """Sentences for a person; none where the search went as searches do."""
    if not trials:
        return []
    kinds = Counter(trial.kind for trial in trials)
    said = [_UNFINISHED[kind] for kind in _UNFINISHED if kinds[kind] == len(trials)]
    if not said and not kinds["finished"]:
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        said = [f"Of the {len(trials)} trials none ran to its end ({told})."]
    scores = {trial.value for trial in trials if trial.kind == "finished"}
    if len(scores) == 1 and kinds["finished"] >= ALIKE:
        said.append(
            f"All {kinds['finished']} finished trials have the same {goal.metric} "
            f"({scores.pop():g}), so nothing was chosen: train longer (--epochs), on more data, or "
            "look whether the labels are what you think (a student that always answers one class "
            "scores alike, too)."
        )
    if kinds["diverged"] * 2 > 0 and kinds["diverged"] * 2 >= len(trials) > kinds["diverged"]:
        said.append(
            f"{kinds['diverged']} of {len(trials)} trials diverged; a smaller --set train.lr "
            "makes more of the search count."
        )
    return said


_UNFINISHED = {
    "failed": "Every trial failed. Once the cause is dealt with, --retry-failed goes on with them.",
    "diverged": "Every trial diverged: its loss was no longer a number. Try a smaller "
    "--set train.lr, and weights of the method nearer to its defaults.",
    "cut": "Every trial was cut before its end. Give the scheduler more patience (--grace-period, "
    "--scheduler none).",
    "stopped": "Every trial was stopped before its end, as time was over; 'kdtune resume' with "
    "--hours +1 goes on with them.",
}
