import math

import pytest
import torch
from scenes import make_scene, normal

from kdtune.objectives.sp import similarity_loss, similarity_matrix


def test_a_similarity_matrix_equals_values_worked_out_by_hand() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 4.0]])  # Gram: (1, 3), (3, 25)
    expected = torch.tensor([[1 / math.sqrt(10), 3 / math.sqrt(10)], [3.0, 25.0]])
    expected[1] /= math.sqrt(634)
    torch.testing.assert_close(similarity_matrix(features), expected)


def test_the_loss_equals_a_value_worked_out_by_hand() -> None:
    # Orthogonal samples against equal ones: rows (1, 0), (0, 1) against (1, 1) / sqrt(2).
    student, teacher = torch.eye(2).double(), torch.ones(2, 1).double()
    r = math.sqrt(0.5)
    expected = (2 * (1 - r) ** 2 + 2 * r**2) / 2**2
    assert similarity_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_the_loss_is_the_sum_over_pairs_divided_by_the_squared_batch_size() -> None:
    student, teacher = normal(5, 3, 4, 4), normal(5, 7, 2, 2, seed=1)
    ours, theirs = (
        torch.stack([row / row.norm() for row in f.flatten(1) @ f.flatten(1).T])
        for f in (student, teacher)
    )
    expected = (ours - theirs).square().sum() / 25
    torch.testing.assert_close(similarity_loss(student, teacher), expected)


def test_maps_are_compared_as_flattened_vectors_of_any_memory_layout() -> None:
    student, teacher = normal(4, 3, 2, 2), normal(4, 6, seed=1)
    last = student.contiguous(memory_format=torch.channels_last)
    expected = similarity_loss(student.flatten(1), teacher)
    torch.testing.assert_close(similarity_loss(last, teacher), expected)


def test_scaling_or_rotating_all_features_changes_nothing() -> None:
    student, teacher = normal(6, 5), normal(6, 5, seed=1)
    rotation = torch.linalg.qr(normal(5, 5, seed=2)).Q
    loss = similarity_loss(student, teacher)
    torch.testing.assert_close(similarity_loss(3 * student @ rotation, teacher), loss)
    assert similarity_loss(student, -2 * student @ rotation).item() == pytest.approx(0, abs=1e-24)


def test_the_gradient_is_that_of_the_differences() -> None:
    student, teacher = normal(4, 3).requires_grad_(), normal(4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: similarity_loss(s, teacher), student)
    similarity_loss(student, teacher).backward()
    assert teacher.grad is None


def test_samples_without_any_activation_give_finite_gradients() -> None:
    student = torch.zeros(3, 4, requires_grad=True)
    similarity_loss(student, torch.ones(3, 4)).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_float32(half: torch.dtype) -> None:
    student, teacher = (normal(4, 64, 8, 8, seed=seed).to(half) * 10 for seed in (0, 1))
    exact = similarity_loss(student.float(), teacher.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = similarity_loss(student, teacher)
        inside = similarity_loss(student.float(), teacher.float())
    assert loss.dtype == torch.float32
    assert torch.equal(loss, exact)
    assert torch.equal(inside, exact)


@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((3,), (3,))])
def test_features_of_another_batch_or_without_a_width_are_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    with pytest.raises(ValueError, match=r"need \(B, ...\) features of one batch, got \(3,"):
        similarity_loss(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_the_method_reads_one_block_and_leaves_cross_entropy_at_one() -> None:
    scene = make_scene("sp")
    assert scene.objective.traits.taps == ("block3",)
    assert scene.weights() == {"ce": 1.0, "sp": 3000.0}
    step = scene.step()
    expected = similarity_loss(step.student.taps["block3"], step.teacher.taps["block3"])
    assert torch.equal(scene.objective.term("sp", step), expected)
    assert make_scene("sp", block=2).objective.traits.taps == ("block2",)
