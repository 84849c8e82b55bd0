import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, frozen, item, made
from torch import Tensor, nn
from torch.nn import functional

from kdtune import models
from kdtune.analysis import Subject
from kdtune.analysis.figures import style
from kdtune.analysis.loss_landscape import (
    LossLandscape,
    Parameters,
    filter_normalised,
    line,
    mean_loss,
    raw_direction,
    rise,
    second_difference,
    surface,
)
from kdtune.analysis.reading import answers, sample
from kdtune.views import plain_batches

QUICK = LossLandscape(count=64, points=5, grid=5)
CENTRE = {"w": torch.tensor([1.0, 2.0]).double()}
ALONG = {"w": torch.tensor([3.0, 4.0]).double()}
ACROSS = {"w": torch.tensor([-1.0, 1.0]).double()}


def _quadratic(parameters: Parameters) -> float:
    """``w0 ** 2 + 3 * w1 ** 2 + w0``."""
    first, second = parameters["w"].tolist()
    return first**2 + 3 * second**2 + first


def _network(seed: int = 0) -> nn.Module:
    return models.build("resnet8x0.25", classes=10, channels=1, size=8, seed=seed)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.named_parameters()}


def test_the_line_through_a_quadratic_is_a_parabola() -> None:
    steps = [-1.0, -0.5, 0.0, 0.5, 1.0]
    # (1 + 3t)^2 + 3 (2 + 4t)^2 + 1 + 3t = 14 + 57 t + 57 t^2
    expected = [14 + 57 * t + 57 * t**2 for t in steps]
    assert line(_quadratic, CENTRE, ALONG, steps) == pytest.approx(expected)


def test_second_difference_and_rise_of_a_parabola_are_known() -> None:
    losses = line(_quadratic, CENTRE, ALONG, [-0.5, -0.25, 0.0, 0.25, 0.5])
    assert second_difference(losses, 0.25) == pytest.approx(2 * 57)
    assert rise(_quadratic, CENTRE, ALONG, 0.1) == pytest.approx(57 * 0.01)


def test_the_surface_has_the_first_direction_along_its_columns() -> None:
    steps = [-1.0, 0.0, 2.0]
    found = surface(_quadratic, CENTRE, (ALONG, ACROSS), steps)
    for row, up in enumerate(steps):
        for column, across in enumerate(steps):
            first, second = 1 + 3 * across - up, 2 + 4 * across + up
            assert found[row, column] == pytest.approx(first**2 + 3 * second**2 + first)


def test_the_axes_of_the_surface_are_the_lines(subjects: Sequence[Subject]) -> None:
    arrays = QUICK.measure(subjects[0]).arrays
    assert np.array_equal(arrays["surfaces"][0, 2], arrays["lines"][0, 0])
    assert np.array_equal(arrays["surfaces"][0, :, 2], arrays["lines"][0, 1])


def test_each_filter_of_a_direction_has_the_norm_of_its_weights_and_the_rest_stays() -> None:
    weights = _weights(_network())
    found = filter_normalised(raw_direction(weights, seed=0, which=1), weights)
    for name, value in weights.items():
        if value.ndim == 1:
            assert not found[name].any()
        else:
            norms = found[name].flatten(1).norm(dim=1)
            torch.testing.assert_close(norms, value.flatten(1).norm(dim=1))
    assert weights["block1.0.bn1.weight"].all()  # there was something to leave alone


def test_a_filter_of_zeros_stays() -> None:
    weights = {"w": torch.tensor([[0.0, 0.0], [3.0, 4.0]])}
    found = filter_normalised({"w": torch.tensor([[1.0, 2.0], [0.0, -2.0]])}, weights)
    assert torch.equal(found["w"], torch.tensor([[0.0, 0.0], [0.0, -5.0]]))


