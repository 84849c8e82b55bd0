"""What a search found, as the tables, files and numbers that outlast it."""

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdtune.contracts import Scalar
from kdtune.replacing import replace_file
from kdtune.report.finalists import ArmResult, finalist_rows
from kdtune.report.front_plot import front_figure, save_front
from kdtune.report.goals import Goal
from kdtune.report.leaderboard import Row, leaderboard_rows
from kdtune.search.front import front, values_of
from kdtune.search.kept_students import keep_students
from kdtune.search.request import SearchRequest
from kdtune.search.stages import FinalRun, SearchResult


def trial_rows(result: SearchResult, goals: Sequence[Goal]) -> list[Row]:
    """The trials as the leaderboard takes them."""
    members = front(result.trials, goals) if len(goals) > 1 else []
    return [
        Row(
            trial=index,
            config=trial.config,
            outcome=trial.kind,
            epoch=trial.epoch,
            value=trial.value,
            further=values_of(trial, goals)[1:],
            front=index in members,
        )
        for index, trial in enumerate(result.trials)
    ]


def arm_results(result: SearchResult, goals: Sequence[Goal]) -> list[ArmResult]:
    """Test accuracies per arm, last the teacher of the first arm that has one.

    With several goals, also the means of all but the first.
    """
    runs: dict[str, list[FinalRun]] = {}
    for run in result.finals:
        runs.setdefault(run.arm.label, []).append(run)
    arms = [
        ArmResult(
            arm=label,
            config=own[0].arm.config,
            same_as=own[0].arm.same_as,
            values=_reported(own, "test/accuracy"),
            runs=len(own),
            costs={goal: _mean(_reported(own, goal.metric)) for goal in goals[1:]},
        )
        for label, own in runs.items()
    ]
    taught = [_reported(own, "teacher/test_accuracy") for own in runs.values()]
    teacher = [ArmResult(arm="teacher", values=each[:1], runs=1) for each in taught if each]
    return [*arms, *teacher[:1]]


def headline(
    result: SearchResult, arms: Sequence[ArmResult], goals: Sequence[Goal]
) -> dict[str, float]:
    """The few numbers that the search's own run shows in MLflow."""
    finished = [trial for trial in result.trials if trial.kind == "finished"]
    numbers: dict[str, float] = {}
    for place, goal in enumerate(goals):
        found = [v for trial in finished if (v := values_of(trial, goals)[place]) is not None]
        if found:
            numbers[f"search/best_{goal.metric.replace('/', '_')}"] = goal.best(found)
    if len(goals) > 1:
        numbers["search/front"] = float(len(front(result.trials, goals)))
    for arm in arms:
        if arm.summary is not None:
            numbers[f"final/{arm.arm.replace(' ', '_')}"] = arm.summary.mean
    return numbers


def keep(request: SearchRequest, result: SearchResult, arms: Sequence[ArmResult]) -> list[Path]:
    """Write leaderboard or front, and finalists, beside the trials: for scripts and spreadsheets.

    Returns:
        The files of the front; none with a single objective, or where no trial is on it.
    """
    folder, goals = request.folder, request.objectives
    folder.mkdir(parents=True, exist_ok=True)
    rows = trial_rows(result, goals)
    stem = "leaderboard" if len(goals) == 1 else "pareto"
    write_rows(folder / stem, leaderboard_rows(rows, goals))
    if arms:
        write_rows(folder / "finalists", finalist_rows(arms))
    if not any(row.front for row in rows):
        return []
    pictures = save_front(front_figure(rows, goals, request.name), folder)
    return [(folder / stem).with_suffix(".csv"), *pictures]


def keep_final_students(request: SearchRequest, result: SearchResult) -> dict[str, Path]:
    """Move what finalists and baselines saved to ``students/`` beside the trials, by trial id."""
    own = {run.outcome.trial_id: run for run in result.finals if not run.arm.same_as}
    names = {id_: f"{run.arm.label}, seed {run.outcome.config['seed']}" for id_, run in own.items()}
    return keep_students(request.location, names)


def _reported(runs: Sequence[FinalRun], metric: str) -> list[float]:
    """The metric of those runs that were tested; a diverged one was, at its broken state."""
    return [run.outcome.result[metric] for run in runs if metric in run.outcome.result]


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def write_rows(stem: Path, rows: Sequence[Mapping[str, Scalar]]) -> None:
    """The rows as ``stem.json`` and ``stem.csv``."""
    replace_file(stem.with_suffix(".json"), (json.dumps(rows, indent=2) + "\n").encode())
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, keys)
    writer.writeheader()
    writer.writerows(rows)
    replace_file(stem.with_suffix(".csv"), table.getvalue().encode())
