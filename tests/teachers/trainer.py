"""A process that makes a trial, as a search's or a user's would, and says what became of it.

Called with the store and flat keys as JSON; with ``slow`` it waits in the middle of a training.
"""

import json
import sys
import time

from kdtune.config import parse
from kdtune.training.trial import Trial

next_epoch = Trial.next_epoch


def told_epoch(trial: Trial) -> dict[str, float]:
    if trial.epoch == 1:
        print("training", flush=True)
        time.sleep(60 if "forever" in sys.argv else 1)
    return next_epoch(trial)


Trial.next_epoch = told_epoch  # type: ignore[method-assign]
base = {
    **{"student": "resnet8x0.125", "teacher": "resnet8x0.125", "teacher.full_epochs": 2},
    **{"data.train_limit": 100, "train.epochs": 1, "train.device": "cpu"},
}
trial = Trial(parse({**base, **json.loads(sys.argv[1])}))
assert trial.teacher is not None
print(trial.teacher.key, flush=True)
