import math
from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Batch, Feature, Moment, Outputs, Pair, Step
from kdtune.objectives.crd import (
    ContrastiveRepresentation,
    ContrastMemory,
    OtherClasses,
    contrast_loss,
    moved_rows,
    similarity_scores,
)

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 1])
METHOD = ContrastiveRepresentation(dim=5, negatives=4)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=_generator(seed), dtype=torch.float64)


def _pair(labels: Tensor = LABELS, student: tuple[int, ...] = (3,)) -> Pair:
    return Pair(
        student={"pooled": Feature(shape=student)},
        teacher={"pooled": Feature(shape=(4,))},
        labels=labels,
        classes=3,
        mean=(0.0,),
        std=(1.0,),
    )


def _memory(method: ContrastiveRepresentation = METHOD) -> ContrastMemory:
    torch.manual_seed(0)
    memory = method.companion(Moment(), _pair())
    assert isinstance(memory, ContrastMemory)
    return memory


def _step(
    memory: ContrastMemory,
    index: Tensor,
    seed: int = 0,
    draws: Callable[[str], torch.Generator] | None = None,
) -> Step:
    student = _random(len(index), 3, seed=seed).float().requires_grad_()
    teacher = _random(len(index), 4, seed=seed + 1).float().requires_grad_()
    return Step(
        batch=Batch(index=index, images=torch.zeros(len(index), 1, 8, 8), labels=LABELS[index]),
        student=Outputs(logits=torch.zeros(len(index), 3), taps={"pooled": student}),
        teacher=Outputs(logits=torch.zeros(len(index), 3), taps={"pooled": teacher}),
        companion=memory,
        draws=draws or (lambda name: _generator(seed)),
    )


def test_the_loss_equals_a_value_worked_out_by_hand() -> None:
    # K / N = 1: -log(1/2) for the own score of 1, log 2 and log 4 for negatives of 1 and 3.
    scores = torch.tensor([[1.0, 1.0, 3.0]], dtype=torch.float64)
    expected = math.log(2) + math.log(2) + math.log(4)
    assert contrast_loss(scores, samples=2).item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_the_mean_over_samples_and_the_sum_over_negatives() -> None:
    scores = _random(5, 8).exp()
    chance = 7 / 30
    own = torch.log(scores[:, 0] / (scores[:, 0] + chance + 1e-7))
    others = torch.log(chance / (scores[:, 1:] + chance + 1e-7)).sum(1)
    torch.testing.assert_close(contrast_loss(scores, 30), -(own + others).mean())


def test_the_loss_vanishes_as_only_the_own_score_is_large() -> None:
    scores = torch.tensor([[1e9, 0.0, 0.0]], dtype=torch.float64)
    assert contrast_loss(scores, 1000).item() == pytest.approx(0, abs=1e-3)


def test_float32_is_enough_for_all_negatives() -> None:
    scores = torch.rand(4, 16385, generator=_generator(0), dtype=torch.float64) / 22500
    single, double = contrast_loss(scores.float(), 45000), contrast_loss(scores, 45000)
    assert single.item() == pytest.approx(double.item(), rel=1e-6)


def test_the_gradient_of_the_loss_is_that_of_the_formula() -> None:
    scores = _random(3, 4).exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda o: contrast_loss(o, 12), scores)


def test_scores_without_negatives_are_refused() -> None:
    with pytest.raises(ValueError, match=r"K >= 1, got \(3, 1\)"):
        contrast_loss(torch.ones(3, 1), 10)
    with pytest.raises(ValueError, match="samples must be >= 1, got 0"):
        contrast_loss(torch.ones(3, 2), 0)


def test_scores_are_exponentials_of_products_with_rows_of_the_bank() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    bank = torch.tensor([[0.0, 0.5], [1.0, -1.0], [0.25, 0.0]])
    index = torch.tensor([[2, 1], [0, 0]])
    expected = torch.tensor([[0.5, 2.0], [1.0, 1.0]]).exp()
    torch.testing.assert_close(similarity_scores(embeddings, bank, index, 0.5), expected)


def test_scores_pass_gradients_to_the_embeddings_alone() -> None:
    embeddings, bank = _random(3, 4).requires_grad_(), _random(6, 4, seed=1).requires_grad_()
    index = torch.tensor([[0, 1], [5, 5], [2, 4]])
    assert torch.autograd.gradcheck(
        lambda v: similarity_scores(v, bank.detach(), index, 0.7), embeddings
    )
    similarity_scores(embeddings, bank, index, 0.7).sum().backward()
    assert bank.grad is None


