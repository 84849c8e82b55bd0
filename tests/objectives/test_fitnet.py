import pytest
import torch
from torch import Tensor, nn

from kdtune.contracts import Batch, Feature, Moment, Outputs, Pair, Step
from kdtune.objectives.fitnet import HintTraining, hint_loss, regressor, relative_size

WARMUP = Moment(phase="warmup")


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _pair(student: Feature, teacher: Feature, tap: str = "block2") -> Pair:
    return Pair(
        student={tap: student},
        teacher={tap: teacher},
        labels=torch.arange(4),
        classes=4,
        mean=(0.0,),
        std=(1.0,),
    )


def test_the_hint_loss_equals_a_value_worked_out_by_hand() -> None:
    student, teacher = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[4.0, -2.0]]]])
    assert hint_loss(student, teacher).item() == pytest.approx((9 + 16) / 2)


def test_the_gradient_of_the_hint_loss_is_twice_the_difference_over_the_elements() -> None:
    student = _random(2, 3, 2, 2).requires_grad_()
    teacher = _random(2, 3, 2, 2, seed=1).requires_grad_()
    hint_loss(student, teacher).backward()
    torch.testing.assert_close(student.grad, 2 * (student - teacher).detach() / 24)
    assert teacher.grad is None


def test_half_precision_is_promoted_and_double_is_kept() -> None:
    student = torch.full((1, 1, 2, 2), 300.0, dtype=torch.float16)  # the square is no float16
    assert hint_loss(student, torch.zeros_like(student)).item() == 90000
    assert hint_loss(_random(1, 1, 2, 2), _random(1, 1, 2, 2)).dtype == torch.float64


def test_hints_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3, 4, 4\) and \(2, 3, 2, 2\)"):
        hint_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 2))


@pytest.mark.parametrize(
    ("student", "teacher", "size"),
    [
        ((3, 8, 8), (5, 8, 8), "same"),
        ((3, 8, 8), (5, 4, 4), "half"),
        ((3, 7, 9), (5, 4, 5), "half"),
        ((3, 4, 4), (5, 8, 8), "double"),
    ],
)
def test_the_regressor_brings_the_student_to_the_shape_of_the_teacher(
    student: tuple[int, ...], teacher: tuple[int, ...], size: str
) -> None:
    assert relative_size(student, teacher) == size
    layers = regressor(Feature(shape=student), Feature(shape=teacher))
    assert layers(torch.randn(2, *student)).shape == (2, *teacher)


def test_the_convolutions_are_those_of_the_public_codes() -> None:
    def convolution(student_side: int, teacher_side: int) -> nn.Module:
        shapes = (2, student_side, student_side), (2, teacher_side, teacher_side)
        first: nn.Module = regressor(*(Feature(shape=shape) for shape in shapes))[0]
        return first

    same, half, double = convolution(8, 8), convolution(8, 4), convolution(4, 8)
    assert isinstance(same, nn.Conv2d)
    assert same.kernel_size == (1, 1)
    assert isinstance(half, nn.Conv2d)
    assert (half.kernel_size, half.stride, half.padding) == ((3, 3), (2, 2), (1, 1))
    assert isinstance(double, nn.ConvTranspose2d)
    assert (double.kernel_size, double.stride, double.padding) == ((4, 4), (2, 2), (1, 1))


@pytest.mark.parametrize(
    ("teacher", "reaches_below_0"),
    [
        (Feature(shape=(4, 4, 4)), False),
        (Feature(shape=(4, 4, 4), signed=True), True),
        (Feature(shape=(4, 4, 4), activation="pre", signed=True), True),
        (Feature(shape=(4, 4, 4), activation="pre"), True),
    ],
)
def test_a_relu_follows_only_where_the_teacher_is_behind_one(
    teacher: Feature, reaches_below_0: bool
) -> None:
    out = regressor(Feature(shape=(3, 4, 4)), teacher)(torch.randn(8, 3, 4, 4))
    assert bool((out < 0).any()) == reaches_below_0


@pytest.mark.parametrize("teacher", [(5, 3, 3), (5, 16, 4), (5, 2, 2)])
def test_sizes_that_no_regressor_relates_are_refused_with_both_shapes(
    teacher: tuple[int, ...],
) -> None:
    pair = _pair(Feature(shape=(3, 8, 8)), Feature(shape=teacher))
    with pytest.raises(ValueError, match="twice as large") as refusal:
        HintTraining().check(pair)
    assert str(teacher) in str(refusal.value)
    assert "(3, 8, 8)" in str(refusal.value)


def test_the_regressor_exists_in_the_warm_up_alone() -> None:
    pair = _pair(Feature(shape=(3, 4, 4)), Feature(shape=(5, 4, 4)))
    HintTraining().check(pair)
    assert HintTraining().companion(WARMUP, pair) is not None
    assert HintTraining().companion(Moment(), pair) is None
    assert HintTraining().companion(Moment(phase="finetune"), pair) is None


def test_the_first_stage_is_the_hint_alone_and_the_second_kd() -> None:
    method = HintTraining()
    assert method.weights(WARMUP) == {"hint": 1.0}
    assert method.weights(Moment()) == {"ce": pytest.approx(0.1), "kd": 0.9}
    assert method.warmup(200).epochs == 100


@pytest.mark.parametrize("block", [1, 3])
def test_the_hint_reads_the_chosen_block_and_trains_student_and_regressor(block: int) -> None:
    method, tap = HintTraining(block=block), f"block{block}"
    assert method.traits.taps == (tap,)
    shapes = Feature(shape=(3, 4, 4)), Feature(shape=(5, 2, 2))
    companion = method.companion(WARMUP, _pair(*shapes, tap=tap))
    assert companion is not None
    student = torch.randn(4, 3, 4, 4, requires_grad=True)
    teacher = torch.rand(4, 5, 2, 2).requires_grad_()
    labels = torch.arange(4)
    step = Step(
        batch=Batch(index=labels, images=torch.zeros(4, 1, 8, 8), labels=labels),
        student=Outputs(logits=torch.zeros(4, 4), taps={tap: student}),
        teacher=Outputs(logits=torch.zeros(4, 4), taps={tap: teacher}),
        companion=companion,
    )
    value = method.term("hint", step)
    torch.testing.assert_close(value, hint_loss(companion(student), teacher))
    value.backward()
    assert student.grad is not None
    assert all(p.grad is not None for p in companion.parameters())
    assert teacher.grad is None


def test_equal_networks_are_not_said_to_have_no_loss() -> None:
    assert not HintTraining().traits.zero_at_match