def test_networks_built_alike_move_along_the_same_numbers() -> None:
    ours, theirs = (raw_direction(_weights(_network(n)), seed=0, which=1) for n in (0, 1))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    wider = models.build("resnet8x0.5", classes=10, channels=1, size=8, seed=0)
    other = raw_direction(_weights(wider), seed=0, which=1)
    shared = [name for name in ours if ours[name].shape == other[name].shape]
    assert shared == ["classifier.bias"]
    assert torch.equal(ours["classifier.bias"], other["classifier.bias"])


@pytest.mark.parametrize(("seed", "which"), [(1, 1), (0, 2)])
def test_seeds_and_the_two_directions_differ(seed: int, which: int) -> None:
    weights = _weights(_network())
    one, other = (
        raw_direction(weights, seed=0, which=1),
        raw_direction(weights, seed=seed, which=which),
    )
    joined = [torch.cat([value.flatten() for value in each.values()]) for each in (one, other)]
    assert abs(functional.cosine_similarity(*joined, dim=0)) < 0.1
    assert joined[0].std() == pytest.approx(1, abs=0.05)


def test_the_scale_of_filters_before_a_batch_norm_changes_nothing(
    subjects: Sequence[Subject], tmp_path: Path
) -> None:
    plain, scaled = (_copy(subjects[2].student) for _ in range(2))
    for network, factor in ((plain, 1.0), (scaled, 7.0)):
        norm, conv = network.get_submodule("stem.bn"), network.get_submodule("stem.conv")
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(conv, nn.Conv2d)
        norm.eps = 1e-12
        conv.weight.mul_(factor)
        norm.running_mean.mul_(factor)
        norm.running_var.mul_(factor**2)
    alone = config(tmp_path, method="scratch")
    first, second = (QUICK.measure(made("one", alone, each)) for each in (plain, scaled))
    assert np.ptp(first.arrays["lines"]) > 1
    for name in ("lines", "surfaces"):
        assert first.arrays[name] == pytest.approx(second.arrays[name], rel=1e-4)


def test_the_centre_is_the_plain_loss(subjects: Sequence[Subject]) -> None:
    subject = subjects[1]
    found = QUICK.measure(subject)
    heard = answers(subject.student, subject, sample(subject.dataset.train, 64, 0))
    expected = functional.cross_entropy(heard.logits.double(), heard.labels).item()
    assert found.numbers["loss"] == pytest.approx(expected, rel=1e-6)
    assert found.arrays["lines"][0, :, 2] == pytest.approx(found.numbers["loss"], rel=1e-12)
    assert found.arrays["surfaces"][0, 2, 2] == pytest.approx(found.numbers["loss"], rel=1e-12)


def test_batches_of_any_size_give_the_mean_over_images(subjects: Sequence[Subject]) -> None:
    subject = subjects[0]
    part = sample(subject.dataset.train, 30, 0)
    losses = [
        mean_loss(subject.student, [*plain_batches(part, subject.dataset, batch_size=size)])(
            _weights(subject.student)
        )
        for size in (30, 7)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_numbers_are_those_of_the_lines(subjects: Sequence[Subject]) -> None:
    analysis = QUICK.model_copy(update={"radius": 0.5, "grid": 0})
    found = analysis.measure(subjects[0])
    lines = found.arrays["lines"][0]  # at -1, -0.5, 0, 0.5 and 1
    loss = found.numbers["loss"]
    assert found.numbers["sharpness"] == pytest.approx(lines[:, [1, 3]].mean() - loss)
    for which in (0, 1):
        bend = (lines[which, 1] - 2 * loss + lines[which, 3]) / 0.5**2
        assert found.numbers[f"curvature_{which + 1}"] == pytest.approx(bend)
    assert found.arrays["surfaces"].shape == (1, 0, 0)


def test_the_same_run_gives_the_same_bits_and_the_network_stays_as_it_is(
    subjects: Sequence[Subject],
) -> None:
    student = subjects[0].student
    before = {name: value.clone() for name, value in student.state_dict().items()}
    first, second = (QUICK.measure(subjects[0]) for _ in range(2))
    assert first.numbers == second.numbers
    assert all(math.isfinite(value) for value in first.numbers.values())
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in first.arrays)
    assert not any(module.training for module in student.modules())
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())


