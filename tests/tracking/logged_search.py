"""A small search, as a sink is told of it."""

from kdtune.tracking import MLflowSink
from kdtune.tracking.events import DatasetUse

OUTCOMES = ("finished", "cut", "diverged", "failed", "stopped")
TRAIN = DatasetUse(
    name="digits", digest="d" * 32, context="train", source="digits", profile='{"num_rows": 1}'
)


def start_trial(sink: MLflowSink, number: int, epochs: int) -> str:
    """One trial of 12 metrics, begun with two epochs of warm-up at step 0."""
    key = f"trial_{number:05d}"
    sink.start_run(
        key,
        name=f"trial {number}",
        params={"temperature": number / 3, "train.nesterov": True},
        tags={"kind": "trial", "trial_id": key},
        inputs=[TRAIN],
    )
    for report, epoch in enumerate((0, *range(epochs))):
        metrics = {f"train/m{i}": (number + 1) / (i + 1) / (report + 1) for i in range(11)}
        sink.log(key, epoch=epoch, metrics={**metrics, "lr": 0.1})
    return key


def log_search(sink: MLflowSink, *, trials: int = 5, epochs: int = 4, first: int = 0) -> None:
    """Trials of all outcomes, up to the end of the search."""
    for number in range(first, trials):
        key = start_trial(sink, number, epochs)
        outcome = OUTCOMES[number % len(OUTCOMES)]
        tags = {"error": "out of memory"} if outcome == "failed" else {}
        sink.end_run(key, outcome=outcome, metrics={"best/val_accuracy": 0.9}, tags=tags)
    if trials:
        sink.tag("trial_00000", {"pareto": "true"})
    sink.end("finished", {"search/best_val_accuracy": 0.9})
