"""The results of a search that kept its students, made without Ray."""

import json
from collections.abc import Sequence
from pathlib import Path

from kdtune.config import TrialConfig
from kdtune.search.kept_students import FOLDER, INDEX
from kdtune.tracking import MLflowSink, default_tracking_uri
from kdtune.tracking.journal import FOLDER as JOURNAL
from kdtune.training.delivery import deliver
from kdtune.training.trial import Trial


def finished_search(storage: Path, name: str, configs: Sequence[TrialConfig]) -> Path:
    """Train each configuration as the finalist of that rank, log it and keep its student."""
    search = storage / name
    sink = MLflowSink(
        tracking_uri=default_tracking_uri(storage),
        experiment="made",
        run_name=name,
        tags={"kind": "search", "search": name},
        journal=search / JOURNAL,
    )
    index = {}
    for rank, config in enumerate(configs, start=1):
        trial, key = Trial(config), f"t{rank}"
        label = f"finalist {rank}, seed {config.seed}"
        sink.start_run(
            key, name=label, params=config.flat(), tags={"kind": "finalist", "search": name}
        )
        while not trial.finished:
            sink.log(key, metrics=trial.next_epoch(), epoch=trial.epoch)
        tested = trial.test()
        sink.end_run(key, outcome="finished", metrics=tested)
        folder = label.replace(", ", "-").replace(" ", "-")
        deliver(trial, search / FOLDER / folder, tested)
        index[folder] = key
    (search / INDEX).write_text(json.dumps(index))
    sink.end("finished")
    report = sink.close()
    assert report.complete, report
    return search
