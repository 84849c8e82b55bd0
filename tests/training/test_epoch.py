from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from lessons import Shown, TapMean, buffers, lesson, network, same
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Batch, Moment, Step
from kdtune.objectives import OBJECTIVES, Objective
from kdtune.objectives.guided import Guided
from kdtune.training.epoch import Lesson
from kdtune.training.pick import divergences

ALPHA, T = 0.3, 2.0


def soft_labels(alpha: float = ALPHA) -> Objective:
    return OBJECTIVES.get("kd")(alpha=alpha, temperature=T)


def kl(student: Tensor, teacher: Tensor) -> Tensor:
    """``T^2 KL(teacher || student)`` from its definition."""
    p, q = (functional.softmax(logits / T, dim=1) for logits in (teacher, student))
    return T**2 * (p * (p.log() - q.log())).sum(dim=1).mean()


def views(taught: Lesson) -> Batch:
    """The only batch of the first epoch."""
    return taught.stream.batch(0, 0)


# One batch


def test_the_loss_is_cross_entropy_and_divergence_by_alpha() -> None:
    student, teacher = network(0), network(1)
    taught = lesson(soft_labels(), student=student, teacher=teacher)
    twin, batch = deepcopy(student).train(), views(taught)
    said = twin(batch.images)
    ce = functional.cross_entropy(said, batch.labels)
    loss = (1 - ALPHA) * ce + ALPHA * kl(said, teacher(batch.images))
    loss.backward()

    result = taught.epoch(0)
    assert result.loss == pytest.approx(loss.item(), rel=1e-6)
    assert result.terms["ce"] == pytest.approx(ce.item(), rel=1e-6)
    assert result.images == 8
    for moved, still in zip(student.parameters(), twin.parameters(), strict=True):
        assert still.grad is not None
        torch.testing.assert_close(moved, still - 0.1 * still.grad)


def test_raw_terms_and_weighted_ones_are_reported_apart() -> None:
    metrics = lesson(soft_labels(), student=network(0), teacher=network(1)).epoch(0).metrics()
    terms = {"train/ce", "train/kd", "weighted/ce", "weighted/kd"}
    assert set(metrics) == {"train/loss", *terms, "train/kd_soft_ce"}
    assert metrics["weighted/kd"] == ALPHA * metrics["train/kd"]
    assert metrics["train/loss"] == pytest.approx(metrics["weighted/ce"] + metrics["weighted/kd"])


def test_a_mean_counts_every_image_once_though_the_last_batch_is_smaller() -> None:
    student = network(0)
    taught = lesson(OBJECTIVES.get("scratch")(), student=student, count=10, batch_size=4, lr=1e-12)
    twin = deepcopy(student).train()
    batches = list(taught.stream.epoch(0))
    assert [len(batch.labels) for batch in batches] == [4, 4, 2]
    losses = [functional.cross_entropy(twin(b.images), b.labels) * len(b.labels) for b in batches]
    result = taught.epoch(0)
    assert result.loss == pytest.approx(torch.stack(losses).sum().item() / 10, rel=1e-5)
    assert result.images == 10


def test_the_student_trains_in_train_mode_and_the_teacher_in_eval_mode() -> None:
    student, teacher = network(0).eval(), network(1)
    students, teachers = Shown.to(student), Shown.to(teacher)
    before = buffers(teacher)
    lesson(soft_labels(), student=student, teacher=teacher).epoch(0)
    assert (students.training, teachers.training) == ([True], [False])
    assert same(buffers(teacher), before)
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_term_without_weight_is_not_computed(alpha: float) -> None:
    teacher = network(1)
    shown = Shown.to(teacher)
    result = lesson(soft_labels(alpha), student=network(0), teacher=teacher).epoch(0)
    assert set(result.terms) == ({"kd", "kd_soft_ce"} if alpha else {"ce"})
    assert len(shown) == alpha


# x and x'


