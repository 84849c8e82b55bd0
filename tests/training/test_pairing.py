from typing import Any

import pytest
import torch
from lessons import TapMean, dataset, network

from kdtune import models
from kdtune.config import parse
from kdtune.contracts import Pair
from kdtune.data import load_dataset
from kdtune.objectives import OBJECTIVES
from kdtune.training.pairing import check_networks, check_pruning, pair_of

SMALL = {"student": "resnet8x0.125", "teacher": "resnet14x0.125", "train.epochs": 6}


def check(**flat: Any) -> None:
    config = parse({**SMALL, **{key.replace("__", "."): value for key, value in flat.items()}})
    check_networks(config, load_dataset("digits"))


def test_a_pair_knows_the_taps_that_the_method_reads() -> None:
    student, teacher, data = network(0), network(1), dataset(7)
    pair = pair_of(TapMean(), student, teacher, data)
    feature = pair.student["block1"]
    assert (feature.shape, feature.activation, feature.signed) == ((4, 4, 4), "pre", True)
    assert feature.norm is None
    assert (pair.classes, pair.mean, pair.std) == (3, (0.5,), (0.25,))
    assert pair.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_pair_without_a_teacher_has_no_features_of_one() -> None:
    pair = pair_of(TapMean(), network(0), None, dataset(4))
    assert (set(pair.student), pair.teacher) == ({"block1"}, {})


def test_a_pair_holds_the_scale_of_the_batch_norm_behind_a_tap() -> None:
    model = models.build("wrn_10_1", classes=3, channels=1, size=8, seed=0)
    norm = models.norm_of(model, "block1_pre")
    assert norm is not None
    with torch.no_grad():
        norm.bias.fill_(2.0)
    objective = OBJECTIVES.get("overhaul")()
    found = pair_of(objective, model, model, dataset(4)).teacher["block1_pre"].norm
    assert found is not None
    assert torch.equal(found[1], torch.full_like(norm.bias, 2.0))
    assert not any(tensor.requires_grad for tensor in found)


def test_looking_at_a_network_leaves_its_mode_and_buffers_alone() -> None:
    model = network(0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pair_of(TapMean(), model, None, dataset(4))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("method", OBJECTIVES.names())
def test_every_method_serves_two_networks_of_one_family(method: str) -> None:
    teacher: dict[str, Any] = {} if OBJECTIVES.get(method)().traits.teacher else {"teacher": None}
    check(method=method, train__schedule="step", **teacher)


def test_checking_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    check(method="one", teacher=None)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_tap_that_a_network_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="block4"):
        check(method="at", method__blocks=4)


def test_a_pair_that_the_method_cannot_serve_is_an_error() -> None:
    with pytest.raises(ValueError, match="channels"):
        check(method="fsp", teacher="resnet14x0.5")


def test_a_network_that_cannot_be_cut_makes_no_branches() -> None:
    with pytest.raises(ValueError, match="sequence of stages"):
        check(method="one", teacher=None, student="torchvision:resnet18")


def test_an_end_of_distillation_at_a_drop_needs_a_schedule_with_drops() -> None:
    with pytest.raises(ValueError, match=r"this schedule has no drops; give method\.stop_epoch"):
        check(method="eskd", train__schedule="cosine")
    check(method="eskd", train__schedule="cosine", method__stop_epoch=3)
    check(method="eskd", train__schedule="step", prune_ratio=0.5, prune__lr=0.001)


def test_weights_that_are_all_0_are_an_error() -> None:
    with pytest.raises(ValueError, match="weights of method 'kd' are all 0 in epoch 0"):
        check(alpha=0.0, method__ce_weight=0.0)


def test_after_pruning_the_unpruned_student_is_checked_as_the_teacher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widths = []

    class Noted(TapMean):
        def check(self, pair: Pair) -> None:
            widths.append((pair.student["block1"].shape[0], pair.teacher["block1"].shape[0]))

    monkeypatch.setitem(OBJECTIVES._entries, "noted", Noted)
    check(method="noted", teacher="resnet8", prune_ratio=0.5, prune__phase="self_distill")
    assert widths == [(2, 16), (2, 2)]


def test_a_network_that_cannot_be_pruned_is_an_error() -> None:
    flat = {**SMALL, "prune_ratio": 0.5, "prune.stages": "0.5,0.5"}
    with pytest.raises(ValueError, match="stage"):
        check_pruning(parse(flat), load_dataset("digits"))


def test_a_phase_that_is_there_to_distil_must_distil() -> None:
    late = {"method": "eskd", "prune_ratio": 0.5, "prune__phase": "post_distill"}
    with pytest.raises(ValueError, match="'eskd' has stopped distilling by then"):
        check(**late, method__stop_epoch=2)
    check(**late, method__stop_epoch=4)
