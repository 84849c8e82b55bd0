from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from scenes import Scene, make_batch, make_scene, normal
from torch import Tensor, nn

from kdtune.contracts import Moment, Outputs, Step
from kdtune.objectives import OBJECTIVES
from kdtune.objectives.bss import (
    PixelRange,
    base_samples,
    boundary_samples,
    boundary_share,
    soft_share,
    target_classes,
)
from kdtune.objectives.soft_labels import soft_cross_entropy

Predict = Callable[[Tensor], Tensor]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _linear(weights: Tensor) -> Predict:
    return lambda images: images.flatten(1) @ weights.T


def test_samples_that_either_network_gets_wrong_are_no_base() -> None:
    right = torch.eye(3).repeat(4, 1)[:4]  # predictions 0, 1, 2, 0
    student, teacher = right.clone(), right.clone()
    student[1] = torch.tensor([1.0, 0.0, 0.0])
    teacher[2] = torch.tensor([0.0, 1.0, 0.0])
    labels = torch.tensor([0, 1, 2, 0])
    assert base_samples(student, teacher, labels, 8).tolist() == [0, 3]
    assert base_samples(student, teacher, 1 - labels, 8).tolist() == []


def test_beyond_the_limit_those_with_the_most_different_wrong_classes_are_kept() -> None:
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.6, 0.2, 0.2]])
    student = torch.tensor([[0.8, 0.15, 0.05], [0.8, 0.0999, 0.1001], [0.9, 0.05, 0.05]])
    # Squared differences of the wrong classes: 0.005, about 0, 0.045.
    labels = torch.zeros(3, dtype=torch.int64)
    kept = base_samples(student.log() + 5, probabilities.log(), labels, 2)
    assert kept.tolist() == [2, 0]


def test_the_true_class_does_not_count_in_the_choice() -> None:
    teacher = torch.tensor([[0.5, 0.3, 0.2], [0.90, 0.05, 0.05]]).log()
    student = torch.tensor([[0.5, 0.2, 0.3], [0.74, 0.13, 0.13]]).log()
    # Wrong classes: 0.02 and 0.0128; with the true class the second would have 0.0384.
    assert base_samples(student, teacher, torch.zeros(2, dtype=torch.int64), 1).tolist() == [0]


def test_targets_follow_the_teacher_but_for_its_first_choice() -> None:
    logits = torch.tensor([0.1, 0.6, 0.2, 0.1]).log().repeat(40_000, 1)
    shares = target_classes(logits, _generator()).bincount(minlength=4) / 40_000
    torch.testing.assert_close(shares, torch.tensor([0.25, 0, 0.5, 0.25]), atol=0.01, rtol=0)


def test_a_certain_teacher_has_targets_too() -> None:
    logits = torch.tensor([0.0, 1e4, -1e4]).repeat(50, 1)
    assert target_classes(logits, _generator()).unique().tolist() == [0]
    equal = torch.tensor([0.0, 1e4, 0.0]).repeat(50, 1)
    assert target_classes(equal, _generator()).unique().tolist() == [0, 2]


def test_targets_are_drawn_sample_by_sample() -> None:
    logits = normal(6, 4)
    first = target_classes(logits, _generator())
    assert torch.equal(first, target_classes(logits, _generator()))
    logits[3] += normal(4, seed=1)
    others = torch.arange(6) != 3
    assert torch.equal(target_classes(logits, _generator())[others], first[others])


def test_a_linear_teacher_is_approached_as_worked_out_by_hand() -> None:
    # z = (2 x, 0): the gap 2 x is multiplied by 1 - 2 * 0.25 a step, up to the 1e-4.
    predict = _linear(torch.tensor([[2.0], [0.0]], dtype=torch.float64))
    image = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    for steps in (1, 2, 5):
        moved = boundary_samples(
            predict, image, torch.tensor([1]), low=-9, high=9, step_size=0.25, num_steps=steps
        )
        gap = (6 + 1e-4) * 0.5**steps - 1e-4
        assert moved.item() == pytest.approx(gap / 2, rel=1e-9)


