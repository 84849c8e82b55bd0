import math

import pytest
import torch
from torch import Tensor, nn

from kdtune.contracts import Batch, Feature, Moment, Outputs, Pair, Step
from kdtune.objectives.overhaul import (
    Connectors,
    Overhaul,
    negative_mean_margin,
    overhaul_loss,
    partial_l2,
)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _feature(*shape: int, norm: bool = True) -> Feature:
    weights = (torch.ones(shape[0]), torch.zeros(shape[0])) if norm else None
    return Feature(shape=shape, activation="pre", signed=True, norm=weights)


def _pair(student: list[Feature], teacher: list[Feature]) -> Pair:
    return Pair(
        student={f"block{i}_pre": feature for i, feature in enumerate(student, 1)},
        teacher={f"block{i}_pre": feature for i, feature in enumerate(teacher, 1)},
        labels=torch.arange(4),
        classes=4,
        mean=(0.0,),
        std=(1.0,),
    )


def test_the_margin_of_a_centred_channel_is_known() -> None:
    # E[x | x < 0] of a standard normal is -sqrt(2 / pi); it scales with the deviation.
    margin = negative_mean_margin(torch.tensor([1.0, -2.0]), torch.zeros(2))
    torch.testing.assert_close(margin, -math.sqrt(2 / math.pi) * torch.tensor([1.0, 2.0]))


def test_the_margin_is_the_mean_of_the_negative_part() -> None:
    weight, bias = torch.tensor([0.5, 1.5, 3.0]).double(), torch.tensor([0.7, -1.0, 2.0]).double()
    x = torch.linspace(-40, 0, 400_001, dtype=torch.float64)
    density = torch.exp(-((x - bias[:, None]) ** 2) / (2 * weight[:, None] ** 2))
    expected = (x * density).sum(1) / density.sum(1)
    torch.testing.assert_close(negative_mean_margin(weight, bias), expected, rtol=1e-3, atol=1e-3)


def test_a_channel_that_is_hardly_ever_negative_gets_3_deviations() -> None:
    # P(x < 0) = Phi(-mean / deviation) is 0.00135 at 3 and 0.00097 at 3.1.
    margin = negative_mean_margin(torch.tensor([2.0, 2.0, -1.0]), torch.tensor([6.2, 6.0, 1e4]))
    assert margin[0].item() == pytest.approx(-6.0)
    assert -1 < margin[1].item() < 0
    assert margin[2].item() == pytest.approx(-3.0)


def test_the_margin_of_a_negative_channel_is_its_mean() -> None:
    margin = negative_mean_margin(torch.tensor([1.0]), torch.tensor([-50.0]))
    assert margin.item() == pytest.approx(-50.0)


def test_a_channel_without_deviation_has_a_finite_margin() -> None:
    margin = negative_mean_margin(torch.zeros(3), torch.tensor([-2.0, 0.0, 2.0]))
    torch.testing.assert_close(margin, torch.tensor([-2.0, 0.0, 0.0]))


def test_the_margin_carries_no_gradient_and_keeps_the_precision() -> None:
    weight = torch.ones(2, requires_grad=True)
    assert not negative_mean_margin(weight, torch.zeros(2)).requires_grad
    assert negative_mean_margin(weight.double(), torch.zeros(2)).dtype == torch.float64
    assert negative_mean_margin(weight.bfloat16(), torch.zeros(2)).dtype == torch.float32


def test_an_element_counts_where_the_student_is_above_the_target_or_the_target_above_0() -> None:
    margin = torch.tensor([-1.0])
    cases = [  # teacher, student, squared distance to max(teacher, margin) or nothing
        (2.0, 0.5, 2.25),
        (2.0, 3.0, 1.0),
        (-0.5, -0.25, 0.0625),
        (-0.5, -0.75, 0.0),
        (-3.0, 0.0, 1.0),
        (-3.0, -2.0, 0.0),
    ]
    for teacher, student, expected in cases:
        maps = torch.tensor([[[[student]]]]), torch.tensor([[[[teacher]]]])
        assert partial_l2(*maps, margin).item() == pytest.approx(expected), (teacher, student)


def test_a_sample_is_summed_and_the_batch_averaged() -> None:
    student, teacher = torch.zeros(4, 3, 2, 2), torch.ones(4, 3, 2, 2)
    assert partial_l2(student, teacher, -torch.ones(3)).item() == 12


def test_each_channel_has_its_own_margin() -> None:
    student, teacher = torch.zeros(1, 2, 1, 1), torch.full((1, 2, 1, 1), -9.0)
    assert partial_l2(student, teacher, torch.tensor([-1.0, -2.0])).item() == 5


