import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Batch, Feature, Moment, Outputs, Pair, Step
from kdtune.objectives.fsp import TAPS, FlowOfSolution, fsp_loss, fsp_matrix

WARMUP = Moment(phase="warmup")
SHAPES = ((2, 8, 8), (3, 8, 8), (4, 4, 4), (5, 2, 2))


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _pair(student: tuple[tuple[int, ...], ...], teacher: tuple[tuple[int, ...], ...]) -> Pair:
    return Pair(
        student={tap: Feature(shape=s) for tap, s in zip(TAPS, student, strict=True)},
        teacher={tap: Feature(shape=s) for tap, s in zip(TAPS, teacher, strict=True)},
        labels=torch.arange(4),
        classes=4,
        mean=(0.0,),
        std=(1.0,),
    )


def _taps(seed: int) -> dict[str, Tensor]:
    return {
        tap: _random(3, *shape, seed=seed + i).requires_grad_()
        for i, (tap, shape) in enumerate(zip(TAPS, SHAPES, strict=True))
    }


def test_a_matrix_equals_one_worked_out_by_hand() -> None:
    first = torch.tensor([[[[1.0, 2.0]], [[0.0, -1.0]]]])
    second = torch.tensor([[[[3.0, 5.0]]]])
    torch.testing.assert_close(fsp_matrix(first, second), torch.tensor([[[6.5], [-2.5]]]))


def test_a_matrix_is_the_mean_over_positions_of_products_of_channels() -> None:
    first, second = _random(2, 3, 4, 5), _random(2, 6, 4, 5, seed=1)
    expected = torch.einsum("bihw,bjhw->bij", first, second) / 20
    torch.testing.assert_close(fsp_matrix(first, second), expected)


def test_the_larger_map_is_pooled_whichever_it_is() -> None:
    large, small = _random(2, 3, 4, 4), _random(2, 5, 2, 2, seed=1)
    for pool, pooled in (
        ("average", functional.avg_pool2d(large, 2)),
        ("max", functional.max_pool2d(large, 2)),
    ):
        expected = torch.einsum("bihw,bjhw->bij", pooled, small) / 4
        torch.testing.assert_close(fsp_matrix(large, small, pool), expected)  # type: ignore[arg-type]
        torch.testing.assert_close(fsp_matrix(small, large, pool), expected.mT)  # type: ignore[arg-type]


def test_the_loss_is_the_mean_square_over_entries_and_samples() -> None:
    student, teacher = torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    two = torch.full((2, 2, 4, 4), 3.0)
    two[1] = 1.0
    # Matrices of ones against threes in the first sample, equal ones in the second.
    assert fsp_loss((student, two), (teacher, torch.ones(2, 2, 2, 2))).item() == pytest.approx(2)


def test_the_networks_may_differ_in_the_size_of_their_maps() -> None:
    student = (torch.ones(2, 3, 8, 8), torch.ones(2, 5, 4, 4))
    teacher = (torch.ones(2, 3, 6, 6), torch.ones(2, 5, 3, 3))
    assert fsp_loss(student, teacher).item() == 0


@pytest.mark.parametrize("pool", ["average", "max"])
def test_the_gradient_is_that_of_the_formula_and_spares_the_teacher(pool: str) -> None:
    first, second = _random(2, 2, 4, 4).requires_grad_(), _random(2, 3, 2, 2, seed=1)
    second.requires_grad_()
    teacher = (_random(2, 2, 4, 4, seed=2).requires_grad_(), _random(2, 3, 2, 2, seed=3))
    assert torch.autograd.gradcheck(
        lambda a, b: fsp_loss((a, b), teacher, pool),  # type: ignore[arg-type]
        (first, second),
    )
    fsp_loss((first, second), teacher).backward()
    assert first.grad is not None
    assert second.grad is not None
    assert teacher[0].grad is None


def test_half_precision_is_promoted_even_under_autocast() -> None:
    features = torch.full((1, 2, 8, 8), 300.0, dtype=torch.float16)  # the products are no float16
    assert fsp_matrix(features, features).eq(90000).all()
    first, second = _random(2, 3, 4, 4).float(), _random(2, 3, 4, 4, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = fsp_matrix(first, second)
    assert torch.equal(inside, fsp_matrix(first, second))


def test_bad_maps_are_refused() -> None:
    maps = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"maps of one batch, got \(2, 3, 4, 4\) and \(2, 3\)"):
        fsp_matrix(maps, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="of one batch"):
        fsp_matrix(maps, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="must be 'average' or 'max', got 'min'"):
        fsp_matrix(maps, maps, "min")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got \(2, 3, 3\) and \(2, 3, 5\)"):
        fsp_loss((maps, maps), (maps, torch.zeros(2, 5, 4, 4)))


def test_unequal_channels_are_refused_with_tap_and_both_shapes() -> None:
    wide = (*SHAPES[:2], (8, 4, 4), SHAPES[3])
    with pytest.raises(ValueError, match=r"'block2' has shape \(4, 4, 4\) .* and \(8, 4, 4\)"):
        FlowOfSolution().check(_pair(SHAPES, wide))
    FlowOfSolution().check(_pair(SHAPES, SHAPES))


def test_the_first_stage_is_three_matrices_and_the_second_kd() -> None:
    method = FlowOfSolution()
    assert method.weights(WARMUP) == {"fsp1": 1.0, "fsp2": 3.0, "fsp3": 1.0}
    assert method.weights(Moment()) == {"ce": pytest.approx(0.1), "kd": 0.9}


def test_a_warm_up_without_weights_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be > 0, got 0 for all"):
        FlowOfSolution(weight1=0.0, weight2=0.0, weight3=0.0)
    FlowOfSolution(weight1=0.0, weight3=0.0)


@pytest.mark.parametrize("pool", ["average", "max"])
def test_each_term_compares_two_neighbouring_taps(pool: str) -> None:
    method = FlowOfSolution(pool=pool)
    student, teacher = _taps(0), _taps(10)
    labels = torch.arange(3)
    step = Step(
        batch=Batch(index=labels, images=torch.zeros(3, 1, 8, 8), labels=labels),
        student=Outputs(logits=torch.zeros(3, 4), taps=student),
        teacher=Outputs(logits=torch.zeros(3, 4), taps=teacher),
    )
    for name, (first, second) in {
        "fsp1": ("stem", "block1"),
        "fsp2": ("block1", "block2"),
        "fsp3": ("block2", "block3"),
    }.items():
        ours, theirs = (student[first], student[second]), (teacher[first], teacher[second])
        value = method.term(name, step)
        torch.testing.assert_close(value, fsp_loss(ours, theirs, pool))  # type: ignore[arg-type]
        value.backward()
    assert all(features.grad is not None for features in student.values())
    assert all(features.grad is None for features in teacher.values())


def test_equal_networks_have_no_loss() -> None:
    method, taps = FlowOfSolution(), _taps(0)
    labels = torch.arange(3)
    outputs = Outputs(logits=torch.zeros(3, 4), taps=taps)
    batch = Batch(index=labels, images=torch.zeros(3, 1, 8, 8), labels=labels)
    step = Step(batch=batch, student=outputs, teacher=outputs)
    assert method.traits.zero_at_match
    assert all(method.term(name, step).item() == 0 for name in method.weights(WARMUP))