@pytest.mark.parametrize("augment", ["mixup", "cutmix"])
def test_mixed_images_get_the_distillation_term_alone_besides_the_plain_ones(augment: str) -> None:
    student, teacher = network(0), network(1)
    taught = lesson(
        soft_labels(), student=student, teacher=teacher, augment=augment, plain_too=True
    )
    twin, batch = deepcopy(student).train(), views(taught)
    assert batch.mixed is not None
    plain, mixed = twin(batch.images), twin(batch.mixed.images)
    divergence = kl(plain, teacher(batch.images)), kl(mixed, teacher(batch.mixed.images))
    ce = functional.cross_entropy(plain, batch.labels)
    loss = (1 - ALPHA) * ce + ALPHA * sum(divergence)
    loss.backward()

    students, teachers = Shown.to(student), Shown.to(teacher)
    metrics = taught.epoch(0).metrics()
    assert metrics["train/loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert metrics["train/kd"] == pytest.approx(divergence[0].item(), rel=1e-5)
    assert metrics["train/kd_mixed"] == pytest.approx(divergence[1].item(), rel=1e-5)
    assert metrics["weighted/kd_mixed"] == ALPHA * metrics["train/kd_mixed"]
    for shown in (students, teachers):
        assert len(shown) == 2
        assert torch.equal(shown.images[0], batch.images)
        assert torch.equal(shown.images[1], batch.mixed.images)
    for moved, still in zip(student.parameters(), twin.parameters(), strict=True):
        assert still.grad is not None
        torch.testing.assert_close(moved, still - 0.1 * still.grad)


def test_batch_norm_sees_plain_and_mixed_images_as_two_batches() -> None:
    student = network(0)
    taught = lesson(
        soft_labels(), student=student, teacher=network(1), augment="cutmix", plain_too=True
    )
    twin, batch = deepcopy(student).train(), views(taught)
    assert batch.mixed is not None
    twin(batch.images)
    twin(batch.mixed.images)
    taught.epoch(0)
    assert int(buffers(student)["norm.num_batches_tracked"]) == 2
    assert same(buffers(student), buffers(twin))


def test_mixed_images_alone_are_trained_on_with_mixed_labels() -> None:
    student, teacher = network(0), network(1)
    taught = lesson(soft_labels(), student=student, teacher=teacher, augment="cutmix")
    twin, batch = deepcopy(student).train(), views(taught)
    assert batch.mixed is None
    assert batch.partner_labels is not None
    assert batch.lam is not None
    lam = float(batch.lam[0])
    said = twin(batch.images)
    own, partner = (
        functional.cross_entropy(said, labels) for labels in (batch.labels, batch.partner_labels)
    )
    ce = lam * own + (1 - lam) * partner
    students = Shown.to(student)
    result = taught.epoch(0)
    assert len(students) == 1
    assert result.terms["ce"] == pytest.approx(ce.item(), rel=1e-6)
    expected = (1 - ALPHA) * ce + ALPHA * kl(said, teacher(batch.images))
    assert result.loss == pytest.approx(expected.item(), rel=1e-6)
    assert "kd_mixed" not in result.terms


@pytest.mark.parametrize("plain_too", [True, False])
def test_the_teachers_doubts_about_mixed_labels_are_reported(plain_too: bool) -> None:
    teacher = network(1)
    taught = lesson(
        soft_labels(), student=network(0), teacher=teacher, augment="cutmix", plain_too=plain_too
    )
    batch = views(taught)
    mixed = batch.mixed if plain_too else batch
    assert mixed is not None
    assert mixed.partner_labels is not None
    assert mixed.lam is not None
    top = teacher(mixed.images).argmax(dim=1)
    larger = mixed.labels if mixed.lam[0] >= 0.5 else mixed.partner_labels
    assert taught.epoch(0).terms["label_disagreement"] == top.ne(larger).float().mean()


def test_without_a_teacher_at_work_only_the_plain_images_are_trained_on() -> None:
    student, teacher = network(0), network(1)
    shown = Shown.to(teacher)
    taught = lesson(
        soft_labels(0.0), student=student, teacher=teacher, augment="cutmix", plain_too=True
    )
    twin, batch = deepcopy(student).train(), views(taught)
    expected = functional.cross_entropy(twin(batch.images), batch.labels)
    assert taught.epoch(0).metrics() == {
        "train/loss": pytest.approx(expected.item()),
        "train/ce": pytest.approx(expected.item()),
        "weighted/ce": pytest.approx(expected.item()),
    }
    assert len(shown) == 0


# CutMix-pick


def picking(criterion: str = "kld", *, plain_too: bool = True, **more: Any) -> Lesson:
    return lesson(
        more.pop("objective", soft_labels()),
        augment="cutmix_pick",
        options={"criterion": criterion},
        plain_too=plain_too,
        **more,
    )


def test_the_picked_images_are_those_on_which_student_and_teacher_differ_most() -> None:
    student, teacher = network(0), network(1)
    taught = picking(student=student, teacher=teacher)
    pool = views(taught).mixed
    assert pool is not None
    assert len(pool.labels) == 16
    twin = deepcopy(student).train()
    scores = divergences(twin(pool.images), teacher(pool.images), T)
    best = scores.argsort(descending=True)[:8].sort().values
    students = Shown.to(student)
    result = taught.epoch(0)
    assert torch.equal(students.images[-1], pool.images[best])
    assert result.terms["mean_kld_ratio"] == pytest.approx(
        (scores[best].mean() / scores.mean()).item()
    )
    assert result.terms["mean_kld_ratio"] > 1
    assert result.images == 8


def test_scoring_leaves_the_students_batch_norm_the_same_bits() -> None:
    student, teacher = network(0), network(1)
    taught = picking(student=student, teacher=teacher)
    twin = deepcopy(student).train()
    students = Shown.to(student)
    taught.epoch(0)
    assert [len(images) for images in students.images] == [16, 8, 8]
    for images in students.images[1:]:
        twin(images)
    assert int(buffers(student)["norm.num_batches_tracked"]) == 2
    assert same(buffers(student), buffers(twin))


@pytest.mark.parametrize(
    ("criterion", "sizes"),
    [("kld", [16, 8]), ("teacher_entropy", [16, 8]), ("student_entropy", [8, 8])],
)
def test_the_teacher_sees_the_pool_once_and_not_again_what_was_picked(
    criterion: str, sizes: list[int]
) -> None:
    teacher = network(1)
    shown = Shown.to(teacher)
    picking(criterion, student=network(0), teacher=teacher).epoch(0)
    assert [len(images) for images in shown.images] == sizes


def test_the_kept_logits_give_the_loss_that_the_teacher_would_give_again() -> None:
    student, teacher = network(0), network(1)
    taught = picking(student=student, teacher=teacher)
    twin = deepcopy(student).train()
    students = Shown.to(student)
    result = taught.epoch(0)
    plain, picked = students.images[1:]
    twin(plain)
    expected = kl(twin(picked), teacher(picked)).item()
    assert result.terms["kd_mixed"] == pytest.approx(expected, rel=1e-5)


class TapsAndSoftLabels(Guided):
    """A toy: soft labels, and a tap that the teacher must be asked for."""

    alpha: float = ALPHA
    temperature: float = T

    def own_taps(self) -> tuple[str, ...]:
        return ("block1",)

    def own_weights(self, moment: Moment) -> dict[str, float]:
        return {"mean": 1.0}

    def own_term(self, name: str, step: Step) -> Tensor:
        assert step.teacher is not None
        return (step.student.taps["block1"].mean() - step.teacher.taps["block1"].mean()) ** 2


def test_the_teacher_sees_the_picked_images_again_where_its_taps_are_needed() -> None:
    teacher = network(1)
    shown = Shown.to(teacher)
    taught = picking(
        student=network(0), teacher=teacher, objective=TapsAndSoftLabels(), plain_too=False
    )
    result = taught.epoch(0)
    assert [len(images) for images in shown.images] == [16, 8]
    assert result.images == 8
    assert set(result.terms) >= {"ce", "kd", "mean", "mean_kld_ratio", "label_disagreement"}


def test_taps_are_read_from_the_plain_images_and_not_from_the_mixed_ones() -> None:
    objective = TapsAndSoftLabels()
    taught = lesson(
        objective, student=network(0), teacher=network(1), augment="cutmix", plain_too=True
    )
    assert "mean_mixed" not in taught.epoch(0).terms


# What a method may ask for


def test_a_method_without_a_teacher_reads_taps_all_the_same() -> None:
    assert "mean" in lesson(TapMean(taught=False), student=network(0)).epoch(0).terms


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_a_teacher_normalises_as_the_method_says_and_keeps_its_buffers(mode: str) -> None:
    student, teacher = network(0), network(1)
    taught = lesson(TapMean(teacher_bn=mode), student=student, teacher=teacher)
    batch, twin = views(taught), deepcopy(student).train()
    of_student = twin[:2](batch.images).mean()  # type: ignore[index]
    of_teacher = deepcopy(teacher).train(mode == "batch")[:2](batch.images).mean()  # type: ignore[index]
    before = buffers(teacher)
    result = taught.epoch(0)
    expected = (of_student - of_teacher) ** 2
    assert result.terms["mean"] == pytest.approx(expected.item(), abs=1e-9)
    assert same(buffers(teacher), before)
    assert not any(module.training for module in teacher.modules())


class Toy(Guided):
    """A term of the tests' own, of weight 1."""

    of_step: Callable[[Step], Tensor]

    def weights(self, moment: Moment) -> dict[str, float]:
        return {"toy": 1.0}

    def own_term(self, name: str, step: Step) -> Tensor:
        return self.of_step(step)


def test_a_step_offers_further_passes_and_draws_that_can_be_repeated() -> None:
    seen: list[Step] = []

    def note(step: Step) -> Tensor:
        seen.append(step)
        return step.student.logits.square().mean()

    student, teacher = network(0), network(1)
    lesson(Toy(of_step=note), student=student, teacher=teacher, count=16).epoch(0)
    first, second = seen
    assert first.draws is not None
    assert second.draws is not None
    numbers = [torch.rand(3, generator=step.draws("attack")) for step in (first, first, second)]  # type: ignore[misc]
    assert torch.equal(numbers[0], numbers[1])
    assert not torch.equal(numbers[0], numbers[2])
    assert first.run_student is not None
    assert first.run_teacher is not None
    images = first.batch.images.clone().requires_grad_()
    first.run_teacher(images).logits.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    tracked = int(buffers(student)["norm.num_batches_tracked"])
    still = buffers(student)
    first.run_student(images, moving=False)
    assert same(buffers(student), still)
    first.run_student(images)
    assert int(buffers(student)["norm.num_batches_tracked"]) == tracked + 1


def test_a_companion_is_trained_with_the_student() -> None:
    def of_companion(step: Step) -> Tensor:
        assert step.companion is not None
        assert step.companion.training
        found: Tensor = step.companion(step.student.logits)
        return found.square().mean()

    companion = torch.nn.Linear(3, 2).eval()
    before = companion.weight.detach().clone()
    toy = Toy(of_step=of_companion)
    lesson(toy, student=network(0), teacher=network(1), companion=companion).epoch(0)
    assert not torch.equal(companion.weight, before)


def test_the_rate_follows_the_schedule_step_by_step() -> None:
    taught = lesson(
        OBJECTIVES.get("scratch")(),
        student=network(0),
        count=16,
        lr=0.4,
        schedule="cosine",
    )
    rates = []
    taught.after_backward = lambda: rates.append(taught.optimizer.param_groups[0]["lr"])
    taught.epoch(0)
    taught.epoch(1)
    assert rates == pytest.approx([0.4, 0.4 * (1 + 0.5**0.5) / 2, 0.2, 0.4 * (1 - 0.5**0.5) / 2])


def test_what_is_added_after_the_gradients_moves_the_student() -> None:
    def moved(penalty: float) -> Tensor:
        student = network(0)
        taught = lesson(OBJECTIVES.get("scratch")(), student=student)
        scale = student.get_submodule("norm").weight

        def shrink() -> None:
            assert isinstance(scale, Tensor)
            assert scale.grad is not None
            scale.grad.add_(penalty)

        taught.after_backward = shrink
        taught.epoch(0)
        return scale.detach()  # type: ignore[return-value]

    torch.testing.assert_close(moved(0.0) - moved(0.5), torch.full((4,), 0.05))