def test_the_gradient_is_that_of_the_formula_and_spares_the_teacher() -> None:
    student = _random(2, 3, 2, 2).requires_grad_()
    teacher = _random(2, 3, 2, 2, seed=1).requires_grad_()
    margin = torch.tensor([-0.5, -1.0, -0.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: partial_l2(s, teacher.detach(), margin), student)
    partial_l2(student, teacher, margin).backward()
    assert teacher.grad is None


def test_half_precision_is_promoted() -> None:
    student = torch.full((1, 1, 2, 2), 300.0, dtype=torch.float16)  # the square is no float16
    loss = partial_l2(student, torch.zeros_like(student), -torch.ones(1))
    assert loss.dtype == torch.float32
    assert loss.item() == 4 * 90000


def test_every_stage_counts_twice_the_one_before() -> None:
    ones, margin = torch.ones(1, 1, 1, 1), -torch.ones(1)
    losses = overhaul_loss([2 * ones, 3 * ones, 4 * ones], [ones] * 3, [margin] * 3)
    assert losses.item() == pytest.approx(1 / 4 + 4 / 2 + 9)


@pytest.mark.parametrize(
    ("shapes", "margin"),
    [(((2, 3, 4, 4), (2, 3, 2, 2)), 3), (((2, 3, 4, 4), (2, 3, 4, 4)), 4), (((2, 3), (2, 3)), 3)],
)
def test_bad_shapes_are_refused(shapes: tuple[tuple[int, ...], ...], margin: int) -> None:
    with pytest.raises(ValueError, match=r"must both be \(B, C, H, W\) and the margin \(C,\)"):
        partial_l2(torch.zeros(shapes[0]), torch.zeros(shapes[1]), torch.zeros(margin))


def test_weight_and_bias_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        negative_mean_margin(torch.ones(2), torch.ones(3))


def test_numbers_of_stages_that_differ_are_refused() -> None:
    ones = torch.ones(1, 1, 1, 1)
    with pytest.raises(ValueError, match="shorter"):
        overhaul_loss([ones, ones], [ones], [torch.ones(1)])


def test_pairs_that_cannot_be_served_are_refused_with_both_shapes() -> None:
    method = Overhaul(blocks=2)
    fits, small = _feature(4, 8, 8), _feature(6, 2, 2)
    with pytest.raises(ValueError, match=r"'block2_pre' has shape \(4, 8, 8\).* and \(6, 2, 2\)"):
        method.check(_pair([fits, fits], [fits, small]))
    with pytest.raises(ValueError, match="the teacher has none behind 'block1_pre'"):
        method.check(_pair([fits, fits], [_feature(4, 8, 8, norm=False), fits]))
    method.check(_pair([fits, fits], [fits, _feature(9, 8, 8)]))


def test_the_teacher_is_normalised_by_the_batch_unless_told_otherwise() -> None:
    assert Overhaul().traits.teacher_bn == "batch"
    assert Overhaul(teacher_bn="eval").traits.teacher_bn == "eval"


def test_the_traits_name_the_taps_and_promise_no_zero() -> None:
    assert Overhaul().traits.taps == ("block1_pre", "block2_pre", "block3_pre")
    assert Overhaul(blocks=4).traits.taps[-1] == "block4_pre"
    assert not Overhaul().traits.zero_at_match


def test_the_task_loss_is_cross_entropy_or_kd() -> None:
    assert Overhaul().weights(Moment()) == {"ce": 1.0, "kd": 0.0, "overhaul": 0.001}
    assert Overhaul(alpha=1.0).weights(Moment()) == {"ce": 0.0, "kd": 1.0, "overhaul": 0.001}


def test_gradients_reach_student_and_connectors_and_never_the_teacher() -> None:
    method = Overhaul(blocks=2)
    shapes = [_feature(2, 4, 4), _feature(3, 2, 2)], [_feature(4, 4, 4), _feature(6, 2, 2)]
    companion = method.companion(Moment(), _pair(*shapes))
    assert isinstance(companion, Connectors)
    student = {f"block{i}_pre": torch.randn(5, *f.shape) for i, f in enumerate(shapes[0], 1)}
    teacher = {f"block{i}_pre": torch.randn(5, *f.shape) for i, f in enumerate(shapes[1], 1)}
    for features in [*student.values(), *teacher.values()]:
        features.requires_grad_()
    labels = torch.arange(5)
    step = Step(
        batch=Batch(index=labels, images=torch.zeros(5, 1, 8, 8), labels=labels),
        student=Outputs(logits=torch.zeros(5, 4), taps=student),
        teacher=Outputs(logits=torch.zeros(5, 4), taps=teacher),
        companion=companion,
    )
    value = method.term("overhaul", step)
    ours = companion(list(student.values()))
    expected = overhaul_loss(ours, list(teacher.values()), companion.margins())
    torch.testing.assert_close(value, expected)
    value.backward()
    assert all(features.grad is not None for features in student.values())
    assert all(p.grad is not None for p in companion.parameters())
    assert all(features.grad is None for features in teacher.values())


def test_a_connector_is_a_convolution_without_bias_and_a_batch_norm() -> None:
    norms = [(torch.ones(4), torch.zeros(4))]
    connectors = Connectors(widths=[(2, 4)], norms=norms)
    assert sum(p.numel() for p in connectors.parameters()) == 2 * 4 + 2 * 4
    assert any(isinstance(m, nn.BatchNorm2d) for m in connectors.modules())
    assert torch.equal(connectors.margins()[0], negative_mean_margin(*norms[0]))


def test_the_margins_are_saved_with_the_connectors() -> None:
    norms = [(torch.full((4,), 2.0), torch.ones(4))]
    saved = Connectors(widths=[(2, 4)], norms=norms).state_dict()
    other = Connectors(widths=[(2, 4)], norms=[(torch.ones(4), torch.zeros(4))])
    other.load_state_dict(saved)
    assert torch.equal(other.margins()[0], negative_mean_margin(*norms[0]))
