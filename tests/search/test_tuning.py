"""What Tune is spared while a search runs."""

import pytest
from ray.air._internal import usage
from ray.tune.execution.tune_controller import TuneController

from kdtune.search.tuning import _spared


def test_tune_is_spared_its_snapshots_and_gets_them_back() -> None:
    before = (usage.tag_callbacks, TuneController._get_trial_checkpoints)
    with _spared():
        assert usage.tag_callbacks([]) is False
        assert TuneController._get_trial_checkpoints(None) == {}
    assert (usage.tag_callbacks, TuneController._get_trial_checkpoints) == before


def test_a_tune_with_other_parts_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(usage, "tag_callbacks")
    with _spared():
        assert not hasattr(usage, "tag_callbacks")
    assert not hasattr(usage, "tag_callbacks")
