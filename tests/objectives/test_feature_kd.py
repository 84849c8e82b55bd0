import math

import pytest
import torch
from torch import Tensor, nn

from kdtune.contracts import Batch, Feature, Moment, Outputs, Pair, Step
from kdtune.objectives.feature_kd import FeatureDistillation, normalised_l1


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _pair(student: tuple[int, ...], teacher: tuple[int, ...]) -> Pair:
    return Pair(
        student={"last_map": Feature(shape=student)},
        teacher={"last_map": Feature(shape=teacher)},
        labels=torch.arange(4),
        classes=4,
        mean=(0.0,),
        std=(1.0,),
    )


def test_the_distance_equals_a_value_worked_out_by_hand() -> None:
    # Unit vectors (0.6, 0.8) and (1, 0), then (1, 0) twice: distances 1.2 and 0.
    student = torch.tensor([[3.0, 4.0], [2.0, 0.0]])
    teacher = torch.tensor([[5.0, 0.0], [7.0, 0.0]])
    assert normalised_l1(student, teacher).item() == pytest.approx(0.6)
    assert normalised_l1(student, teacher, "mean").item() == pytest.approx(0.3)


def test_the_mean_divides_the_sum_by_the_elements_of_a_sample() -> None:
    student, teacher = _random(3, 4, 5, 6), _random(3, 4, 5, 6, seed=1)
    total, mean = normalised_l1(student, teacher), normalised_l1(student, teacher, "mean")
    torch.testing.assert_close(total, mean * 4 * 5 * 6)


def test_the_scale_of_a_sample_does_not_matter() -> None:
    student, teacher = _random(2, 3, 2, 2), _random(2, 3, 2, 2, seed=1)
    scaled = student * torch.tensor([10.0, 0.1], dtype=torch.float64)[:, None, None, None]
    torch.testing.assert_close(normalised_l1(scaled, teacher), normalised_l1(student, teacher))
    assert normalised_l1(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_opposite_features_are_farthest_apart() -> None:
    features = torch.ones(2, 16)
    assert normalised_l1(-features, features).item() == pytest.approx(2 * math.sqrt(16))


def test_the_gradient_is_that_of_the_formula() -> None:
    student = _random(2, 3, 2, 2).requires_grad_()
    teacher = _random(2, 3, 2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: normalised_l1(s, teacher.detach()), student)
    normalised_l1(student, teacher).backward()
    assert teacher.grad is None


def test_features_of_0_give_finite_gradients() -> None:
    student = torch.zeros(2, 3, requires_grad=True)
    normalised_l1(student, torch.zeros(2, 3)).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_half_precision_is_promoted_and_double_is_kept() -> None:
    student, teacher = _random(2, 64), _random(2, 64, seed=1)
    assert normalised_l1(student, teacher).dtype == torch.float64
    half = normalised_l1(student.bfloat16(), teacher.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(
        half, normalised_l1(student.bfloat16().float(), teacher.bfloat16().float())
    )


def test_features_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3, 4, 4\) and \(2, 5, 4, 4\)"):
        normalised_l1(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 'sum' or 'mean', got 'none'"):
        normalised_l1(torch.zeros(2, 3), torch.zeros(2, 3), "none")  # type: ignore[arg-type]


def test_maps_of_different_sizes_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"got \(8, 4, 4\) of the student and \(8, 8, 8\) of the"):
        FeatureDistillation().check(_pair((8, 4, 4), (8, 8, 8)))
    FeatureDistillation().check(_pair((8, 4, 4), (16, 4, 4)))


def test_by_default_the_labels_count_1_and_soft_labels_nothing() -> None:
    weights = FeatureDistillation(beta=0.5).weights(Moment())
    assert weights == {"ce": 1.0, "kd": 0.0, "feature": 0.5}


def test_gradients_reach_student_and_regressor_and_never_the_teacher() -> None:
    method = FeatureDistillation()
    regressor = method.companion(Moment(), _pair((3, 4, 4), (5, 4, 4)))
    assert isinstance(regressor, nn.Conv2d)
    student = torch.randn(2, 3, 4, 4, requires_grad=True)
    teacher = torch.randn(2, 5, 4, 4, requires_grad=True)
    labels = torch.tensor([0, 1])
    step = Step(
        batch=Batch(index=labels, images=torch.zeros(2, 1, 8, 8), labels=labels),
        student=Outputs(logits=torch.zeros(2, 4), taps={"last_map": student}),
        teacher=Outputs(logits=torch.zeros(2, 4), taps={"last_map": teacher}),
        companion=regressor,
    )
    value = method.term("feature", step)
    torch.testing.assert_close(value, normalised_l1(regressor(student), teacher))
    value.backward()
    assert student.grad is not None
    assert all(p.grad is not None for p in regressor.parameters())
    assert teacher.grad is None


def test_equal_networks_are_not_said_to_have_no_loss() -> None:
    assert not FeatureDistillation().traits.zero_at_match
    assert FeatureDistillation().traits.taps == ("last_map",)
