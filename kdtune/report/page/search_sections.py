"""The sections on the search: its trials, what they show and took, how to have them again."""

from collections.abc import Iterator

from kdtune.report.page.blocks import Block, Code, Row, Text, chart
from kdtune.report.page.charts import curve_chart, front_chart
from kdtune.report.page.cost import Cost
from kdtune.report.page.facts import Facts
from kdtune.report.page.parallel import parallel_chart
from kdtune.report.page.tables import Cell, Line, Listing, trials_table
from kdtune.report.progress import duration

MOST_NAMES = 5
"""Runs that are named where one error struck several."""


def trials(facts: Facts) -> Iterator[Block]:
    """The leaderboard."""
    if not facts.trials:
        yield Text("No trial was started.")
        return
    first = facts.trials[0].row.config
    keys = [key for key in ("dataset", "teacher", "student", "train.epochs") if key in first]
    same = [key for key in keys if all(t.row.config.get(key) == first[key] for t in facts.trials)]
    if same:
        yield Text(f"In all trials: {', '.join(f'{key} {first[key]}' for key in same)}.")
    yield trials_table(facts)


def front(facts: Facts) -> Iterator[Block]:
    """The Pareto front of several objectives."""
    if len(facts.goals) < 2:
        return
    if not facts.finished:
        yield Text("No trial finished, so there is no front.")
        return
    members = [trial.row for trial in facts.trials if trial.row.front]
    if not members:
        yield Text("The search ended before its front was marked; these are the finished trials.")
    told = []
    for row in members:
        scores = zip(facts.goals, (row.value, *row.further), strict=True)
        told.append(f"trial {row.trial}: {', '.join(g.measure.quantity(v) for g, v in scores)}")
    yield Row(
        [
            chart(front_chart(facts, goal), f"front-{place}", alt=f"The front: {'; '.join(told)}.")
            for place, goal in enumerate(facts.goals[1:])
        ]
    )


def curves(facts: Facts) -> Iterator[Block]:
    """Learning curves, with the cuts."""
    figure = curve_chart(facts)
    if figure is None:
        if facts.trials:
            yield Text("No trial reported a value.")
        return
    cut = [trial.row.epoch for trial in facts.trials if trial.row.outcome == "cut"]
    told = ", ".join(f"{cut.count(epoch)} at epoch {epoch}" for epoch in sorted(set(cut)))
    note = f"Cut: {told}. A cross marks where a trial ended early." if cut else ""
    what = f"{facts.measured.capitalize()} by epoch of {len(facts.trials)} trials."
    yield chart(figure, "curves", alt=f"{what} {note}", note=note)


def settings(facts: Facts) -> Iterator[Block]:
    """Parallel coordinates."""
    figure = parallel_chart(facts)
    if figure is None:
        return
    yield chart(
        figure,
        "parallel",
        alt=f"One line a trial, through its settings to its {facts.measured}; the leaderboard has "
        "the same in figures.",
        note="Dark lines score best. Thick ones finished; thin ones ended early, at their last "
        "value. Within a choice the better trials are higher.",
        wide=True,
    )


def expenses(spent: Cost) -> Iterator[Block]:
    """What the search took, and what cuts and stored teachers saved."""
    if not spent.stages:
        return
    yield Listing(
        caption="Time inside epochs, all runs added",
        columns=["stage", "runs", "epochs", "time"],
        lines=[
            Line(
                cells=[
                    Cell(text=stage.name, kind="head"),
                    Cell(text=f"{stage.runs:,}"),
                    Cell(text=f"{stage.epochs:,}"),
                    Cell(text=duration(stage.seconds)),
                ]
            )
            for stage in spent.stages
        ],
    )
    text = f"The search took {duration(spent.wall_s)} by the clock for {duration(spent.run_s)} of "
    text += "training"
    if spent.wall_s:
        text += f": {spent.run_s / spent.wall_s:.1f} runs at once on average"
    yield Text(f"{text}.")
    if spent.saved_epochs:
        yield Text(
            f"Cutting saved {spent.saved_epochs:,} epochs, {100 * spent.saved_share:.0f} % of what "
            f"the trials would have had: about {duration(spent.saved_s)} of training."
        )
    if spent.trained or spent.reused:
        ready = "" if spent.reused is None else f"; {spent.reused} were in the store already"
        yield Text(f"{spent.trained} teachers were trained for it{ready}.")


def provenance(facts: Facts) -> Iterator[Block]:
    """Command, seeds, versions."""
    search = facts.record.search
    command = search.tags.get("command")
    if command:
        yield Code("the command of the search", command)
    seeds = sorted({seed for arm in facts.arms for seed in arm.scores})
    deciders = (search.params.get(f"search.{key}") for key in ("sampler", "scheduler"))
    versions = [
        f"{key.removeprefix('version.')} {value}"
        for key, value in sorted(search.tags.items())
        if key.startswith("version.")
    ]
    told = {
        "seed of the search": search.params.get("search.seed", ""),
        "seeds of the finalists": ", ".join(map(str, seeds)),
        "data": _data(facts),
        "sampler, scheduler": ", ".join(filter(None, deciders)),
        "git commit": _commit(facts),
        "versions": ", ".join(versions),
        "MLflow": f"experiment '{facts.record.experiment}' at {facts.record.tracking_uri}",
    }
    yield Listing(
        caption="What it rests on",
        columns=["what", "value"],
        lines=[
            Line(cells=[Cell(text=key, kind="head"), Cell(text=value, kind="text")])
            for key, value in told.items()
            if value
        ],
    )


def _data(facts: Facts) -> str:
    """Every split that the search read, with the fingerprint of its pixels and labels."""
    uses = facts.record.search.inputs
    return ", ".join(f"{use.name} {use.context} {use.digest}" for use in uses)


def _commit(facts: Facts) -> str:
    tags = facts.record.search.tags
    commit = tags.get("mlflow.source.git.commit", "")
    return f"{commit}, with further changes" if tags.get("git.dirty") == "true" else commit


def errors(facts: Facts) -> Iterator[Block]:
    """The last line of every different error, and whom it struck."""
    struck: dict[str, list[str]] = {}
    for run in facts.record.runs:
        if text := run.tags.get("error", "").strip():
            struck.setdefault(text.splitlines()[-1], []).append(run.name)
    for text, names in struck.items():
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        yield Text(text, lead=f"{', '.join(names[:MOST_NAMES])}{more}:")
