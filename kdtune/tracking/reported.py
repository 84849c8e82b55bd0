"""What papers printed, written to MLflow beside measured runs."""

from collections.abc import Iterator

from kdtune.papers import PAPERS, figures, tables
from kdtune.papers.figures import REPORTED
from kdtune.papers.layouts import LAYOUTS
from kdtune.papers.runs import reported_runs
from kdtune.tracking.canonical import canonical_params, canonical_tags
from kdtune.tracking.events import PARENT, Ended, Event, Measured, Started
from kdtune.tracking.replay import replay
from kdtune.tracking.sink_report import SinkReport
from kdtune.tracking.writer import Progress

EXPERIMENT = "papers"
"""Where they go unless somebody wants them in a study of their own."""


def import_paper(
    paper: str,
    *,
    tracking_uri: str,
    experiment: str = EXPERIMENT,
    progress: Progress | None = None,
) -> SinkReport:
    """Write a paper's figures as runs beside a run of the paper; what is there is left alone.

    They are no children of that run: MLflow's list would fold them in.

    Args:
        paper: Key, such as ``cho2019``.
        tracking_uri: Of a server or database; MLflow's global one is left alone.
        experiment: Name of the experiment; made if there is none.
        progress: Is told how many runs are dealt with, of how many.

    Raises:
        ValueError: If the paper is unknown.
    """
    return replay(
        list(reported_events(paper)),
        tracking_uri=tracking_uri,
        experiment=experiment,
        search_id=search_id(paper),
        base=REPORTED.parent,
        nested=False,
        progress=progress,
    )


def search_id(paper: str) -> str:
    """What tells the runs of a paper from all others in their experiment."""
    return f"reported-{paper}"


def reported_events(paper: str) -> Iterator[Event]:
    """A paper as a search that is over, dated when it was published; always the same.

    Raises:
        ValueError: If the paper is unknown.
    """
    runs = reported_runs(paper)
    about, start = PAPERS[paper], PAPERS[paper].published_ms
    common = {"source": "reported", "search": search_id(paper), "paper": paper}
    own = {**common, "kind": "paper", "mlflow.note.content": _description(paper)}
    yield Started(
        key=PARENT, name=about.citation, params={}, tags=canonical_tags(own), time_ms=start
    )
    # A millisecond each, so that they are listed in the paper's order.
    for time_ms, run in enumerate(runs, start + 1):
        yield Started(
            key=run.key,
            name=run.name,
            params=canonical_params(run.settings),
            tags=canonical_tags({**run.tags, **common}),
            time_ms=time_ms,
        )
        yield Measured(key=run.key, epoch=0, metrics=run.metrics, time_ms=time_ms)
        yield Ended(key=run.key, outcome="finished", tags={"outcome": "finished"}, time_ms=time_ms)
    yield Ended(
        key=PARENT, outcome="finished", tags={"outcome": "finished"}, time_ms=start + len(runs)
    )


def _description(paper: str) -> str:
    """Of the paper's run, for the page that shows it."""
    about = PAPERS[paper]
    lines = [
        f"{', '.join(about.authors)}, {about.year}: *{about.title}* "
        f"([arXiv:{about.arxiv}](https://arxiv.org/abs/{about.arxiv}))",
        "",
        about.question,
        "",
        *(
            f"- {table}, {len(figures(paper, table))} figures: {LAYOUTS[paper][table].caption}"
            for table in tables(paper)
        ),
    ]
    return "\n".join(lines)