def test_a_step_has_the_length_of_the_gap_and_not_of_the_gradient() -> None:
    weights = normal(3, 12)
    images = normal(5, 3, 2, 2, seed=1)
    logits = _linear(weights)(images)
    targets = logits.argmin(dim=1)
    moved = boundary_samples(
        _linear(weights), images, targets, low=-99, high=99, step_size=0.01, num_steps=1
    )
    gap = logits.max(dim=1).values - logits.min(dim=1).values
    length = (moved - images).flatten(1).norm(dim=1)
    torch.testing.assert_close(length, 0.01 * (gap + 1e-4))


def test_a_sample_stops_just_across_the_boundary_whatever_the_others_do() -> None:
    predict = _linear(torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    images = torch.tensor([0.5, 100.0], dtype=torch.float64)[:, None, None, None]
    targets = torch.tensor([1, 1])
    options = {"low": -999.0, "high": 999.0, "step_size": 1.0}
    both = boundary_samples(predict, images, targets, num_steps=10, **options)
    torch.testing.assert_close(both.flatten(), torch.tensor([-1e-4, -1e-4]).double())
    slow = {**options, "step_size": 0.5}
    together = boundary_samples(predict, images, targets, num_steps=13, **slow)
    alone = boundary_samples(predict, images[:1], targets[:1], num_steps=13, **slow)
    assert torch.equal(together[:1], alone)
    assert alone.item() < 0 < together[1].item()


def test_no_step_is_made_when_the_prediction_has_left_its_first_class() -> None:
    calls = 0

    def predict(images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return _linear(torch.tensor([[1.0], [0.0]]))(images)

    boundary_samples(
        predict, torch.ones(1, 1, 1, 1), torch.tensor([1]), low=-9, high=9, step_size=2.0
    )
    assert calls == 2


def test_pixels_stay_in_the_range_of_their_channel() -> None:
    limits = PixelRange((0.5, 0.2), (0.25, 0.1))
    torch.testing.assert_close(limits.low.flatten(), torch.tensor([-2.0, -2.0]))
    torch.testing.assert_close(limits.high.flatten(), torch.tensor([2.0, 8.0]))
    predict = _linear(torch.tensor([[-1.0, -1.0], [0.0, 0.0]]))
    images = torch.full((1, 2, 1, 1), -2.0)
    moved = boundary_samples(
        predict, images, torch.tensor([1]), low=limits.low, high=limits.high, step_size=99.0
    )
    assert moved.flatten().tolist() == pytest.approx([2.0, 8.0])


def test_an_attack_leaves_the_network_and_the_images_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten())
    images = normal(4, 1, 2, 2).float()
    before = images.clone()
    with torch.no_grad():
        moved = boundary_samples(net, images, torch.tensor([0, 1, 2, 0]), low=-9, high=9)
    assert not torch.equal(moved, before)
    assert torch.equal(images, before)
    assert not moved.requires_grad
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_teacher_without_slope_leaves_the_images_finite() -> None:
    moved = boundary_samples(
        lambda images: images.flatten(1)[:, :1] * torch.zeros(1, 2),
        torch.ones(2, 1, 1, 1),
        torch.tensor([1, 1]),
        low=-9,
        high=9,
    )
    assert torch.equal(moved, torch.ones(2, 1, 1, 1))


@pytest.mark.parametrize(
    ("epoch", "soft", "boundary"),
    [(0, 3 * 0.75 + 1, 2 * (1 - 1 / 3)), (1, 2.5, 2 / 3), (2, 1.75, 0), (3, 1, 0)],
)
def test_the_weights_fall_as_in_the_public_code(epoch: int, soft: float, boundary: float) -> None:
    weights = OBJECTIVES.get("bss")().weights(Moment(epoch=epoch, epochs=4))
    assert weights == {
        "ce": 1.0,
        "soft_ce": pytest.approx(soft),
        "bss": pytest.approx(boundary, abs=1e-12),
    }
    assert soft_share(0) == boundary_share(0) == 1


def _step_with_labels(scene: Scene, labels: Tensor) -> Step:
    step = scene.step()
    return replace(step, batch=replace(step.batch, labels=labels))


def test_the_term_compares_both_networks_on_the_attacked_images() -> None:
    scene = make_scene("bss", temperature=3.0, num_steps=4)
    step = scene.step()
    seen: dict[str, list[Tensor]] = {"student": [], "teacher": []}

    def watch(who: str, run: Callable[..., Outputs]) -> Callable[..., Outputs]:
        def watched(images: Tensor, **options: bool) -> Outputs:
            seen[who].append(images.detach().clone())
            return run(images, **options)

        return watched

    assert step.run_student is not None
    assert step.run_teacher is not None
    value = scene.objective.term(
        "bss",
        replace(
            step,
            run_student=watch("student", step.run_student),
            run_teacher=watch("teacher", step.run_teacher),
        ),
    )
    (attacked,) = seen["student"]
    assert torch.equal(attacked, seen["teacher"][-1])
    assert len(seen["teacher"]) <= 4 + 1
    base = base_samples(step.student.logits, step.teacher.logits, step.batch.labels, 32)
    assert len(attacked) == len(base) > 1
    assert not torch.equal(attacked, step.batch.images[base])
    student, teacher = step.run_student(attacked), step.run_teacher(attacked)
    torch.testing.assert_close(value, soft_cross_entropy(student.logits, teacher.logits, 3.0))


def test_without_an_eligible_sample_the_term_is_zero_with_a_gradient_of_zero() -> None:
    scene = make_scene("bss")
    wrong = (scene.step().student.logits.argmax(dim=1) + 1) % 5
    step = _step_with_labels(scene, wrong)
    value = scene.objective.term("bss", replace(step, run_teacher=None, run_student=None))
    assert value.item() == 0
    value.backward()
    assert all(p.grad is None or not p.grad.any() for p in scene.student.parameters())


def test_exactly_one_eligible_sample_is_enough() -> None:
    scene = make_scene("bss")
    step = scene.step()
    right = step.student.logits.argmax(dim=1)
    agree = right == step.teacher.logits.argmax(dim=1)
    labels = (right + 1) % 5
    one = agree.nonzero()[0, 0]
    labels[one] = right[one]
    step = replace(step, batch=replace(step.batch, labels=labels))
    assert len(base_samples(step.student.logits, step.teacher.logits, labels, 32)) == 1
    value = scene.objective.term("bss", step)
    value.backward()
    assert value.item() > 0
    assert any(p.grad is not None and p.grad.any() for p in scene.student.parameters())


def test_one_eligible_sample_serves_a_student_that_ends_in_a_single_pixel() -> None:
    student = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))
    scene = make_scene("bss")
    step = scene.step()
    logits = torch.zeros(6, 5)
    logits[0, 2] = 1
    labels = torch.tensor([2, 1, 1, 1, 1, 1])
    value = scene.objective.term(
        "bss",
        replace(
            step,
            batch=replace(make_batch(labels), images=step.batch.images),
            student=Outputs(logits=logits),
            teacher=Outputs(logits=logits),
            run_student=lambda images, **_: Outputs(logits=student.train()(images)),
        ),
    )
    assert value.isfinite()


