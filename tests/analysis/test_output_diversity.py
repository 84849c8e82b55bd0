import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from made_subjects import config, frozen, item, made
from matplotlib.figure import Figure
from torch import Tensor, nn

from kdtune.analysis import Item, Measured, Subject
from kdtune.analysis.figures import style
from kdtune.analysis.output_diversity import (
    OutputDiversity,
    error_margin,
    input_gradients,
    nwot_score,
    spectrum,
)
from kdtune.seeds import generator

K = 1e-5


class HalfSquares(nn.Module):
    """The gradient of its logits by an image is the image itself."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).square() / 2


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "images"), dtype=torch.float64)


def _network(seed: int = 0) -> nn.Module:
    """A small convolutional one with a moved batch norm."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh()),
            *(nn.Flatten(), nn.Linear(6 * 64, 5), nn.Softplus()),
        ).double()
        network(torch.randn(32, 1, 8, 8, dtype=torch.float64))
    return frozen(network)


def _first_version(model: nn.Module, images: Tensor) -> float:
    """The public code's form: one backward pass, numpy's correlations, the general eigen-solver."""
    inputs = images.clone().requires_grad_()
    outputs = model(inputs)
    outputs.backward(torch.ones_like(outputs))
    assert inputs.grad is not None
    jacobian = inputs.grad.reshape(len(images), -1).numpy()
    values = np.linalg.eig(np.corrcoef(jacobian))[0].real
    return float(-np.sum(np.log(values + K) + 1.0 / (values + K)))


def test_the_score_is_that_of_the_public_first_version() -> None:
    model, images = _network(), _noise(24, 1, 8, 8)
    assert nwot_score(model, images) == pytest.approx(_first_version(model, images), rel=1e-5)


def test_with_batch_statistics_it_is_that_of_the_public_code_in_train_mode() -> None:
    model, images = _network(), _noise(24, 1, 8, 8)
    score = nwot_score(model, images, bn_mode="batch")
    assert score == pytest.approx(_first_version(copy.deepcopy(model).train(), images), rel=1e-5)
    assert score != pytest.approx(nwot_score(model, images), rel=1e-4)


def test_in_eval_mode_an_image_has_the_gradient_that_it_has_alone_but_not_with_the_batch() -> None:
    model, images = _network(), _noise(6, 1, 8, 8)
    for mode, same in (("eval", True), ("batch", False)):
        together = input_gradients(model, images, bn_mode=mode)
        apart = torch.cat([input_gradients(model, one[None], bn_mode=mode) for one in images])
        assert torch.allclose(together, apart) is same


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_the_network_stays_as_it_is(mode: Literal["eval", "batch"]) -> None:
    model = _network().requires_grad_()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        nwot_score(model, _noise(6, 1, 8, 8), bn_mode=mode)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(module.track_running_stats for module in model if isinstance(module, nn.BatchNorm2d))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_linear_network_has_one_gradient_for_all_images() -> None:
    count = 9
    model = frozen(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).double())
    images = _noise(count, 1, 8, 8)
    expected = torch.zeros(count, dtype=torch.float64)
    expected[-1] = count
    rows = input_gradients(model, images)
    torch.testing.assert_close(spectrum(rows), expected, atol=1e-12, rtol=0)
    of_zeros = (count - 1) * (math.log(K) + 1 / K)
    closed = -(math.log(count + K) + 1 / (count + K)) - of_zeros
    assert nwot_score(model, images) == pytest.approx(closed, rel=1e-6)


def test_uncorrelated_gradients_have_the_largest_score() -> None:
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    walsh = torch.kron(torch.kron(two, two), two)[1:]  # the first row is constant
    images = walsh.view(7, 1, 2, 4)
    best = -7 * (math.log(1 + K) + 1 / (1 + K))
    assert nwot_score(HalfSquares().eval(), images) == pytest.approx(best, rel=1e-12)
    assert nwot_score(HalfSquares().eval(), images + 0.1 * _noise(7, 1, 2, 4)) < best


