import math

import pytest
import torch
from torch.nn import functional

from kdtune.contracts import Batch
from kdtune.objectives.at import attention_loss, attention_map
from kdtune.objectives.kd import soft_label_kl
from kdtune.objectives.scratch import cross_entropy


def _logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    student, teacher = _logits(5, 7), _logits(5, 7, seed=1)
    p = functional.softmax(teacher / temperature, 1)
    q = functional.softmax(student / temperature, 1)
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(soft_label_kl(student, teacher, temperature), expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
def test_the_gradient_of_the_kl_is_t_times_the_difference_of_probabilities(
    temperature: float,
) -> None:
    student, teacher = _logits(6, 4).requires_grad_(), _logits(6, 4, seed=1).requires_grad_()
    soft_label_kl(student, teacher, temperature).backward()
    p = functional.softmax(teacher.detach() / temperature, 1)
    q = functional.softmax(student.detach() / temperature, 1)
    torch.testing.assert_close(student.grad, temperature * (q - p) / 6)
    assert teacher.grad is None


def test_at_high_temperature_the_kl_is_half_the_mean_square_of_centred_logits() -> None:
    student, teacher = _logits(8, 10), _logits(8, 10, seed=1)
    difference = (teacher - teacher.mean(1, True)) - (student - student.mean(1, True))
    limit = difference.pow(2).sum(1).mean() / (2 * 10)
    assert soft_label_kl(student, teacher, 1e4).item() == pytest.approx(limit.item(), rel=1e-3)


def test_half_precision_logits_are_judged_in_float32() -> None:
    student, teacher = _logits(4, 10).bfloat16(), _logits(4, 10, seed=1).bfloat16()
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
        soft_label_kl(_logits(*shapes[0]), _logits(*shapes[1]), temperature)


def test_cross_entropy_of_a_mixed_batch_weighs_both_labels() -> None:
    logits = _logits(3, 4)
    labels, partners = torch.tensor([0, 1, 2]), torch.tensor([3, 3, 0])
    batch = Batch(
        index=torch.arange(3),
        images=torch.zeros(3, 1, 1, 1),
        labels=labels,
        partner_labels=partners,
        lam=0.3,
    )
    expected = 0.3 * functional.cross_entropy(logits, labels)
    expected = expected + 0.7 * functional.cross_entropy(logits, partners)
    torch.testing.assert_close(cross_entropy(batch, logits), expected)


def test_smoothing_moves_epsilon_over_c_to_every_class() -> None:
    logits, labels = _logits(3, 4), torch.tensor([0, 1, 3])
    target = 0.9 * functional.one_hot(labels, 4) + 0.1 / 4
    expected = -(target * functional.log_softmax(logits, 1)).sum(1).mean()
    batch = Batch(index=labels, images=torch.zeros(3, 1, 1, 1), labels=labels)
    torch.testing.assert_close(cross_entropy(batch, logits, 0.1), expected)


def test_an_attention_map_equals_a_value_worked_out_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # mean of squares: (5, 2)
    expected = torch.tensor([[5.0, 2.0]]) / math.sqrt(29)
    torch.testing.assert_close(attention_map(features), expected)


def test_attention_loss_pools_the_larger_map_and_averages_over_positions() -> None:
    teacher, student = _logits(2, 3, 4, 4).float(), _logits(2, 5, 2, 2, seed=1).float()
    pooled = functional.avg_pool2d(teacher, 2)
    expected = (attention_map(student) - attention_map(pooled)).pow(2).mean()
    torch.testing.assert_close(attention_loss(student, teacher), expected)
    torch.testing.assert_close(attention_loss(teacher, student), expected)


def test_attention_loss_stays_finite_where_nothing_is_active() -> None:
    student = torch.zeros(2, 3, 2, 2, requires_grad=True)
    attention_loss(student, torch.ones(2, 3, 2, 2)).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_attention_loss_refuses_logits() -> None:
    with pytest.raises(ValueError, match=r"need \(B, C, H, W\)"):
        attention_loss(torch.zeros(2, 3), torch.zeros(2, 3))