def test_the_student_sees_the_attacked_images_as_a_batch_of_their_own() -> None:
    scene = make_scene("bss")
    step = scene.step()
    counts = [b for n, b in scene.student.named_buffers() if n.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {1}
    scene.objective.term("bss", step)
    assert {int(count) for count in counts} == {2}


def test_the_attacked_images_may_leave_the_running_statistics_alone() -> None:
    scene = make_scene("bss")
    step = scene.step()
    asked: list[bool] = []

    def run_student(images: Tensor, *, moving: bool = True) -> Outputs:
        asked.append(moving)
        return Outputs(logits=scene.student(images))

    still = OBJECTIVES.get("bss")(moving_statistics=False)
    still.term("bss", replace(step, run_student=run_student))
    assert asked == [False]


def test_the_range_of_the_pixels_is_kept_with_the_checkpoint_and_not_trained() -> None:
    companion = make_scene("bss").companion
    assert isinstance(companion, PixelRange)
    assert list(companion.state_dict()) == ["low", "high"]
    assert not list(companion.parameters())


def test_mixed_images_get_the_soft_labels_alone() -> None:
    traits = OBJECTIVES.get("bss")().traits
    assert traits.soft_labels
    assert traits.on_mixed == ("soft_ce",)
    assert not traits.zero_at_match