def test_epochs_are_looked_at_in_order_and_name_their_numbers(tmp_path: Path) -> None:
    networks = {epoch: frozen(_network(epoch)) for epoch in (1, 2)}
    subject = made("one", config(tmp_path, method="scratch"), networks[2])
    object.__setattr__(subject, "at_epoch", networks.__getitem__)
    analysis = QUICK.model_copy(update={"epochs": "1,2"})
    found = analysis.measure(subject)
    final = QUICK.measure(subject)
    assert found.numbers["sharpness/epoch_2"] == final.numbers["sharpness"]
    assert found.numbers["loss/epoch_1"] != found.numbers["loss/epoch_2"]
    assert np.array_equal(found.arrays["surfaces"][1], final.arrays["surfaces"][0])
    with style():
        table = analysis.present([item(subject, found)]).tables[0]
    assert [row[:3] for row in table.rows] == [
        ["one", epoch, found.numbers[f"loss/epoch_{epoch}"]] for epoch in (1, 2)
    ]


def _noting(tmp_path: Path, asked: list[int]) -> Subject:
    """A subject of three epochs that notes which of them it is asked for."""

    def at_epoch(epoch: int) -> nn.Module:
        asked.append(epoch)
        return frozen(_network(epoch))

    subject = made("one", config(tmp_path, method="scratch"), _network())
    object.__setattr__(subject, "at_epoch", at_epoch)
    return subject


def test_an_epoch_that_the_run_did_not_have_is_told_before_any_training(tmp_path: Path) -> None:
    asked: list[int] = []
    with pytest.raises(ValueError, match=r"epochs must be in \[1, 3\] for this run, got 9"):
        QUICK.model_copy(update={"epochs": "1,9"}).measure(_noting(tmp_path, asked))
    assert asked == []


def test_epochs_are_asked_for_in_the_order_of_one_training(tmp_path: Path) -> None:
    asked: list[int] = []
    QUICK.model_copy(update={"epochs": "1,2,3"}).measure(_noting(tmp_path, asked))
    assert asked == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 4}, "must be odd and at least 3, got 4; take 5"),
        ({"grid": 1}, "must be odd and at least 3, got 1; take 3"),
        ({"epochs": "20,10"}, "rising whole numbers"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, int | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossLandscape(**options)  # type: ignore[arg-type]


def test_a_diverged_network_is_refused(tmp_path: Path) -> None:
    broken = _network()
    with torch.no_grad():
        broken.get_submodule("classifier").weight.fill_(math.nan)
    subject = made("broken", config(tmp_path, method="scratch"), broken)
    with pytest.raises(ValueError, match="leave out runs that diverged"):
        QUICK.measure(subject)


def test_all_subjects_share_the_scale_of_the_pictures(subjects: Sequence[Subject]) -> None:
    items = [item(subject, QUICK.measure(subject)) for subject in subjects[1:]]
    with style():
        shown = QUICK.present(items)
    assert set(shown.figures) == {"line", "surface"}
    lines = shown.figures["line"].axes
    assert {axis.get_ylim() for axis in lines} == {lines[0].get_ylim()}
    filled = [axis.collections[0] for axis in shown.figures["surface"].axes[:2]]
    assert np.array_equal(filled[0].levels, filled[1].levels)
    everything = np.stack([each.measured.arrays["surfaces"] for each in items])
    assert filled[0].levels[0] < everything.min()
    assert filled[0].levels[-1] > everything.max()


def test_the_surface_can_be_left_out(subjects: Sequence[Subject]) -> None:
    flat = QUICK.model_copy(update={"grid": 0})
    with style():
        shown = flat.present([item(subjects[0], flat.measure(subjects[0]))])
    assert set(shown.figures) == {"line"}


def _copy(network: nn.Module) -> nn.Module:
    copy = _network()
    copy.load_state_dict(network.state_dict())
    return frozen(copy)
