"""Laws that hold for every registered method; a new one joins by being registered."""

import json

import pytest
import torch
from pydantic import ValidationError

from kdtune.contracts import Batch, Outputs
from kdtune.objectives import OBJECTIVES, Objective

ALL = pytest.mark.parametrize("name", OBJECTIVES.names())


def _seeded(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _outputs(objective: Objective, seed: int) -> Outputs:
    taps = {name: _seeded(6, 4, 8, 8, seed=seed + 7) for name in objective.traits.taps}
    logits = _seeded(6, 5, seed=seed)
    for tensor in [logits, *taps.values()]:
        tensor.requires_grad_()
    return Outputs(logits=logits, taps=taps)


@pytest.fixture
def batch() -> Batch:
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    return Batch(index=torch.arange(6), images=torch.zeros(6, 1, 8, 8), labels=labels)


@ALL
def test_every_term_is_a_finite_scalar_that_reaches_the_student_alone(
    name: str, batch: Batch
) -> None:
    objective = OBJECTIVES.get(name)()
    student, teacher = _outputs(objective, 0), _outputs(objective, 1)
    for term in objective.weights(0):
        value = objective.term(term, batch, student, teacher if objective.traits.teacher else None)
        assert value.ndim == 0
        assert value.isfinite()
        value.backward()
    assert any(t.grad is not None for t in [student.logits, *student.taps.values()])
    assert all(t.grad is None for t in [teacher.logits, *teacher.taps.values()])


@ALL
def test_a_student_that_equals_its_teacher_has_no_distillation_loss(
    name: str, batch: Batch
) -> None:
    objective = OBJECTIVES.get(name)()
    outputs = _outputs(objective, 0)
    terms = {t: objective.term(t, batch, outputs, outputs) for t in objective.weights(0)}
    del terms["ce"]
    if objective.traits.zero_at_match:
        assert all(value.item() == pytest.approx(0, abs=1e-7) for value in terms.values())


@ALL
def test_the_fields_are_defaulted_json_safe_and_frozen(name: str) -> None:
    objective = OBJECTIVES.get(name)()
    assert json.loads(json.dumps(objective.model_dump())) == objective.model_dump()
    for field in type(objective).model_fields:
        with pytest.raises(ValidationError):
            setattr(objective, field, getattr(objective, field))


@ALL
def test_the_weights_are_finite_and_name_cross_entropy(name: str) -> None:
    weights = OBJECTIVES.get(name)().weights(3)
    assert "ce" in weights
    assert all(0 <= weight < float("inf") for weight in weights.values())


def test_alpha_weights_the_distillation_term() -> None:
    objective = OBJECTIVES.get("kd")(alpha=0.9, temperature=4.0)
    assert objective.weights(0) == {"ce": pytest.approx(0.1), "kd": 0.9}
