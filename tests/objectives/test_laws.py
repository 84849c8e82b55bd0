"""Laws that hold for every registered method; a new one joins by being registered."""

import importlib
import inspect
import json
import math
import pkgutil
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from scenes import (
    STUDENT,
    Scene,
    build,
    changes,
    make_pair,
    make_scene,
    matched,
    moments,
    part,
)
from torch import Tensor, nn

from kdtune import objectives
from kdtune.contracts import Moment, Outputs
from kdtune.objectives import OBJECTIVES, Team

ALL = pytest.mark.parametrize("name", OBJECTIVES.names())
TEAMS = [name for name in OBJECTIVES.names() if OBJECTIVES.get(name)().traits.team]
MODULES = [f"{objectives.__name__}.{m.name}" for m in pkgutil.iter_modules(objectives.__path__)]


def _changes(name: str) -> list[Moment]:
    return changes(OBJECTIVES.get(name)())


def _trained(scene: Scene) -> list[Tensor]:
    modules = [scene.student] if scene.companion is None else [scene.student, scene.companion]
    return [parameter for module in modules for parameter in module.parameters()]


def _loss(scene: Scene, number: int = 0) -> Tensor:
    weights = scene.weights()
    terms = scene.terms(scene.step(number))
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


@ALL
def test_every_term_is_a_finite_scalar(name: str) -> None:
    for moment in _changes(name):
        scene = make_scene(name, moment)
        for value in scene.terms(scene.step()).values():
            assert value.ndim == 0
            assert value.isfinite()


@ALL
def test_every_term_teaches_the_student_and_never_the_teacher(name: str) -> None:
    for moment in _changes(name):
        for term in make_scene(name, moment).weights():
            scene = make_scene(name, moment)
            step = scene.step()
            scene.objective.term(term, step).backward()
            gradients = [p.grad for p in scene.student.parameters() if p.grad is not None]
            assert any(gradient.any() for gradient in gradients)
            assert all(gradient.isfinite().all() for gradient in gradients)
            if step.teacher is not None:
                assert scene.teacher is not None
                outputs = (step.teacher.logits, *step.teacher.taps.values())
                assert all(t.grad is None for t in (*outputs, *scene.teacher.parameters()))


@ALL
def test_the_images_and_the_buffers_of_the_teacher_stay_as_they_are(name: str) -> None:
    scene = make_scene(name)
    step = scene.step()
    images = step.batch.images.clone()
    buffers = [] if scene.teacher is None else [b.clone() for b in scene.teacher.buffers()]
    scene.terms(step)
    assert torch.equal(step.batch.images, images)
    assert not step.batch.images.requires_grad
    if scene.teacher is not None:
        assert all(map(torch.equal, buffers, scene.teacher.buffers()))


@ALL
def test_a_student_that_equals_its_teacher_has_no_distillation_loss(name: str) -> None:
    for moment in _changes(name):
        scene = make_scene(name, moment)
        if scene.objective.traits.zero_at_match:
            terms = scene.terms(matched(scene.step()))
            terms.pop("ce", None)
            assert all(value.item() == pytest.approx(0, abs=1e-6) for value in terms.values())


@ALL
def test_who_names_signals_reads_nothing_else_of_the_teacher_but_its_logits(name: str) -> None:
    for moment in _changes(name):
        scene = make_scene(name, moment)
        signals = scene.objective.signals(make_pair(scene))
        assert len({signal.name for signal in signals}) == len(signals)
        for signal in signals:
            assert set(signal.taps) <= set(scene.objective.traits.taps)
        if not signals:
            continue
        step, twin = scene.step(), make_scene(name, moment)
        assert step.teacher is not None
        made = {signal.name: signal.make(step.teacher.taps).detach() for signal in signals}
        told = replace(step, teacher=Outputs(logits=step.teacher.logits, signals=made))
        told = replace(told, companion=twin.companion)
        ours, theirs = scene.terms(step), twin.terms(told)
        assert all(torch.equal(ours[term], theirs[term]) for term in ours)


@ALL
def test_a_sample_mean_is_that_of_its_parts(name: str) -> None:
    for moment in _changes(name):
        scene = make_scene(name, moment)
        if not scene.objective.traits.sample_mean:
            continue
        if scene.companion is not None:
            scene.companion.eval()  # Batch norm tells parts from the whole; nothing else may.
        step = scene.step()
        whole = scene.terms(step)
        cut = len(step.batch.labels) // 3
        first, second = (scene.terms(part(step, rows)) for rows in (slice(cut), slice(cut, None)))
        for term, value in whole.items():
            torch.testing.assert_close((first[term] + 2 * second[term]) / 3, value)


