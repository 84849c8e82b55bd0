"""What a search cost, and what it was spared."""

from collections.abc import Sequence

from kdtune.search.callbacks import planned_epochs
from kdtune.search.outcomes import Outcome
from kdtune.search.stages import SearchResult

HOUR_S = 3600.0


def cost(result: SearchResult, *, wall_s: float) -> dict[str, float]:
    """The metrics of the search's own run that tell its cost.

    ``search/hours`` is by the clock; the other hours are of epochs (``time/epoch_s``), added up
    over runs that may have gone on at once. Epochs are those of the trials; saved are those that
    the scheduler's cuts left out. A run that trains several snapshots counts as one; a teacher that
    another search trained while this one waited counts as reused.

    Args:
        result: Of the search.
        wall_s: Seconds that it took, all its processes together.
    """
    finals = list({run.outcome.trial_id: run.outcome for run in result.finals}.values())
    planned = {trial.trial_id: planned_epochs(trial.config) or 0 for trial in result.trials}
    cut = [trial for trial in result.trials if trial.kind == "cut"]
    taught = [trial for trial in result.teachers if trial.kind == "finished"]
    elsewhere = sum(bool(trial.result.get("from_store")) for trial in taught)
    return {
        "search/hours": wall_s / HOUR_S,
        "search/trial_hours": _hours(result.trials),
        "search/final_hours": _hours(finals),
        "search/teacher_hours": _hours(result.teachers),
        "search/teachers_trained": float(len(taught) - elsewhere),
        "search/teachers_reused": float(result.teachers_reused + elsewhere),
        "search/epochs": float(sum(trial.epoch for trial in result.trials)),
        "search/epochs_saved": float(sum(planned[t.trial_id] - t.epoch for t in cut)),
    }


def _hours(runs: Sequence[Outcome]) -> float:
    return sum(run.seconds for run in runs) / HOUR_S
