import math
from collections.abc import Callable

import pytest
import torch
from scenes import make_scene, normal
from torch import Tensor
from torch.nn import functional

from kdtune.objectives.rkd import angle_cosines, angle_loss, distance_loss, pair_distances

Loss = Callable[[Tensor, Tensor], Tensor]


def _direct_distances(embeddings: Tensor) -> Tensor:
    flat = embeddings.flatten(1)
    return (flat[:, None] - flat[None]).norm(dim=2)


def _direct_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    ours, theirs = _direct_distances(student), _direct_distances(teacher)
    return functional.smooth_l1_loss(
        ours / ours[ours > 0].mean(), theirs / theirs[theirs > 0].mean()
    )


def _direct_cosines(embeddings: Tensor) -> Tensor:
    flat = embeddings.flatten(1)
    edges = functional.normalize(flat[None] - flat[:, None], dim=2)
    return torch.einsum("ijd,ikd->ijk", edges, edges)


def test_distances_equal_values_worked_out_by_hand() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])
    expected = torch.tensor([[0.0, 5.0, 8.0], [5.0, 0.0, 5.0], [8.0, 5.0, 0.0]])
    torch.testing.assert_close(pair_distances(points), expected)


def test_the_distance_loss_equals_a_value_worked_out_by_hand() -> None:
    # Distances 1, 1, 2 in means of 4/3 against an equilateral triangle: differences 1/4, 1/4, 1/2.
    student = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    teacher = torch.eye(3, dtype=torch.float64)
    expected = 2 * (2 * 0.5 * 0.25**2 + 0.5 * 0.5**2) / 9
    assert distance_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_cosines_equal_values_worked_out_by_hand() -> None:
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    r = math.sqrt(0.5)
    expected = torch.tensor(
        [
            [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[1.0, 0.0, r], [0.0, 0.0, 0.0], [r, 0.0, 1.0]],
            [[1.0, r, 0.0], [r, 1.0, 0.0], [0.0, 0.0, 0.0]],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(angle_cosines(points), expected)


def test_the_angle_loss_equals_a_value_worked_out_by_hand() -> None:
    # On a line the cosines at the ends are 1 and in the middle -1; in the triangle all are 1/2.
    student = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    teacher = torch.eye(3, dtype=torch.float64)
    expected = 2 * (2 * 0.5 * 0.5**2 + (1.5 - 0.5)) / 27
    assert angle_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-6)])
def test_the_gram_form_equals_the_direct_form(dtype: torch.dtype, tolerance: float) -> None:
    # Post-ReLU maps with an offset: the mean is large against the differences.
    student = normal(12, 6, 4, 4).relu() + 3
    teacher = normal(12, 40, seed=1)
    loss = distance_loss(student.to(dtype), teacher.to(dtype)).item()
    expected = _direct_distance_loss(student, teacher).item()
    assert loss == pytest.approx(expected, rel=tolerance)
    loss = angle_loss(student.to(dtype), teacher.to(dtype)).item()
    expected = functional.smooth_l1_loss(_direct_cosines(student), _direct_cosines(teacher)).item()
    assert loss == pytest.approx(expected, rel=tolerance)


