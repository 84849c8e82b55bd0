import math

import pytest
import torch
from torch import Tensor

from kdtune.contracts import Batch
from kdtune.training.pick import (
    divergences,
    entropies,
    label_disagreement,
    largest,
    mean_kld_ratio,
    pick,
)

EVEN = (0.5, 0.5)
SURE = (0.8, 0.2)


def logits(*rows: tuple[float, ...]) -> Tensor:
    """Logits whose softmax is those rows."""
    return torch.tensor(rows).log()


def mixed(count: int, *, lam: float = 0.7) -> Batch:
    """``count`` images that hold their own position."""
    return Batch(
        index=torch.arange(count),
        images=torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1),
        labels=torch.zeros(count, dtype=torch.int64),
        partner_labels=torch.ones(count, dtype=torch.int64),
        lam=torch.full((count,), lam),
    )


class Network:
    """Says of image ``n`` what row ``n`` of a table says; counts how often it is asked."""

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.asked = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.asked += 1
        return self.table[images.flatten().long()]


def test_a_divergence_equals_a_value_worked_out_by_hand() -> None:
    found = divergences(logits(SURE, EVEN), logits(EVEN, EVEN), 1.0)
    expected = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    torch.testing.assert_close(found, torch.tensor([expected, 0.0], dtype=torch.float64))


def test_a_divergence_is_softened_and_not_rescaled() -> None:
    # At T = 2 the odds of 0.8 to 0.2 shrink from 4 to 2.
    found = divergences(logits(SURE), logits(EVEN), 2.0)
    expected = 0.5 * math.log(0.5 / (2 / 3)) + 0.5 * math.log(0.5 / (1 / 3))
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64))


def test_an_entropy_is_in_nats_and_that_of_certainty_is_0() -> None:
    found = entropies(torch.tensor([[0.0, 0.0], [200.0, 0.0], [math.log(4), 0.0]]))
    of_sure = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    torch.testing.assert_close(found, torch.tensor([math.log(2), 0.0, of_sure]))


def test_the_largest_keep_their_order_and_of_equal_ones_the_first_stay() -> None:
    assert largest(torch.tensor([1.0, 5.0, 2.0, 5.0]), 2).tolist() == [1, 3]
    assert largest(torch.tensor([3.0, 1.0, 7.0]), 2).tolist() == [0, 2]
    assert largest(torch.ones(6), 3).tolist() == [0, 1, 2]


def test_the_ratio_equals_a_value_worked_out_by_hand() -> None:
    ratio = mean_kld_ratio(torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([2, 3]))
    assert ratio.item() == 4.5 / 3


@pytest.mark.parametrize("seed", range(5))
def test_the_ratio_of_the_largest_is_at_least_1(seed: int) -> None:
    divergence = torch.rand(10, generator=torch.Generator().manual_seed(seed))
    assert mean_kld_ratio(divergence, largest(divergence, 5)) >= 1


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_the_ratio_is_1_where_all_are_equal(value: float) -> None:
    assert mean_kld_ratio(torch.full((4,), value), torch.tensor([0, 1])) == 1


@pytest.mark.parametrize(
    ("lam", "top", "disagrees"),
    [(0.7, 0, 0), (0.7, 1, 1), (0.3, 0, 1), (0.3, 1, 0), (0.5, 0, 0), (0.5, 1, 1)],
)
def test_the_larger_part_has_the_label_and_a_tie_counts_for_the_image(
    lam: float, top: int, disagrees: int
) -> None:
    said = torch.zeros(1, 3)
    said[0, top] = 1
    found = label_disagreement(said, mixed(1, lam=lam))
    assert (found["label_disagreement"], found["label_outside"]) == (disagrees, 0)


def test_a_class_of_neither_image_is_outside() -> None:
    said = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = label_disagreement(said, mixed(4))
    assert (found["label_disagreement"], found["label_outside"]) == (0.5, 0.25)


TEACHER = logits(EVEN, EVEN, (0.9, 0.1), (0.7, 0.3))
STUDENT = logits(EVEN, (0.9, 0.1), (0.6, 0.4), (0.6, 0.4))


@pytest.mark.parametrize(
    ("criterion", "rows"),
    [("kld", [1, 2]), ("teacher_entropy", [0, 1]), ("student_entropy", [0, 2])],
)
def test_the_half_with_the_largest_scores_is_picked(criterion: str, rows: list[int]) -> None:
    teacher, student = Network(TEACHER), Network(STUDENT)
    picked = pick(
        mixed(4),
        criterion=criterion,  # type: ignore[arg-type]
        student=student,
        teacher=teacher,
        temperature=1.0,
    )
    assert picked.batch.index.tolist() == rows
    assert picked.batch.images.flatten().tolist() == rows
    assert len(picked.batch.labels) == 2
    assert teacher.asked == (criterion != "student_entropy")
    assert student.asked == (criterion != "teacher_entropy")
    if teacher.asked:
        assert picked.teacher_logits is not None
        assert torch.equal(picked.teacher_logits, TEACHER[rows])
    else:
        assert picked.teacher_logits is None


def test_only_the_divergence_has_a_ratio() -> None:
    def ratio(criterion: str) -> Tensor | None:
        return pick(
            mixed(4),
            criterion=criterion,  # type: ignore[arg-type]
            student=Network(STUDENT),
            teacher=Network(TEACHER),
            temperature=1.0,
        ).kld_ratio

    pool = divergences(STUDENT, TEACHER, 1.0)
    found = ratio("kld")
    assert found is not None
    torch.testing.assert_close(found, pool[[1, 2]].mean() / pool.mean())
    assert (ratio("teacher_entropy"), ratio("student_entropy")) == (None, None)


def test_the_students_entropy_needs_no_teacher() -> None:
    picked = pick(
        mixed(4),
        criterion="student_entropy",
        student=Network(STUDENT),
        teacher=None,
        temperature=1.0,
    )
    assert picked.batch.index.tolist() == [0, 2]
