import pytest
import torch
from scenes import make_scene

from kdtune.contracts import Moment
from kdtune.objectives import OBJECTIVES
from kdtune.objectives.soft_labels import soft_label_kl


def test_alpha_weights_the_distillation_term() -> None:
    assert make_scene("kd").weights() == {"ce": pytest.approx(0.1), "kd": 0.9}


def test_the_weight_of_cross_entropy_may_be_given_by_itself() -> None:
    scene = make_scene("kd", alpha=1.0, ce_weight=1.0)
    assert scene.weights() == {"ce": 1.0, "kd": 1.0}
    assert make_scene("kd", alpha=1.0).weights() == {"kd": 1.0}


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_the_term_is_the_soft_label_divergence_at_the_temperature(temperature: float) -> None:
    scene = make_scene("kd", temperature=temperature)
    step = scene.step()
    expected = soft_label_kl(step.student.logits, step.teacher.logits, temperature)
    assert torch.equal(scene.objective.term("kd", step), expected)


def test_distillation_stops_at_its_epoch_and_cross_entropy_goes_on_at_one() -> None:
    objective = OBJECTIVES.get("kd")(stop_epoch=3)
    assert objective.weights(Moment(epoch=2, epochs=5)) == {"ce": pytest.approx(0.1), "kd": 0.9}
    assert objective.weights(Moment(epoch=3, epochs=5)) == {"ce": 1.0}
    assert OBJECTIVES.get("kd")().weights(Moment(epoch=4, epochs=5, first_drop=2))["kd"] == 0.9


def test_eskd_stops_at_the_first_drop_unless_told_otherwise() -> None:
    moment = Moment(epoch=4, epochs=9, first_drop=4)
    assert OBJECTIVES.get("eskd")().weights(moment) == {"ce": 1.0}
    assert "kd" in OBJECTIVES.get("eskd")(stop_epoch=5).weights(moment)


def test_eskd_refuses_a_schedule_without_drops() -> None:
    with pytest.raises(ValueError, match="this schedule has no drops"):
        OBJECTIVES.get("eskd")().weights(Moment())


def test_a_method_of_features_stops_with_its_soft_labels() -> None:
    scene = make_scene("at_kd", Moment(epoch=6, epochs=9), stop_epoch=6)
    assert scene.weights() == {"ce": 1.0}
