from collections.abc import Mapping

import pytest

from kdtune.contracts import Moment, Warmup
from kdtune.objectives.two_stages import TwoStages


class Imitation(TwoStages):
    def warmup_weights(self) -> Mapping[str, float]:
        return {"likeness": 2.0}


def test_the_warm_up_lasts_a_share_of_the_schedule() -> None:
    expected = Warmup(epochs=100, lr=0.001, milestones=(0.6, 0.8), lr_factor=0.1)
    assert Imitation().warmup(200) == expected
    assert Imitation(warmup_share=0.1, warmup_lr=0.05).warmup(200) == Warmup(epochs=20, lr=0.05)


def test_the_warm_up_lasts_one_epoch_at_least() -> None:
    assert Imitation(warmup_share=0.01).warmup(3).epochs == 1


def test_the_warm_up_knows_neither_labels_nor_soft_labels() -> None:
    assert Imitation().weights(Moment(phase="warmup")) == {"likeness": 2.0}


@pytest.mark.parametrize("phase", ["train", "finetune"])
def test_the_second_stage_is_kd(phase: str) -> None:
    weights = Imitation().weights(Moment(phase=phase, epoch=7, epochs=10))
    assert weights == {"ce": pytest.approx(0.1), "kd": 0.9}


def test_a_stop_belongs_to_the_second_stage() -> None:
    method = Imitation(stop_epoch=3)
    assert method.weights(Moment(phase="warmup", epoch=5)) == {"likeness": 2.0}
    assert method.weights(Moment(epoch=3)) == {"ce": 1.0}


def test_soft_labels_are_a_target_unless_alpha_is_0() -> None:
    assert Imitation().traits.soft_labels
    assert not Imitation(alpha=0.0).traits.soft_labels
