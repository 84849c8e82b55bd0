import math

import pytest
import torch
from scenes import build, make_scene, normal
from torch import nn

from kdtune import models
from kdtune.contracts import Moment
from kdtune.objectives import OBJECTIVES
from kdtune.objectives.cross_entropy import cross_entropy
from kdtune.objectives.one import ensemble_loss, gated_ensemble, ramp
from kdtune.objectives.soft_labels import soft_label_kl


def test_the_ensemble_is_the_gated_sum_of_the_branches() -> None:
    branches = [torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[3.0, 0.0], [8.0, 0.0]])]
    gate = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    expected = torch.tensor([[2.0, 1.0], [6.0, 1.0]])
    torch.testing.assert_close(gated_ensemble(branches, gate), expected)


def test_a_gate_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(B, 2\), got \(4, 3\)"):
        gated_ensemble([torch.zeros(4, 5)] * 2, torch.zeros(4, 3))
    with pytest.raises(ValueError, match="must be"):
        gated_ensemble([torch.zeros(4, 5)] * 2, torch.zeros(1, 2))


def test_the_loss_sums_the_divergences_of_the_branches_from_the_ensemble() -> None:
    ensemble, *branches = (normal(4, 5, seed=seed).requires_grad_() for seed in range(4))
    loss = ensemble_loss(branches, ensemble, 3.0)
    torch.testing.assert_close(loss, sum(soft_label_kl(b, ensemble, 3.0) for b in branches))
    loss.backward()
    assert ensemble.grad is None
    expected = 3.0 * ((branches[1] / 3).softmax(1) - (ensemble / 3).softmax(1)) / 4
    torch.testing.assert_close(branches[1].grad, expected.detach())


def test_the_ramp_rises_to_one_and_stays() -> None:
    assert ramp(0, 80) == pytest.approx(math.exp(-5))
    assert ramp(40, 80) == pytest.approx(math.exp(-1.25))
    assert ramp(80, 80) == ramp(200, 80) == 1


def test_the_ramp_takes_the_papers_share_of_any_schedule_unless_given() -> None:
    weight = OBJECTIVES.get("one")().weights
    assert weight(Moment(epoch=40, epochs=300))["one"] == pytest.approx(ramp(40, 80))
    assert weight(Moment(epoch=20, epochs=150))["one"] == pytest.approx(ramp(20, 40))
    assert weight(Moment(epoch=0, epochs=1))["one"] == pytest.approx(ramp(0, 1))
    given = OBJECTIVES.get("one")(ramp_epochs=80, beta=2.0).weights
    assert given(Moment(epoch=20, epochs=150))["one"] == pytest.approx(2 * ramp(20, 80))


def test_cross_entropy_is_taken_of_every_branch_and_of_the_ensemble() -> None:
    scene = make_scene("one")
    step = scene.step()
    members, ensemble = step.student.members, step.student.logits
    expected = sum(cross_entropy(logits, step.batch) for logits in (*members, ensemble))
    torch.testing.assert_close(scene.objective.term("ce", step), expected)
    loss = ensemble_loss(members, ensemble, 3.0)
    torch.testing.assert_close(scene.objective.term("one", step), loss)


def test_the_cross_entropy_of_the_ensemble_alone_trains_the_gate() -> None:
    for term, trained in (("one", False), ("ce", True)):
        scene = make_scene("one")
        scene.objective.term(term, scene.step()).backward()
        gradients = [p.grad for n, p in scene.student.named_parameters() if "gate" in n]
        assert len(gradients) == 4
        assert any(g is not None and g.any() for g in gradients) == trained


def test_the_ensemble_weighs_the_branches_by_softmax_of_the_rectified_gate() -> None:
    team = make_scene("one").student
    step = make_scene("one").step()
    shared = team.trunk(step.batch.images)
    linear, norm = team.gate[2], team.gate[3]
    scores = norm(linear(shared.mean(dim=(2, 3)))).relu().softmax(dim=1)
    said = team(step.batch.images)
    expected = torch.einsum("bk,kbc->bc", scores, torch.stack(said.members))
    torch.testing.assert_close(said.logits, expected)


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet8", 194_903), ("resnet14", 440_087), ("resnet20", 685_271), ("resnet26", 930_455)],
)
def test_three_branches_have_the_parameters_of_the_public_code(name: str, count: int) -> None:
    def new_student(seed: int) -> nn.Module:
        return models.build(name, classes=10, seed=seed)

    team = OBJECTIVES.get("one")().assemble(new_student, models.split_after)
    assert sum(p.numel() for p in team.parameters()) == count
    assert {p.numel() for p in (team.gate[2].weight, team.gate[2].bias)} == {32 * 3, 3}


@pytest.mark.parametrize("name", ["wrn_10_2", "vgg8", "densenet_40_12"])
def test_the_gate_fits_the_trunk_of_other_families(name: str) -> None:
    team = OBJECTIVES.get("one")(branches=2).assemble(
        lambda seed: build(name, seed), models.split_after
    )
    said = team(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert said.logits.shape == (2, 5)
    assert len(said.members) == 2


def test_a_team_can_be_assembled_from_shapes_alone() -> None:
    blueprint = models.blueprint("resnet8", classes=5, channels=3, size=8)
    OBJECTIVES.get("one")().assemble(lambda _: blueprint, models.split_after)


def test_assembling_leaves_the_students_as_they_were_built() -> None:
    team = make_scene("one", seed=7).student
    for n, candidate in enumerate(team.candidates()):
        expected = build("resnet8x0.25", 7 + n).state_dict()
        tails = [key for key in expected if key.startswith(("block3", "classifier"))]
        assert tails
        for key in tails:
            assert torch.equal(candidate.state_dict()[key], expected[key])
    stem = team.candidates()[2].state_dict()["stem.conv.weight"]
    assert torch.equal(stem, build("resnet8x0.25", 7).state_dict()["stem.conv.weight"])


def test_a_network_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="plain sequence of stages"):
        OBJECTIVES.get("one")().assemble(
            lambda seed: models.build("resnet18", classes=5, seed=seed), models.split_after
        )