def test_the_gram_form_has_the_gradient_of_the_direct_form() -> None:
    student, teacher = normal(5, 4).requires_grad_(), normal(5, 3, seed=1)
    for loss, direct in (
        (distance_loss(student, teacher), _direct_distance_loss(student, teacher)),
        (
            angle_loss(student, teacher),
            functional.smooth_l1_loss(_direct_cosines(student), _direct_cosines(teacher)),
        ),
    ):
        (expected,) = torch.autograd.grad(direct, student)
        (gradient,) = torch.autograd.grad(loss, student)
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_the_gradient_passes_the_mean_distance_and_never_reaches_the_teacher(loss: Loss) -> None:
    student, teacher = normal(4, 3).requires_grad_(), normal(4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)
    loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_moving_scaling_or_rotating_all_embeddings_changes_nothing(loss: Loss) -> None:
    student, teacher = normal(6, 5), normal(6, 5, seed=1)
    rotation = torch.linalg.qr(normal(5, 5, seed=2)).Q
    moved = 3 * student @ rotation + 7
    torch.testing.assert_close(loss(moved, teacher), loss(student, teacher))
    assert loss(moved, student).item() == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_coincident_embeddings_give_small_gradients(loss: Loss, dtype: torch.dtype) -> None:
    student = normal(8, 64).to(dtype) + 5
    student[1] = student[0]
    student[5] = student[0]
    student.requires_grad_()
    teacher = normal(8, 64, seed=1).to(dtype)
    (gradient,) = torch.autograd.grad(loss(student, teacher), student)
    assert gradient.abs().max() < 0.1
    assert gradient[0].any()  # of the pairs that are apart


def test_coincident_embeddings_count_as_pairs_at_no_distance() -> None:
    student = torch.tensor([[0.0], [0.0], [3.0]], dtype=torch.float64)
    teacher = torch.eye(3, dtype=torch.float64)
    # The mean over all three pairs is 2: 0, 1.5 and 1.5 against 1, up to the 1e-6 for 0.
    expected = 2 * (0.5 * 1 + 2 * 0.5 * 0.5**2) / 9
    assert distance_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(angle_cosines(student)[0, 1], torch.zeros(3))
    torch.testing.assert_close(angle_cosines(student), _direct_cosines(student))


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_a_collapsed_or_single_embedding_has_a_finite_loss_and_no_gradient(loss: Loss) -> None:
    for count in (1, 4):
        student = torch.full((count, 3), 0.7, requires_grad=True)
        value = loss(student, normal(count, 3).float())
        (gradient,) = torch.autograd.grad(value, student)
        assert value.isfinite()
        assert not gradient.any()
        assert loss(normal(count, 3), torch.ones(count, 3).double()).isfinite()


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_half_precision_embeddings_are_compared_in_float32(loss: Loss) -> None:
    student, teacher = (normal(4, 64, 8, 8, seed=seed).half() * 10 for seed in (0, 1))
    exact = loss(student.float(), teacher.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
        inside = loss(student.float(), teacher.float())
    assert value.dtype == torch.float32
    assert torch.equal(value, exact)
    assert torch.equal(inside, exact)


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_nothing_as_large_as_batch_times_batch_times_width_is_kept(loss: Loss) -> None:
    batch, width = 16, 4096
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    student = normal(batch, width).float().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss(student, normal(batch, width, seed=1).float())
    assert max(sizes) == batch * width


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_embeddings_of_another_batch_are_refused(loss: Loss) -> None:
    with pytest.raises(ValueError, match=r"of one batch, got \(3, 2\) and \(4, 2\)"):
        loss(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="of one batch"):
        loss(torch.zeros(3), torch.zeros(3))


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("rkd", {"ce": 1.0, "rkd_distance": 25.0, "rkd_angle": 50.0}),
        ("rkd_d", {"ce": 1.0, "rkd_distance": 25.0}),
        ("rkd_a", {"ce": 1.0, "rkd_angle": 50.0}),
    ],
)
def test_the_three_methods_differ_by_their_weights(name: str, weights: dict[str, float]) -> None:
    assert make_scene(name).weights() == weights


def test_the_method_reads_the_flattened_map_or_the_pooled_vector() -> None:
    for tap in ("block3", "pooled"):
        scene = make_scene("rkd", tap=tap)
        step = scene.step()
        student, teacher = step.student.taps[tap], step.teacher.taps[tap]
        distance = scene.objective.term("rkd_distance", step)
        assert torch.equal(distance, distance_loss(student, teacher))
        assert torch.equal(scene.objective.term("rkd_angle", step), angle_loss(student, teacher))
