import pytest
import torch
from scenes import make_batch, make_scene, normal
from torch.nn import functional

from kdtune.contracts import Batch
from kdtune.objectives.cross_entropy import cross_entropy


def _mixed(labels: torch.Tensor, partners: torch.Tensor, lam: torch.Tensor) -> Batch:
    images = torch.zeros(len(labels), 1, 1, 1)
    index = torch.arange(len(labels))
    return Batch(index=index, images=images, labels=labels, partner_labels=partners, lam=lam)


def test_cross_entropy_of_a_mixed_batch_weighs_both_labels_sample_by_sample() -> None:
    logits = normal(3, 4)
    labels, partners = torch.tensor([0, 1, 2]), torch.tensor([3, 3, 0])
    lam = torch.tensor([0.3, 1.0, 0.0], dtype=torch.float64)
    logs = functional.log_softmax(logits, 1)
    expected = -(0.3 * logs[0, 0] + 0.7 * logs[0, 3] + logs[1, 1] + logs[2, 0]) / 3
    torch.testing.assert_close(cross_entropy(logits, _mixed(labels, partners, lam)), expected)


def test_an_image_mixed_with_one_of_its_class_counts_as_plain() -> None:
    logits, labels = normal(3, 4), torch.tensor([0, 1, 2])
    batch = _mixed(labels, labels, torch.full((3,), 0.4, dtype=torch.float64))
    expected = cross_entropy(logits, make_batch(labels))
    torch.testing.assert_close(cross_entropy(logits, batch), expected)


def test_smoothing_moves_epsilon_over_c_to_every_class() -> None:
    logits, labels = normal(3, 4), torch.tensor([0, 1, 3])
    target = 0.9 * functional.one_hot(labels, 4) + 0.1 / 4
    expected = -(target * functional.log_softmax(logits, 1)).sum(1).mean()
    torch.testing.assert_close(cross_entropy(logits, make_batch(labels), 0.1), expected)


def test_scratch_smooths_the_labels_of_a_run_without_teacher() -> None:
    scene = make_scene("scratch", label_smoothing=0.1)
    step = scene.step()
    assert scene.weights() == {"ce": 1.0}
    expected = cross_entropy(step.student.logits, step.batch, 0.1)
    assert torch.equal(scene.objective.term("ce", step), expected)
    assert scene.objective.term("ce", step).item() != pytest.approx(
        cross_entropy(step.student.logits, step.batch).item()
    )
