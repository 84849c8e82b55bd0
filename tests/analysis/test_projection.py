from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, item, made
from torch import Tensor, nn

from kdtune.analysis import Subject
from kdtune.analysis.figures import style
from kdtune.analysis.projection import (
    Projection,
    fit_plane,
    in_basis,
    side_lengths,
    spread,
    template_basis,
    upright,
)
from kdtune.models import Tap, declare_taps
from kdtune.seeds import generator


class Linear(nn.Module):
    """A network whose features are the pixels times a matrix."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.classifier = nn.Linear(matrix.shape[1], 10)
        draws = generator(8, "classifier")
        with torch.no_grad():
            self.classifier.weight.copy_(torch.randn(10, matrix.shape[1], generator=draws))
            self.classifier.bias.copy_(torch.randn(10, generator=draws))

    def forward(self, images: Tensor) -> Tensor:
        said: Tensor = self.classifier(images.flatten(1) @ self.matrix)
        return said


def subject(store: Path, scale: float = 1.0, *, label: str = "made", **keys: float) -> Subject:
    matrix = scale * torch.randn(64, 12, generator=generator(7, "features")) / 8
    network = declare_taps(Linear(matrix), {"pooled": Tap(path="classifier", side="input")})
    return made(label, config(store, **keys), network)


def cloud(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points ``(n, 3)`` around three centroids, their labels, and their means."""
    draws = generator(seed, "cloud")
    labels = torch.arange(3).repeat(40)
    centres = torch.tensor([[4.0, 0, 0], [0, 3.0, 1], [0, 0, 5.0]], dtype=torch.float64)
    points = centres[labels] + torch.randn(120, 3, generator=draws).double()
    means = torch.stack([points[labels == k].mean(dim=0) for k in range(3)])
    return points, labels, means


def test_the_basis_is_orthonormal_and_spans_the_plotted_templates() -> None:
    draws = generator(0, "templates")
    weight, bias = torch.randn(6, 9, generator=draws), torch.randn(6, generator=draws)
    basis = template_basis(weight, bias, [4, 1, 5])
    assert basis.shape == (10, 3)
    torch.testing.assert_close(basis.T @ basis, torch.eye(3, dtype=torch.float64))
    templates = torch.cat([weight, bias[:, None]], dim=1).double()
    inside = templates @ basis @ basis.T
    torch.testing.assert_close(inside[[4, 1, 5]], templates[[4, 1, 5]])
    assert (inside[[0, 2, 3]] - templates[[0, 2, 3]]).norm(dim=1).min() > 0.1


def test_a_classifier_without_bias_has_biases_of_zero() -> None:
    weight = torch.randn(4, 5, generator=generator(1, "no bias"))
    ours = template_basis(weight, None, [0, 1, 2])
    torch.testing.assert_close(ours, template_basis(weight, torch.zeros(4), [0, 1, 2]))
    assert not ours[-1].any()


def test_a_logit_is_the_product_of_template_and_projection(tmp_path: Path) -> None:
    # What the space keeps of a feature is all that the three logits are made of.
    weight, bias = torch.randn(2, 6, 9, generator=generator(2, "logits")).double()
    rows = torch.randn(7, 9, generator=generator(3, "rows")).double()
    basis = template_basis(weight, bias[:, 0], [0, 3, 5])
    templates = torch.cat([weight, bias[:, :1]], dim=1)[[0, 3, 5]]
    logits = rows @ weight[[0, 3, 5]].T + bias[[0, 3, 5], 0]
    torch.testing.assert_close(in_basis(rows, basis) @ (templates @ basis).T, logits)


def test_the_first_centroid_is_above_the_mean_and_the_second_on_the_left() -> None:
    points, _, means = cloud()
    flat = upright(fit_plane(points, means), means)(means)
    around = flat - flat.mean(dim=0)
    assert around[0, 0].item() == pytest.approx(0, abs=1e-12)
    assert around[0, 1] > 1
    assert around[1, 0] < 0 < around[2, 0]


def test_a_sign_flip_or_rotation_of_the_basis_leaves_the_picture_as_it_is() -> None:
    points, _, means = cloud()
    picture = upright(fit_plane(points, means), means)(points)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator(4, "turn")).double()).Q
    for change in (torch.diag(torch.tensor([-1.0, 1.0, -1.0])).double(), turn):
        plane = fit_plane(points @ change, means @ change)
        again = upright(plane, means @ change)(points @ change)
        torch.testing.assert_close(again, picture)


def test_the_plane_keeps_distances_of_points_that_lie_in_it() -> None:
    points, _, means = cloud()
    axes = torch.linalg.qr(torch.randn(3, 2, generator=generator(5, "plane")).double()).Q
    flat, centres = points @ axes @ axes.T, means @ axes @ axes.T
    picture = fit_plane(flat, centres)(flat)
    torch.testing.assert_close(torch.cdist(picture, picture), torch.cdist(flat, flat))


def test_a_first_centroid_between_the_others_still_gives_axes() -> None:
    means = torch.tensor([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0]], dtype=torch.float64)
    plane = upright(fit_plane(torch.cat([means + 0.1, means - 0.1]), means), means)
    torch.testing.assert_close(plane.axes.T @ plane.axes, torch.eye(2, dtype=torch.float64))


def test_spread_and_sides_equal_values_worked_out_by_hand() -> None:
    points = torch.tensor([[0.0, 1], [0, -1], [3, 2], [3, -2], [0, 4], [0, 4]])
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert spread(points, labels) == pytest.approx((1 + 2 + 0) / 3)
    corners = torch.tensor([[0.0, 0], [3, 0], [0, 4]])
    assert side_lengths(corners).tolist() == [3, 4, 5]


