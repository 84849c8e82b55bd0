import pytest
import torch
from scenes import STUDENT, build, make_scene, normal
from torch.nn import functional
from torch.optim import SGD

from kdtune import models
from kdtune.objectives import OBJECTIVES
from kdtune.objectives.cross_entropy import cross_entropy
from kdtune.objectives.dml import mutual_loss
from kdtune.objectives.soft_labels import soft_label_kl


def test_with_one_peer_the_loss_is_the_divergence_from_it() -> None:
    logits, peer = normal(4, 3), normal(4, 3, seed=1)
    p, q = peer.softmax(1), logits.softmax(1)
    expected = (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(mutual_loss(logits, [peer], 1.0), expected)


def test_the_loss_is_the_mean_over_the_peers() -> None:
    logits, *peers = (normal(4, 3, seed=seed) for seed in range(4))
    expected = sum(soft_label_kl(logits, peer, 4.0) for peer in peers) / 3
    torch.testing.assert_close(mutual_loss(logits, peers, 4.0), expected)


def test_no_gradient_reaches_the_peers() -> None:
    logits, peer = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    mutual_loss(logits, [peer], 2.0).backward()
    expected = 2.0 * ((logits / 2).softmax(1) - (peer / 2).softmax(1)) / 4
    torch.testing.assert_close(logits.grad, expected.detach())
    assert peer.grad is None


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one peer, got none"):
        mutual_loss(torch.zeros(2, 3), [], 1.0)
    with pytest.raises(ValueError, match="must both be"):
        mutual_loss(torch.zeros(2, 3), [torch.zeros(2, 4)], 1.0)
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        OBJECTIVES.get("dml")(members=1)


def test_the_members_start_from_different_weights() -> None:
    team = make_scene("dml", members=3).student
    first, second, third = (net.state_dict()["stem.conv.weight"] for net in team.candidates())
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_the_terms_are_sums_over_the_networks() -> None:
    scene = make_scene("dml", members=3)
    assert scene.weights() == {"ce": 1.0, "dml": 1.0}
    step = scene.step()
    a, b, c = step.student.members
    torch.testing.assert_close(
        scene.objective.term("ce", step), sum(cross_entropy(x, step.batch) for x in (a, b, c))
    )
    torch.testing.assert_close(
        scene.objective.term("dml", step),
        mutual_loss(a, [b, c], 4.0) + mutual_loss(b, [a, c], 4.0) + mutual_loss(c, [a, b], 4.0),
    )
    torch.testing.assert_close(step.student.logits, (a + b + c) / 3)


def test_one_step_of_the_sum_is_a_step_of_each_network_with_its_own_optimiser() -> None:
    scene = make_scene("dml", seed=5)
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    alone = [build(STUDENT, 5 + n).train() for n in range(2)]
    own = [SGD(net.parameters(), **options) for net in alone]
    joint = SGD(scene.student.parameters(), **options)
    for number in range(2):
        step = scene.step(number)
        joint.zero_grad()
        (scene.objective.term("ce", step) + scene.objective.term("dml", step)).backward()
        joint.step()
        said = [models.run(net, step.batch.images).logits for net in alone]
        for i, optimiser in enumerate(own):
            optimiser.zero_grad()
            loss = functional.cross_entropy(said[i], step.batch.labels)
            (loss + soft_label_kl(said[i], said[1 - i], 4.0)).backward()
        for optimiser in own:
            optimiser.step()
    for together, apart in zip(scene.student.candidates(), alone, strict=True):
        for key, value in together.state_dict().items():
            torch.testing.assert_close(value, apart.state_dict()[key])


def test_a_step_moves_the_running_statistics_once() -> None:
    scene = make_scene("dml")
    scene.terms(scene.step())
    buffers = scene.student.named_buffers()
    assert {int(b) for n, b in buffers if n.endswith("num_batches_tracked")} == {1}
