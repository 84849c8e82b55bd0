"""What Ray is spared while a search starts and runs."""

from types import SimpleNamespace

from ray._private.node import Node
from ray.air._internal import usage
from ray.tune.execution.tune_controller import TuneController

from kdtune.search.cluster import _without_idle_helpers
from kdtune.search.substitution import substituted
from kdtune.search.tuning import _spared


def test_tune_is_spared_its_snapshots_and_gets_them_back() -> None:
    before = (usage.tag_callbacks, TuneController._get_trial_checkpoints)
    with _spared():
        assert usage.tag_callbacks([]) is False
        assert TuneController._get_trial_checkpoints(None) == {}
    assert (usage.tag_callbacks, TuneController._get_trial_checkpoints) == before


def test_this_ray_has_the_helpers_that_are_left_out() -> None:
    before = (Node.start_log_monitor, Node.start_monitor)
    with _without_idle_helpers():
        assert (Node.start_log_monitor, Node.start_monitor) != before
    assert (Node.start_log_monitor, Node.start_monitor) == before


def test_what_a_release_does_not_have_is_not_put_there() -> None:
    release = SimpleNamespace(part=1)
    with substituted(release, "part", 2), substituted(release, "other", 3):
        assert vars(release) == {"part": 2}
    assert vars(release) == {"part": 1}
