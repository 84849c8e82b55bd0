"""One configuration with several seeds as one Ray Tune run: in parallel, shown and tracked."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field
from ray import tune
from rich.console import Console

from kdtune.contracts import FlatConfig, Scalar
from kdtune.report.progress import Display
from kdtune.search.callbacks import MEASURED, ProgressCallback, RunLabel, TrackingCallback
from kdtune.search.cluster import Share, connected
from kdtune.search.datasets import inputs_of
from kdtune.search.interruption import Interruption, stopped_by_signals
from kdtune.search.kept_students import keep_students
from kdtune.search.listed import ListedConfigs
from kdtune.search.outcomes import Outcome, OutcomeCallback
from kdtune.search.request import RETRIES
from kdtune.search.results import write_rows
from kdtune.search.schedulers import make_scheduler
from kdtune.search.tuning import run_tune
from kdtune.settings import Settings
from kdtune.storage import Location
from kdtune.tracking import MLflowSink, SinkReport, without_credentials
from kdtune.tracking.journal import FOLDER as JOURNAL
from kdtune.tracking.system import SystemMetrics

METRIC = "val/accuracy"


class Replicates(Settings):
    """What is run, and where its results go.

    Attributes:
        kind: Tag of the runs, and the word for them: ``finetune``, ``sequence``.
        name: Of the whole; its results lie in ``storage / name``.
        storage: Folder of all results.
        tracking_uri: Of MLflow.
        experiment: MLflow experiment that the runs join.
        command: What was typed, for the record.
        address: Of a running Ray cluster; empty to start Ray here.
        cpus, gpus: A run's share of the machine.
    """

    kind: str
    name: Annotated[str, Field(pattern=r"^[\w][\w .@+-]{0,127}$")]
    storage: Path
    tracking_uri: str
    experiment: str
    command: str = ""
    address: str = ""
    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0.0

    @property
    def folder(self) -> Path:
        """Where everything of these runs lies."""
        return self.storage / self.name

    def run(
        self,
        trainable: type[tune.Trainable],
        configs: Sequence[FlatConfig],
        *,
        console: Console,
        kept: Callable[[str], bool],
    ) -> tuple[list[Outcome], SinkReport, int]:
        """Run every configuration to its end, and write ``runs.json`` and ``runs.csv``.

        Args:
            trainable: What runs one.
            configs: Complete and checked, one a seed.
            console: Where to show progress.
            kept: Which entries of the last reports are results.

        Returns:
            How each run ended, what reached MLflow, and the signal that stopped it all (or 0).

        Raises:
            ValueError: If there are results of that name already.
        """
        if self.folder.exists():
            raise ValueError(
                f"there are results called '{self.name}' in '{self.storage}' already; give "
                "another --name, or delete them"
            )
        record = OutcomeCallback(metric=METRIC, mode="max")
        interruption = Interruption(grace_s=0.0)
        sink = self._sink(configs[0])
        ids: list[str] = []

        def label(trial_id: str, config: FlatConfig) -> RunLabel:
            if trial_id not in ids:
                ids.append(trial_id)
            name = f"seed {config['seed']}"
            return RunLabel(name=name, kind=self.kind, tags={"search": self.name}, title=name)

        try:
            with stopped_by_signals(interruption), connected(self.address):
                share = Share.of_cluster(self.cpus, self.gpus)
                with (
                    Display(console) as display,
                    display.stage(self.kind.capitalize(), len(configs)),
                    SystemMetrics(sink),
                ):
                    run_tune(
                        trainable,
                        storage=str(self.folder),
                        searcher=ListedConfigs(configs),
                        scheduler=make_scheduler("none"),
                        trials=len(configs),
                        share=share,
                        callbacks=[
                            TrackingCallback(sink, label=label, ends_search=False),
                            record,
                            ProgressCallback(
                                display,
                                metric=METRIC,
                                mode="max",
                                label=lambda trial_id, config: label(trial_id, config).name,
                            ),
                        ],
                        interruption=interruption,
                        retries=RETRIES,
                    )
            outcomes = [end for end in map(record.outcome, ids) if end]
            rows = [_row(end, kept) for end in outcomes]
            write_rows(self.folder / "runs", rows)
            names = {end.trial_id: f"seed {end.config['seed']}" for end in outcomes}
            for trial_id, student in keep_students(Location.parse(self.folder), names).items():
                sink.attach(trial_id, student, kind="model", place=student.name)
            sink.end("stopped" if interruption.signal else "finished", metrics=_means(rows))
        finally:
            report = sink.close()
        return outcomes, report, interruption.signal

    def _sink(self, config: FlatConfig) -> MLflowSink:
        return MLflowSink(
            tracking_uri=self.tracking_uri,
            experiment=self.experiment,
            run_name=self.name,
            params={k: v for k, v in config.items() if k != "seed"},
            tags={
                "kind": self.kind,
                "search": self.name,
                "command": without_credentials(self.command),
                **MEASURED,
            },
            note=f"`{without_credentials(self.command)}`",
            inputs=inputs_of(config),
            journal=self.folder / JOURNAL,
        )


def _row(end: Outcome, kept: Callable[[str], bool]) -> dict[str, Scalar]:
    results = {key: value for key, value in end.result.items() if kept(key)}
    return {"seed": end.config["seed"], "outcome": end.kind, **results}


def _means(rows: Sequence[Mapping[str, Scalar]]) -> dict[str, float]:
    """``mean/<metric>`` over the seeds that report it."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            if isinstance(value, float):
                values.setdefault(key, []).append(value)
    return {f"mean/{key}": statistics.fmean(each) for key, each in values.items()}