def test_scores_are_taken_in_full_precision_under_autocast() -> None:
    embeddings, bank = _random(3, 4).float(), _random(6, 4, seed=1).float()
    index = torch.zeros(3, 2, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        inside = similarity_scores(embeddings, bank, index, 0.07)
    assert torch.equal(inside, similarity_scores(embeddings, bank, index, 0.07))


def test_bad_scores_are_refused() -> None:
    index = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        similarity_scores(torch.ones(2, 4), torch.ones(5, 4), index, 0)
    with pytest.raises(ValueError, match=r"got \(2, 4\), \(5, 3\) and \(2, 3\)"):
        similarity_scores(torch.ones(2, 4), torch.ones(5, 3), index, 0.07)


def test_rows_move_half_way_and_come_back_to_unit_length() -> None:
    rows, embeddings = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]], requires_grad=True)
    half = math.sqrt(0.5)
    torch.testing.assert_close(moved_rows(rows, embeddings, 0.5), torch.tensor([[half, half]]))
    torch.testing.assert_close(moved_rows(rows, embeddings, 0.0), embeddings.detach())
    assert not moved_rows(rows, embeddings, 0.5).requires_grad


@pytest.mark.parametrize("count", [1, 6, 40])
def test_negatives_never_share_the_class(count: int) -> None:
    index = torch.arange(len(LABELS))
    drawn = OtherClasses(LABELS).draw(index, count=count, generator=_generator(3))
    assert drawn.shape == (len(LABELS), count)
    assert (LABELS[drawn] != LABELS[:, None]).all()


def test_negatives_come_once_as_long_as_there_are_enough() -> None:
    # Of 12 samples, 4, 5 and 3 are of class 0, 1 and 2: 8, 7 and 9 remain.
    index = torch.tensor([0, 1, 2])
    drawn = OtherClasses(LABELS).draw(index, count=8, generator=_generator(0))
    assert [len(row.unique()) == 8 for row in drawn] == [True, False, True]
    every = OtherClasses(LABELS).draw(index[:1], count=8, generator=_generator(0))
    assert sorted(every[0].tolist()) == [1, 2, 4, 5, 7, 8, 10, 11]


@pytest.mark.parametrize("count", [3, 20])
def test_every_sample_of_another_class_is_drawn_as_often(count: int) -> None:
    others = OtherClasses(LABELS)
    index = torch.zeros(2000, dtype=torch.int64)
    drawn = others.draw(index, count=count, generator=_generator(0))
    share = torch.bincount(drawn.flatten(), minlength=12) / drawn.numel()
    expected = (LABELS != 0) / 8
    torch.testing.assert_close(share, expected, rtol=0, atol=0.01)