def test_two_gradients_correlated_by_half_have_a_score_worked_out_by_hand() -> None:
    rows = torch.tensor([[1.0, 0.0, -1.0], [1.0, -1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(spectrum(rows), torch.tensor([0.5, 1.5], dtype=torch.float64))
    expected = -sum(math.log(v + K) + 1 / (v + K) for v in (0.5, 1.5))
    score = nwot_score(HalfSquares().eval(), rows.view(2, 1, 1, 3))
    assert score == pytest.approx(expected, rel=1e-12)


def test_scaling_or_shifting_a_gradient_changes_nothing() -> None:
    rows = _noise(8, 40)
    moved = rows * torch.logspace(-6, 6, 8, dtype=torch.float64)[:, None] + 0.5
    torch.testing.assert_close(spectrum(moved), spectrum(rows), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("value", [0.0, 3.0, math.nan])
def test_an_image_whose_gradient_is_constant_is_named(value: float) -> None:
    images = _noise(5, 1, 4, 4)
    images[3] = value
    with pytest.raises(ValueError, match=rf"got {value} to {value} for image 3 \(1 of 5"):
        nwot_score(HalfSquares().eval(), images)


def test_a_network_in_train_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="eval mode"):
        nwot_score(_network().train(), _noise(4, 1, 8, 8))


def test_more_images_than_the_split_has_are_refused(tmp_path: Path) -> None:
    subject = made("made", config(tmp_path), _network().float())
    with pytest.raises(ValueError, match=r"at most \d+, the images of the val split, got 9999"):
        OutputDiversity(batch_size=9999, split="val").measure(subject)


def test_trained_students_give_the_same_bits_twice(subjects: Sequence[Subject]) -> None:
    analysis = OutputDiversity(batch_size=32)
    first, again = analysis.measure(subjects[1]), analysis.measure(subjects[1])
    assert first.numbers == again.numbers
    assert np.array_equal(first.arrays["eigenvalues"], again.arrays["eigenvalues"])
    assert first.arrays["eigenvalues"].sum() == pytest.approx(32)
    assert math.isfinite(first.numbers["nwot_score/train"])
    assert first.numbers["nwot_score/train"] <= -31.99
    others = [OutputDiversity(batch_size=32, seed=1), OutputDiversity(batch_size=32, split="val")]
    numbers = {tuple(each.measure(subjects[1]).numbers.values()) for each in [analysis, *others]}
    assert len(numbers) == 3


def _measured(score: float) -> Measured:
    eigenvalues = np.array([0.0, 1e-6, 2.9])
    return Measured(numbers={"nwot_score/train": score}, arrays={"eigenvalues": eigenvalues})


def _items(store: Path) -> list[Item]:
    network = _network()
    scores = {"alone": [-5.0], "taught": [-3.0, -4.0, -5.0, -6.0]}
    return [
        item(
            made(f"{name}, seed {seed}", config(store, seed=seed, temperature=t), network),
            _measured(score),
        )
        for t, (name, values) in enumerate(scores.items(), start=1)
        for seed, score in enumerate(values)
    ]


def test_seeds_of_a_configuration_are_one_row_with_its_interval(tmp_path: Path) -> None:
    with style():
        presented = OutputDiversity().present(_items(tmp_path))
    deviation = math.sqrt(5 / 3)
    taught = presented.tables[0].rows[1]
    assert taught[:3] == ["taught", 4, -4.5]
    assert taught[3:] == pytest.approx([deviation, deviation / 2, 2.576 * deviation / 2, 2.0])
    assert presented.tables[0].rows[0] == ["alone, seed 0", 1, -5.0, None, None, None, 2.0]
    assert isinstance(presented.figures["output_diversity"], Figure)


def test_the_error_margin_is_that_of_the_paper_for_its_five_networks() -> None:
    values = [-143.5, -144.4, -143.8, -144.6, -143.5]
    assert error_margin(values) == pytest.approx(np.std(values, ddof=1) / math.sqrt(5))


def test_the_figure_draws_an_interval_only_where_there_are_several_seeds(tmp_path: Path) -> None:
    items = _items(tmp_path)
    with style():
        several = OutputDiversity().present(items).figures["output_diversity"]
        alone = OutputDiversity().present(items[:1]).figures["output_diversity"]
    assert len(several.legends) == 1
    assert not alone.legends
    assert not alone.axes[0].containers