def test_the_projection_equals_the_public_form_with_the_plotted_biases(tmp_path: Path) -> None:
    run, chosen = subject(tmp_path), [8, 1, 3]
    measured = Projection(classes="8,1,3", train_points=1000, val_points=1000).measure(run)
    layer = run.student.classifier
    rows = np.column_stack([layer.weight[chosen].numpy(), layer.bias[chosen].numpy()])
    q = np.linalg.qr(rows.T.astype(float))[0]
    train, val = (_public(run, split, chosen) @ q for split in ("train", "val"))
    labels = {split: measured.arrays[f"labels/{split}"] for split in ("train", "val")}
    means = np.stack([train[labels["train"] == k].mean(axis=0) for k in range(3)])
    stacked = np.concatenate([train, means])
    centred = stacked - stacked.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, np.argsort(values)[::-1][:2]]
    for split, points in (("train", train), ("val", val)):
        theirs = (points - stacked.mean(axis=0)) @ axes
        ours = measured.arrays[f"points/{split}"]
        # The same picture up to a turn about its origin: lengths and angles agree.
        assert ours @ ours.T == pytest.approx(theirs @ theirs.T, rel=1e-5, abs=1e-5)


def _public(run: Subject, split: str, chosen: list[int]) -> np.ndarray:
    images = getattr(run.dataset, split)
    pixels = images.images[images.index].flatten(1).numpy() / 255
    pixels = (pixels - run.dataset.mean[0]) / run.dataset.std[0]
    features = pixels @ run.student.matrix.numpy()
    ordered = np.concatenate([features[images.targets.numpy() == k] for k in chosen])
    return np.column_stack([ordered, np.ones(len(ordered))])


def test_validation_points_lie_in_the_plane_of_the_training_points(tmp_path: Path) -> None:
    run = subject(tmp_path)
    few, many = (Projection(val_points=n).measure(run).arrays for n in (2, 1000))
    assert np.array_equal(few["points/train"], many["points/train"])
    # The same images are at the same place, however many others are shown with them.
    for point in few["points/val"]:
        assert np.abs(many["points/val"] - point).max(axis=1).min() < 1e-5
    other = Projection(train_points=3).measure(run).arrays
    assert not np.allclose(other["points/val"], Projection().measure(run).arrays["points/val"])


def test_as_many_images_as_asked_for_are_drawn_of_each_class(tmp_path: Path) -> None:
    run = subject(tmp_path)
    arrays = Projection(train_points=20, val_points=10).measure(run).arrays
    assert np.bincount(arrays["labels/train"]).tolist() == [20, 20, 20]
    assert np.bincount(arrays["labels/val"]).tolist() == [10, 10, 10]
    again = Projection(train_points=20, val_points=10, seed=1).measure(run).arrays
    assert not np.array_equal(arrays["points/train"], again["points/train"])


def test_the_ratio_does_not_know_the_scale_of_the_features(tmp_path: Path) -> None:
    # The 1 behind the features does not scale, so the classifier has to be without bias.
    runs = [subject(tmp_path, scale) for scale in (1.0, 10.0)]
    for run in runs:
        run.student.classifier.bias = None
    one, ten = (Projection().measure(run).numbers for run in runs)
    for split in ("train", "val"):
        assert ten[f"spread/{split}"] == pytest.approx(10 * one[f"spread/{split}"], rel=1e-4)
        assert ten[f"spread_ratio/{split}"] == pytest.approx(one[f"spread_ratio/{split}"], rel=1e-4)
        ratio = one[f"spread/{split}"] / one[f"centroid_distance/{split}"]
        assert one[f"spread_ratio/{split}"] == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "0,1,ten"}, "unknown class 'ten'"),
        ({"classes": "0,1,1"}, "each class may be given once"),
        ({"network": "teacher"}, "'made' has no teacher"),
    ],
)
def test_options_that_do_not_fit_the_run_are_refused(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Projection(**options).measure(subject(tmp_path))


def test_classes_are_three() -> None:
    with pytest.raises(ValueError, match="must be three, separated by commas"):
        Projection(classes="0,1")


def test_a_collapsed_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same centroid on the train split of 'made'"):
        Projection().measure(subject(tmp_path, 0.0))


def test_rows_go_by_temperature_and_panels_share_their_limits(tmp_path: Path) -> None:
    runs = [
        subject(tmp_path, scale, label=label, temperature=heat)
        for label, scale, heat in (("hot", 2.0, 20.0), ("cold", 1.0, 1.0), ("mild", 0.5, 4.0))
    ]
    analysis = Projection()
    with style():
        found = analysis.present([item(run, analysis.measure(run)) for run in runs])
    axes = found.figures["projection"].axes
    titles = [axis.get_title(loc="left").split("\n") for axis in axes]
    assert [title[0] for title in titles[::2]] == ["cold (T = 1)", "mild (T = 4)", "hot (T = 20)"]
    assert [title[1] for title in titles] == ["train", "val"] * 3
    assert len({(*axis.get_xlim(), *axis.get_ylim()) for axis in axes}) == 1
    assert [row[0] for row in found.tables[0].rows[::2]] == ["cold", "mild", "hot"]


def test_trained_students_give_finite_numbers_and_the_same_bits_twice(
    subjects: Sequence[Subject],
) -> None:
    for network, shown in (("student", subjects), ("teacher", subjects[:2])):
        analysis = Projection(network=network)
        items = []
        for run in shown:
            one, two = analysis.measure(run), analysis.measure(run)
            assert one.numbers == two.numbers
            assert all(np.isfinite(value) and value > 0 for value in one.numbers.values())
            for name, array in one.arrays.items():
                assert np.array_equal(array, two.arrays[name])
            items.append(item(run, one))
        with style():
            found = analysis.present(items)
        assert all(len(row) == len(t.columns) for t in found.tables for row in t.rows)