def test_negatives_are_a_function_of_the_draws() -> None:
    others, index = OtherClasses(LABELS), torch.arange(12)
    first, again, other = (
        others.draw(index, count=5, generator=_generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_labels_need_be_neither_sorted_nor_dense() -> None:
    labels = torch.tensor([7, 2, 7, 2, 9])
    drawn = OtherClasses(labels).draw(torch.tensor([4, 0]), count=3, generator=_generator(0))
    assert (labels[drawn] != torch.tensor([[9], [7]])).all()


def test_the_banks_start_uniform_with_rows_of_about_unit_length() -> None:
    memory = ContrastMemory(student_width=3, teacher_width=4, labels=torch.arange(2000), dim=128)
    for bank in (memory.student_bank, memory.teacher_bank):
        assert bank.shape == (2000, 128)
        assert bank.abs().max().item() == pytest.approx(math.sqrt(3 / 128), rel=1e-3)
        assert bank.square().sum(1).mean().item() == pytest.approx(1, rel=0.01)
    assert not torch.equal(memory.student_bank, memory.teacher_bank)


def test_the_term_equals_its_formula_written_row_by_row() -> None:
    memory, index = _memory(), torch.tensor([1, 4, 9])
    step = _step(memory, index)
    banks = memory.student_bank.clone(), memory.teacher_bank.clone()
    negatives = memory.others.draw(index, count=4, generator=_generator(0))
    picked = torch.cat([index[:, None], negatives], 1)
    student, teacher = (
        functional.normalize(embed(taps["pooled"]), dim=1)
        for embed, taps in (
            (memory.embed_student, step.student.taps),
            (memory.embed_teacher, step.teacher.taps),  # type: ignore[union-attr]
        )
    )
    expected = torch.zeros(())
    for vectors, bank in ((student, banks[1]), (teacher, banks[0])):
        scores = torch.stack(
            [torch.exp(bank[row] @ v / 0.07) for row, v in zip(picked, vectors, strict=True)]
        )
        expected = expected + contrast_loss(scores / (scores.mean() * 12).detach(), 12)
    torch.testing.assert_close(METHOD.term("crd", step), expected)


def test_gradients_reach_student_and_embeddings_and_never_the_teacher() -> None:
    memory = _memory()
    step = _step(memory, torch.tensor([0, 1, 2, 3]))
    assert step.teacher is not None
    METHOD.term("crd", step).backward()
    assert step.student.taps["pooled"].grad is not None
    assert all(p.grad is not None for p in memory.parameters())
    assert step.teacher.taps["pooled"].grad is None


def test_only_the_rows_of_the_batch_move_and_stay_of_unit_length() -> None:
    memory, index = _memory(), torch.tensor([2, 5])
    before = memory.student_bank.clone(), memory.teacher_bank.clone()
    METHOD.term("crd", _step(memory, index)).backward()
    for old, new in zip(before, (memory.student_bank, memory.teacher_bank), strict=True):
        moved = (old != new).any(1)
        assert moved.nonzero().flatten().tolist() == [2, 5]
        torch.testing.assert_close(new[index].norm(dim=1), torch.ones(2))


def test_the_constants_are_those_of_the_first_batch() -> None:
    memory = _memory()
    assert memory.student_total == memory.teacher_total == 0
    METHOD.term("crd", _step(memory, torch.tensor([0, 1, 2])))
    first = memory.student_total, memory.teacher_total
    assert all(total > 0 for total in first)
    METHOD.term("crd", _step(memory, torch.tensor([3, 4, 5]), seed=5))
    assert (memory.student_total, memory.teacher_total) == first


def test_a_restored_memory_gives_the_same_next_losses() -> None:
    memory = _memory()
    METHOD.term("crd", _step(memory, torch.tensor([0, 1, 2])))
    torch.manual_seed(99)
    restored = METHOD.companion(Moment(), _pair())
    assert isinstance(restored, ContrastMemory)
    restored.load_state_dict(memory.state_dict())
    for seed, index in ((4, [1, 2, 3]), (8, [0, 1, 11])):
        ours, theirs = (
            METHOD.term("crd", _step(m, torch.tensor(index), seed=seed)) for m in (memory, restored)
        )
        assert torch.equal(ours, theirs)
    assert torch.equal(memory.teacher_bank, restored.teacher_bank)


def test_a_state_keeps_what_it_was_while_training_goes_on() -> None:
    memory = _memory()
    state = memory.state_dict()
    kept = {name: value.clone() for name, value in state.items() if "embed" not in name}
    METHOD.term("crd", _step(memory, torch.tensor([0, 1, 2])))
    assert all(torch.equal(state[name], value) for name, value in kept.items())


def test_the_negatives_come_from_draws_of_their_own_name() -> None:
    names: list[str] = []

    def draws(name: str) -> torch.Generator:
        names.append(name)
        return _generator(0)

    METHOD.term("crd", _step(_memory(), torch.tensor([0, 1]), draws=draws))
    assert names == ["negatives"]


def test_a_pair_without_vectors_or_without_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 2, 2\) of the student and \(4,\) of"):
        METHOD.check(_pair(student=(3, 2, 2)))
    with pytest.raises(ValueError, match=r"the 6 training samples have the labels \[1\] alone"):
        METHOD.check(_pair(labels=torch.ones(6, dtype=torch.int64)))
    METHOD.check(_pair())


def test_labels_count_1_alone_or_beside_soft_labels() -> None:
    assert METHOD.weights(Moment()) == {"ce": 1.0, "kd": 0.0, "crd": 0.8}
    both = ContrastiveRepresentation(alpha=1.0, ce_weight=1.0)
    assert both.weights(Moment()) == {"ce": 1.0, "kd": 1.0, "crd": 0.8}
    assert not METHOD.traits.zero_at_match


def test_the_defaults_are_the_papers() -> None:
    method = ContrastiveRepresentation()
    assert (method.dim, method.negatives, method.nce_temperature) == (128, 16384, 0.07)
    assert method.bank_momentum == 0.5


def test_the_coldest_contrast_is_finite_and_a_colder_one_refused() -> None:
    largest = math.sqrt(3)  # the longest row that a bank can start with
    row = torch.tensor([[1.0, 0.0]])
    index = torch.zeros(1, 1, dtype=torch.int64)
    assert similarity_scores(row, largest * row, index, 0.02).isfinite().all()
    with pytest.raises(ValidationError):
        ContrastiveRepresentation(nce_temperature=0.01)


def test_of_a_sample_that_is_in_a_batch_twice_the_last_one_is_remembered() -> None:
    once, twice = (
        ContrastMemory(student_width=3, teacher_width=4, labels=torch.arange(5), dim=2)
        for _ in range(2)
    )
    twice.load_state_dict(once.state_dict())
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    once.remember(torch.tensor([1, 3]), rows[1:], rows[1:], momentum=0.5)
    twice.remember(torch.tensor([3, 1, 3]), rows, rows, momentum=0.5)
    assert torch.equal(once.student_bank, twice.student_bank)
    assert torch.equal(once.teacher_bank, twice.teacher_bank)
