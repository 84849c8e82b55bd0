import math

import pytest
import torch
from scenes import make_scene, normal
from torch.nn import functional

from kdtune.objectives.at import attention_loss, attention_map


def test_an_attention_map_equals_a_value_worked_out_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # mean of squares: (5, 2)
    expected = torch.tensor([[5.0, 2.0]]) / math.sqrt(29)
    torch.testing.assert_close(attention_map(features), expected)


def test_attention_loss_pools_the_larger_map_and_averages_over_positions() -> None:
    teacher, student = normal(2, 3, 4, 4).float(), normal(2, 5, 2, 2, seed=1).float()
    pooled = functional.avg_pool2d(teacher, 2)
    expected = (attention_map(student) - attention_map(pooled)).pow(2).mean()
    torch.testing.assert_close(attention_loss(student, teacher), expected)
    torch.testing.assert_close(attention_loss(teacher, student), expected)


def test_attention_loss_stays_finite_where_nothing_is_active() -> None:
    student = torch.zeros(2, 3, 2, 2, requires_grad=True)
    attention_loss(student, torch.ones(2, 3, 2, 2)).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_attention_loss_keeps_double_precision_and_lifts_half_precision() -> None:
    maps = normal(2, 3, 2, 2).double().requires_grad_()
    other = normal(2, 3, 2, 2, seed=1).double()
    assert torch.autograd.gradcheck(lambda ours: attention_loss(ours, other), maps)
    assert attention_loss(maps, other).dtype == torch.float64
    assert attention_map(torch.full((1, 2, 2, 2), 300.0, dtype=torch.float16)).isfinite().all()


def test_attention_loss_refusesnormal() -> None:
    with pytest.raises(ValueError, match=r"need \(B, C, H, W\)"):
        attention_loss(torch.zeros(2, 3), torch.zeros(2, 3))


def test_attention_loss_equals_a_value_worked_out_by_hand() -> None:
    # Attention (1, 0) against (0.6, 0.8) on two positions.
    student = torch.tensor([[[[2.0, 0.0]]]])
    teacher = torch.tensor([[[[math.sqrt(3.0), 2.0]]]])
    expected = (0.4**2 + 0.8**2) / 2
    assert attention_loss(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_attention_loss_passes_gradients_to_the_student_alone() -> None:
    student = normal(2, 3, 2, 2).float().requires_grad_()
    teacher = normal(2, 4, 2, 2, seed=1).float().requires_grad_()
    attention_loss(student, teacher).backward()
    assert student.grad is not None
    assert student.grad.any()
    assert teacher.grad is None


def test_the_method_sums_over_its_blocks() -> None:
    for blocks in (1, 3):
        scene = make_scene("at", blocks=blocks)
        assert scene.weights() == {"ce": 1.0, "at": 1000.0}
        step = scene.step()
        taps = [f"block{i}" for i in range(1, blocks + 1)]
        losses = [attention_loss(step.student.taps[t], step.teacher.taps[t]) for t in taps]
        torch.testing.assert_close(scene.objective.term("at", step), sum(losses))


def test_at_kd_adds_soft_labels_as_in_its_paper() -> None:
    scene = make_scene("at_kd")
    assert scene.weights() == {"ce": pytest.approx(0.1), "kd": 0.9, "at": 1000.0}
