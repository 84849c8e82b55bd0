"""Schedulers by name."""

import pytest
from ray import cloudpickle
from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule

from kdtune.search.asha import ASHA
from kdtune.search.schedulers import SCHEDULERS, make_scheduler


def test_each_name_gives_its_scheduler() -> None:
    kinds = {
        "asha": ASHA,
        "hyperband": ASHA,
        "median": MedianStoppingRule,
        "none": FIFOScheduler,
    }
    assert set(SCHEDULERS) == set(kinds)
    for name, kind in kinds.items():
        scheduler = make_scheduler(name, max_t=9)
        assert isinstance(scheduler, kind)
        cloudpickle.dumps(scheduler)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'asha'"):
        make_scheduler("ahsa")
