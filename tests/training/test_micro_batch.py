"""A batch that is trained on in parts."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from lessons import Shown, lesson, network
from runs import reports, with_method
from torch import nn

from kdtune.config import ConfigError, parse
from kdtune.objectives import OBJECTIVES, Objective

METHODS = OBJECTIVES.names()
VIEWS: list[tuple[str, bool, dict[str, Any]]] = [
    ("none", False, {}),
    ("cutmix", False, {}),
    ("cutmix", True, {}),
    ("cutmix_pick", False, {}),
    ("cutmix_pick", True, {"criterion": "teacher_entropy"}),
]


def without_batch_norm(seed: int) -> nn.Module:
    model = network(seed)
    model.norm = nn.Identity()
    return model


def kd() -> Objective:
    return OBJECTIVES.get("kd")(alpha=0.5)


@pytest.mark.parametrize(("augment", "plain_too", "options"), VIEWS)
@pytest.mark.parametrize("most", [2, 3, 5])
def test_parts_train_as_the_whole_batch_does_but_for_batch_norm(
    augment: str, plain_too: bool, options: dict[str, Any], most: int
) -> None:
    networks = [without_batch_norm(0)]
    networks.append(deepcopy(networks[0]))
    results = [
        lesson(
            kd(),
            student=student,
            teacher=network(1),
            augment=augment,
            options=options,
            plain_too=plain_too,
            count=19,
            batch_size=8,
            **parts,
        ).epoch(0)
        for student, parts in zip(networks, [{}, {"micro_batch": most}], strict=True)
    ]
    torch.testing.assert_close(networks[1].state_dict(), networks[0].state_dict())
    whole, parts = results
    assert parts.images == whole.images == 19
    assert parts.metrics() == pytest.approx(whole.metrics(), rel=1e-4)


@pytest.mark.parametrize("most", range(2, 12))
def test_no_part_is_larger_than_asked_and_none_is_one_image_alone(most: int) -> None:
    for size in range(2, 12):
        student = network(0)
        shown = Shown.to(student)
        taught = lesson(
            OBJECTIVES.get("scratch")(), student=student, count=size, batch_size=size,
            micro_batch=most,
        )  # fmt: skip
        taught.epoch(0)
        sizes = [len(images) for images in shown.images]
        assert sum(sizes) == size
        assert min(sizes) >= 2
        assert max(sizes) <= max(most, 3)


def test_until_its_first_epoch_a_micro_batch_changes_nothing() -> None:
    later, whole = network(0), network(0)
    shown = Shown.to(later)
    taught = lesson(kd(), student=later, teacher=network(1), micro_batch=4, micro_batch_from=1)
    plain = lesson(kd(), student=whole, teacher=network(1))
    assert taught.epoch(0) == plain.epoch(0)
    assert [len(images) for images in shown.images] == [8]
    taught.epoch(1)
    assert [len(images) for images in shown.images] == [8, 4, 4]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_in_parts_or_says_why_not(base: dict[str, Any], method: str) -> None:
    flat = with_method(base, method, **{"train.epochs": 1, "train.micro_batch": 20})
    if OBJECTIVES.get(method)().traits.sample_mean:
        (*_, last) = reports({**flat, "augment": "cutmix"})
        assert last["train/micro_batch"] == 20
        assert last["diverged"] == 0
    else:
        with pytest.raises(ConfigError, match=f"left out with method '{method}', which compares"):
            parse(flat)


def test_where_parts_begin_needs_parts() -> None:
    with pytest.raises(ConfigError, match=r"train\.micro_batch_from says since when"):
        parse({"train.micro_batch_from": 2})
