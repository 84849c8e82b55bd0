import math

import pytest
import torch
from scenes import normal
from torch.nn import functional

from kdtune.objectives.soft_labels import soft_cross_entropy, soft_label_kl


def test_soft_label_kl_equals_a_value_worked_out_by_hand() -> None:
    # p_t = (1/4, 3/4) at T = 2 from logits (0, 2 ln 3); p_s = (1/2, 1/2).
    teacher = torch.tensor([[0.0, 2 * math.log(3)]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    expected = 4 * (0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5))
    assert soft_label_kl(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 64.0])
def test_soft_label_kl_is_the_sum_over_classes_and_the_mean_over_samples(
    temperature: float,
) -> None:
    student, teacher = normal(5, 7), normal(5, 7, seed=1)
    p = functional.softmax(teacher / temperature, 1)
    q = functional.softmax(student / temperature, 1)
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(soft_label_kl(student, teacher, temperature), expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
def test_the_gradient_of_the_kl_is_t_times_the_difference_of_probabilities(
    temperature: float,
) -> None:
    student, teacher = normal(6, 4).requires_grad_(), normal(6, 4, seed=1).requires_grad_()
    soft_label_kl(student, teacher, temperature).backward()
    p = functional.softmax(teacher.detach() / temperature, 1)
    q = functional.softmax(student.detach() / temperature, 1)
    torch.testing.assert_close(student.grad, temperature * (q - p) / 6)
    assert teacher.grad is None


def test_at_high_temperature_the_kl_is_half_the_mean_square_of_centrednormal() -> None:
    student, teacher = normal(8, 10), normal(8, 10, seed=1)
    difference = (teacher - teacher.mean(1, True)) - (student - student.mean(1, True))
    limit = difference.pow(2).sum(1).mean() / (2 * 10)
    assert soft_label_kl(student, teacher, 1e4).item() == pytest.approx(limit.item(), rel=1e-3)


def test_half_precision_logits_are_judged_in_float32() -> None:
    student, teacher = normal(4, 10).bfloat16(), normal(4, 10, seed=1).bfloat16()
    loss = soft_label_kl(student, teacher, 64.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, soft_label_kl(student.float(), teacher.float(), 64.0))


@pytest.mark.parametrize(
    ("shapes", "temperature", "message"),
    [
        (((2, 3), (2, 3)), 0.0, "temperature must be > 0, got 0.0"),
        (((2, 3), (2, 3)), float("nan"), "temperature must be > 0"),
        (((2, 3), (2, 4)), 1.0, r"must both be \(B, C\), got \(2, 3\) and \(2, 4\)"),
        (((3,), (3,)), 1.0, "must both be"),
    ],
)
def test_soft_label_kl_refuses_bad_input(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], temperature: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        soft_label_kl(normal(*shapes[0]), normal(*shapes[1]), temperature)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_cross_entropy_is_the_divergence_plus_the_entropy_of_the_teacher(
    temperature: float,
) -> None:
    student, teacher = normal(5, 7), normal(5, 7, seed=1)
    p = functional.softmax(teacher / temperature, 1)
    entropy = -(p * p.log()).sum(1).mean()
    divergence = soft_label_kl(student, teacher, temperature) / temperature**2
    loss = soft_cross_entropy(student, teacher, temperature)
    torch.testing.assert_close(loss, divergence + entropy)


def test_soft_cross_entropy_equals_a_value_worked_out_by_hand() -> None:
    teacher = torch.tensor([[0.0, 2 * math.log(3)]], dtype=torch.float64)  # (1/4, 3/4) at T = 2
    student = torch.zeros(1, 2, dtype=torch.float64)
    assert soft_cross_entropy(student, teacher, 2.0).item() == pytest.approx(math.log(2), rel=1e-12)


def test_the_gradient_of_soft_cross_entropy_has_no_squared_temperature() -> None:
    student, teacher = normal(6, 4).requires_grad_(), normal(6, 4, seed=1).requires_grad_()
    soft_cross_entropy(student, teacher, 3.0).backward()
    p = functional.softmax(teacher.detach() / 3, 1)
    q = functional.softmax(student.detach() / 3, 1)
    torch.testing.assert_close(student.grad, (q - p) / 3 / 6)
    assert teacher.grad is None


def test_soft_cross_entropy_refuses_bad_input_as_the_divergence_does() -> None:
    with pytest.raises(ValueError, match="must be > 0, got -1"):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), -1.0)
    with pytest.raises(ValueError, match="must both be"):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(3, 3), 1.0)


def test_at_a_high_temperature_the_value_is_exact_to_seven_digits() -> None:
    draws = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(64, 100, generator=draws) for _ in range(2))
    exact = soft_label_kl(student.double(), teacher.double(), 64.0)
    found = soft_label_kl(student, teacher, 64.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=2e-7)