@ALL
def test_equal_seeds_give_equal_bits(name: str) -> None:
    for moment in _changes(name):
        losses, gradients = [], []
        for _ in range(2):
            scene = make_scene(name, moment, seed=3)
            losses.append(_loss(scene))
            losses[-1].backward()
            gradients.append([p.grad for p in _trained(scene)])
        assert torch.equal(*losses)
        for first, second in zip(*gradients, strict=True):
            assert (first is None) == (second is None)
            assert first is None or torch.equal(first, second)


@ALL
def test_the_state_of_a_companion_is_all_that_it_remembers(name: str) -> None:
    for moment in _changes(name):
        used, fresh = make_scene(name, moment), make_scene(name, moment)
        for number in range(2):
            _loss(used, number)
        if used.companion is not None:
            assert fresh.companion is not None
            fresh.companion.load_state_dict(used.companion.state_dict())
        fresh.student.load_state_dict(used.student.state_dict())
        assert torch.equal(_loss(used, 2), _loss(fresh, 2))


@ALL
def test_the_weights_are_finite_and_none_is_negative(name: str) -> None:
    objective = OBJECTIVES.get(name)()
    for moment in moments(objective):
        weights = objective.weights(moment)
        assert all(0 <= weight < math.inf for weight in weights.values())
        assert any(weights.values())
        assert "ce" in weights or moment.phase == "warmup"


@ALL
def test_a_weight_that_is_set_to_zero_leaves_its_term_out(name: str) -> None:
    method = OBJECTIVES.get(name)
    fields = [f for f in method.model_fields if f in ("alpha", "beta") or f.endswith("_weight")]
    for field in fields:
        scene = make_scene(name, Moment(epochs=10, first_drop=6), **{field: 0.0})
        everything = scene.objective.weights(scene.moment)
        assert 0.0 in everything.values()
        assert set(scene.terms(scene.step())) == {t for t, w in everything.items() if w > 0}


@ALL
def test_a_warm_up_is_a_stretch_of_epochs_with_rising_drops(name: str) -> None:
    warmup = OBJECTIVES.get(name)().warmup(10)
    if warmup is not None:
        assert warmup.epochs >= 1
        assert warmup.lr > 0
        assert 0 < warmup.lr_factor <= 1
        assert list(warmup.milestones) == sorted(set(warmup.milestones))
        assert all(0 < milestone < 1 for milestone in warmup.milestones)


@ALL
def test_the_fields_are_defaulted_json_safe_and_frozen(name: str) -> None:
    objective = OBJECTIVES.get(name)()
    assert json.loads(json.dumps(objective.model_dump())) == objective.model_dump()
    for field in type(objective).model_fields:
        with pytest.raises(ValidationError):
            setattr(objective, field, getattr(objective, field))


@ALL
def test_terms_on_mixed_images_are_terms_of_the_method(name: str) -> None:
    traits = OBJECTIVES.get(name)().traits
    if traits.soft_labels:
        assert traits.on_mixed
        named = {t for moment in _changes(name) for t in OBJECTIVES.get(name)().weights(moment)}
        assert set(traits.on_mixed) <= named


@pytest.mark.parametrize("name", TEAMS)
def test_a_team_delivers_plain_students_that_share_its_layers(name: str) -> None:
    team = make_scene(name).student
    assert isinstance(team, Team)
    team.eval()
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    said: Outputs = team(images)
    candidates = team.candidates()
    assert len(candidates) == len(said.members) > 1
    owned = {id(tensor) for tensor in team.state_dict(keep_vars=True).values()}
    for candidate, logits in zip(candidates, said.members, strict=True):
        assert torch.equal(candidate(images), logits)
        assert {id(t) for t in candidate.state_dict(keep_vars=True).values()} <= owned
        plain: nn.Module = build(STUDENT, seed=99).eval()
        plain.load_state_dict(candidate.state_dict())
        assert torch.equal(plain(images), logits)


@ALL
def test_every_method_says_what_it_minimises(name: str) -> None:
    method = OBJECTIVES.get(name)
    assert method.__doc__
    assert method.__doc__ != method.__mro__[1].__doc__


@pytest.mark.parametrize("module", MODULES)
def test_every_formula_is_documented_with_its_arguments(module: str) -> None:
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    for name, formula in inspect.getmembers(loaded, inspect.isfunction):
        if formula.__module__ == module and not name.startswith("_"):
            assert formula.__doc__, name
            if "Args:" in formula.__doc__:
                for argument in inspect.signature(formula).parameters:
                    assert f"{argument}:" in formula.__doc__, name
