import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, item, made
from pydantic import ValidationError
from torch import Tensor, nn

from kdtune.analysis import Item, Presented, Subject
from kdtune.analysis.class_distances import (
    centroid_distances,
    class_centroids,
    diffusion_index,
    mean_pair_distances,
    relative_distances,
)
from kdtune.analysis.diffusion_index import DiffusionIndex, independent
from kdtune.analysis.diffusion_pages import pairs
from kdtune.analysis.figures import style
from kdtune.analysis.reading import SplitName, split_of
from kdtune.models import Tap, declare_taps
from kdtune.seeds import generator

TWINS = json.dumps({"twins": ["3", "8"], "others": ["0", "1", "2", "4", "5", "6", "7", "9"]})
"""Of the digits, one pair of similar classes; all others are like each other."""


class Linear(nn.Module):
    """A network whose features are the pixels times a matrix, so that centroids are known."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix.float())
        self.classifier = nn.Linear(matrix.shape[1], 10)

    def forward(self, images: Tensor) -> Tensor:
        said: Tensor = self.classifier(images.flatten(1) @ self.matrix)
        return said


def linear(matrix: Tensor) -> nn.Module:
    return declare_taps(Linear(matrix), {"pooled": Tap(path="classifier", side="input")})


def pixel_centroids(subject: Subject, name: SplitName = "train") -> Tensor:
    split, mean, std = split_of(subject.dataset, name), subject.dataset.mean, subject.dataset.std
    rows = (split.images[split.index].double() / 255 - mean[0]) / std[0]
    return class_centroids(rows.flatten(1), split.targets, 10)


def shrinking(direction: Tensor, factor: float) -> Tensor:
    """The matrix that shortens one direction and leaves all others as they are."""
    unit = direction / direction.norm()
    return torch.eye(len(unit), dtype=torch.float64) - (1 - factor) * torch.outer(unit, unit)


def pair_of_runs(
    store: Path, low: Tensor, high: Tensor, seed: int = 0, *, heats: tuple[float, float] = (1, 3)
) -> list[Subject]:
    return [
        made(
            f"T = {heat:g}, seed {seed}",
            config(store, temperature=float(heat), seed=seed),
            linear(matrix),
        )
        for heat, matrix in zip(heats, (low, high), strict=True)
    ]


def measured(analysis: DiffusionIndex, subjects: Sequence[Subject]) -> list[Item]:
    return [
        item(subject, analysis.measure(subject, [s for s in subjects if s is not subject]))
        for subject in subjects
    ]


def presented(analysis: DiffusionIndex, subjects: Sequence[Subject]) -> Presented:
    with style():
        return analysis.present(measured(analysis, subjects))


def features(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = generator(seed, "diffusion test")
    labels = torch.randint(5, (60,), generator=draws)
    return torch.randn(60, 7, generator=draws) + labels[:, None], labels


def others(count: int) -> np.ndarray:
    return ~np.eye(count, dtype=bool)


def test_three_classes_have_the_index_worked_out_by_hand() -> None:
    # Target 0 at 3 and 9 from its twin and its stranger, then at 2 and 8: of 12 and of 10.
    low = np.array([[0.0, 3.0, 9.0]])
    high = np.array([[0.0, 2.0, 8.0]])
    whole = np.array([[False, True, True]])
    before, after = relative_distances(low, whole), relative_distances(high, whole)
    assert before.tolist() == [[0, 0.25, 0.75]]
    assert after.tolist() == [[0, 0.2, 0.8]]
    twin, stranger = np.array([[0, 1, 0]], dtype=bool), np.array([[0, 0, 1]], dtype=bool)
    assert diffusion_index(before, after, twin) == pytest.approx(-20)
    assert diffusion_index(before, after, stranger) == pytest.approx(100 * 0.05 / 0.75)
    assert diffusion_index(before, after, whole) == pytest.approx((-20 + 100 / 15) / 2)


def test_relative_distances_sum_to_one_and_do_not_know_the_scale() -> None:
    rows, labels = features()
    distances = centroid_distances(class_centroids(rows, labels, 5)).numpy()
    scaled = centroid_distances(class_centroids(1e3 * rows, labels, 5)).numpy()
    relative = relative_distances(distances, others(5))
    assert relative.sum(axis=1) == pytest.approx(np.ones(5), rel=1e-12)
    assert relative_distances(scaled, others(5)) == pytest.approx(relative, rel=1e-6)
    assert not np.allclose(scaled, distances)
    assert diffusion_index(relative, relative, others(5)) == pytest.approx(np.zeros(5))


def test_over_the_union_of_two_sets_the_changes_cancel() -> None:
    draws = generator(1, "zero sum")
    low, high = (torch.rand(6, 6, generator=draws).double().numpy() + 0.5 for _ in range(2))
    similar, dissimilar = np.zeros((2, 6, 6), dtype=bool)
    for target in range(6):
        similar[target, (target + 1) % 6] = True
        dissimilar[target, (target + 2) % 6] = True
    union = similar | dissimilar
    before, after = relative_distances(low, union), relative_distances(high, union)
    one, two = (diffusion_index(before, after, members) for members in (similar, dissimilar))
    # What the one class loses the other gains: opposite signs, in the ratio of their distances.
    assert (np.sign(one) == -np.sign(two)).all()
    assert -one / two == pytest.approx(before[dissimilar] / before[similar])
    # Over all classes others may take it up, and both may have one sign.
    before, after = (relative_distances(distances, others(6)) for distances in (low, high))
    one, two = (diffusion_index(before, after, members) for members in (similar, dissimilar))
    assert (np.sign(one) == np.sign(two)).any()


def test_centroids_are_the_means_of_their_samples() -> None:
    rows = torch.tensor([[0.0, 2.0], [4.0, 0.0], [2.0, 2.0]])
    centroids = class_centroids(rows, torch.tensor([1, 0, 1]), 2)
    assert centroids.tolist() == [[4, 0], [1, 2]]
    assert centroid_distances(centroids).tolist() == pytest.approx(
        np.array([[0, 13**0.5], [13**0.5, 0]])
    )


def test_distances_of_all_pairs_equal_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdtune.analysis.class_distances.PAIRS_AT_ONCE", 100)  # several chunks
    rows, labels = features()
    found = mean_pair_distances(rows, labels, 5, [3, 0])
    for place, target in enumerate((3, 0)):
        for other in range(5):
            pairs_of = [
                float((a.double() - b.double()).norm())
                for a in rows[labels == target]
                for b in rows[labels == other]
            ]
            expected = sum(pairs_of) / len(pairs_of)
            assert found[place, other].item() == pytest.approx(expected, rel=1e-6)


def test_of_single_samples_pairs_and_centroids_are_the_same() -> None:
    rows, labels = torch.randn(4, 3, generator=generator(2, "single")), torch.arange(4)
    ours = mean_pair_distances(rows, labels, 4, range(4))
    torch.testing.assert_close(ours, centroid_distances(class_centroids(rows, labels, 4)))


def test_a_class_without_samples_or_apart_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="class 1 has none in a split of 2"):
        class_centroids(torch.zeros(2, 3), torch.tensor([0, 2]), 3)
    with pytest.raises(ValueError, match="apart from the target, got none"):
        relative_distances(np.zeros((2, 2)), others(2))
    with pytest.raises(ValueError, match="distance of 0 means nothing"):
        diffusion_index(np.zeros((2, 2)), np.ones((2, 2)), others(2))


@pytest.mark.parametrize("over", ["all", "union"])
@pytest.mark.parametrize("distance", ["centroid", "pairwise"])
def test_a_class_that_is_moved_towards_its_twin_has_the_signs_of_diffusion(
    tmp_path: Path, over: str, distance: str
) -> None:
    plain = torch.eye(64, dtype=torch.float64)
    probe = made("probe", config(tmp_path), linear(plain))
    centroids = pixel_centroids(probe)
    closer = shrinking(centroids[3] - centroids[8], 0.5)
    analysis = DiffusionIndex(hierarchy=TWINS, target="3,8", over=over, distance=distance)
    runs = pair_of_runs(tmp_path, plain, closer)
    found = presented(analysis, runs).numbers["T = 3, seed 0"]
    back = presented(analysis, pair_of_runs(tmp_path, closer, plain)).numbers["T = 3, seed 0"]
    for split in ("train", "val"):
        assert found[f"diffusion_index_similar/{split}"] < -1
        assert found[f"diffusion_index_dissimilar/{split}"] > 0.1
        assert back[f"diffusion_index_similar/{split}"] > 1
        assert back[f"diffusion_index_dissimilar/{split}"] < -0.1
    if distance == "centroid":
        # Only the twins' difference lies wholly in the direction that was halved.
        assert found["distance_change_similar/train"] == pytest.approx(-50, abs=1e-3)
        assert -50 < found["distance_change_dissimilar/train"] < 0


def test_a_student_of_larger_features_has_no_index_but_other_distances(tmp_path: Path) -> None:
    plain = torch.eye(64, dtype=torch.float64)
    found = presented(DiffusionIndex(hierarchy=TWINS), pair_of_runs(tmp_path, plain, 3 * plain))
    numbers = found.numbers["T = 3, seed 0"]
    for kind in ("similar", "dissimilar"):
        assert numbers[f"diffusion_index_{kind}/val"] == pytest.approx(0, abs=1e-4)
        assert numbers[f"distance_change_{kind}/val"] == pytest.approx(200, abs=1e-3)


@pytest.mark.parametrize(("over", "summed"), [("all", 9), ("union", 6)])
def test_the_numbers_are_those_of_the_formulas(tmp_path: Path, over: str, summed: int) -> None:
    plain = torch.eye(64, dtype=torch.float64)
    other = torch.randn(64, 5, generator=generator(4, "matrix")).double()
    runs = pair_of_runs(tmp_path, plain, other)
    partly = json.dumps({"twins": ["3", "8"], "others": ["0", "1", "2", "4", "5"]})
    found = presented(DiffusionIndex(hierarchy=partly, target="8", over=over), runs)
    near, far = [3], [0, 1, 2, 4, 5]
    whole = [*near, *far] if over == "union" else [k for k in range(10) if k != 8]
    assert len(whole) == summed
    relative = []
    for matrix in (plain, other):
        rows = pixel_centroids(runs[0]) @ matrix
        lengths = (rows - rows[8]).norm(dim=1).numpy()
        relative.append(lengths / lengths[whole].sum())
    change = 100 * (relative[1] - relative[0])[whole] / relative[0][whole]
    by_class = dict(zip(whole, change, strict=True))
    numbers = found.numbers["T = 3, seed 0"]
    for kind, members in (("similar", near), ("dissimilar", far)):
        expected = np.mean([by_class[k] for k in members])
        assert numbers[f"diffusion_index_{kind}/train"] == pytest.approx(expected, rel=1e-3)


def test_classes_are_near_by_the_independent_network_on_validation_images(tmp_path: Path) -> None:
    plain = torch.eye(64, dtype=torch.float64)
    probe = made("probe", config(tmp_path), linear(plain))
    centroids = pixel_centroids(probe)
    # To this network 0 and 1 are nearly one class, whatever the students make of them.
    alone = made(
        "alone",
        config(tmp_path, method="scratch"),
        linear(shrinking(centroids[0] - centroids[1], 0.01)),
    )
    runs = pair_of_runs(tmp_path, plain, 2 * plain)
    arrays = DiffusionIndex().measure(runs[0], [runs[1], alone]).arrays
    assert np.flatnonzero(arrays["similar"][0]).tolist() == [1]
    assert np.flatnonzero(arrays["similar"][1]).tolist() == [0]
    assert arrays["dissimilar"].sum(axis=1).tolist() == [8] * 10
    by_name = DiffusionIndex(hierarchy=TWINS).measure(runs[0], [alone]).numbers
    assert 0 <= by_name["class_set_agreement_similar"] <= 1
    assert (
        "class_set_agreement_similar"
        not in DiffusionIndex(hierarchy=TWINS).measure(runs[0], [runs[1]]).numbers
    )


def test_the_independent_network_is_asked_on_its_validation_split(tmp_path: Path) -> None:
    # With few directions, what is nearest on the training images differs from that.
    matrix = torch.randn(64, 2, generator=generator(9, "narrow")).double()
    alone = made("alone", config(tmp_path, method="scratch"), linear(matrix))
    arrays = DiffusionIndex().measure(alone).arrays
    nearest_by = {}
    names: tuple[SplitName, ...] = ("train", "val")
    for split in names:
        far = centroid_distances(pixel_centroids(alone, split) @ matrix)
        far.fill_diagonal_(torch.inf)
        nearest_by[split] = far.argmin(dim=1).tolist()
    assert arrays["similar"].argmax(axis=1).tolist() == nearest_by["val"] != nearest_by["train"]


def test_the_independent_network_learned_from_plain_labels_alone(tmp_path: Path) -> None:
    plain = torch.eye(64, dtype=torch.float64)
    taught = pair_of_runs(tmp_path, plain, plain)[0]
    smooth, mixed, pruned, wrong, seen, second, first = (
        made(label, config(tmp_path, method="scratch", **keys), linear(plain))
        for label, keys in (
            ("smooth", {"method.label_smoothing": 0.1}),
            ("mixed", {"augment": "cutmix"}),
            ("pruned", {"prune_ratio": 0.5}),
            ("wrong", {"data.label_noise": 0.4}),
            ("seen", {"train.on": "train+val"}),
            ("second", {"seed": 2}),
            ("first", {"seed": 1}),
        )
    )
    names = taught.dataset.class_names
    others = [taught, smooth, mixed, pruned, wrong, seen]
    assert independent(others, names) is None
    assert independent([*others, second, first], names) is first
    assert independent([first], ("other", "classes")) is None


def test_without_hierarchy_and_independent_network_the_remedy_is_named(tmp_path: Path) -> None:
    runs = pair_of_runs(tmp_path, torch.eye(64), torch.eye(64))
    with pytest.raises(ValueError, match=r"add a run without a teacher.*or set hierarchy"):
        DiffusionIndex().measure(runs[0], [runs[1]])


def test_a_target_without_a_sibling_or_a_collapsed_student_is_refused(tmp_path: Path) -> None:
    (run, flat) = pair_of_runs(tmp_path, torch.eye(64), torch.zeros(64, 4))
    lonely = DiffusionIndex(hierarchy='{"a": ["0", "1"], "b": ["2"]}', target="2")
    with pytest.raises(ValueError, match="the hierarchy gives '2' none"):
        lonely.measure(run)
    with pytest.raises(ValueError, match="gives no class both"):
        DiffusionIndex(hierarchy='{"a": ["0"], "b": ["2"]}').measure(run)
    with pytest.raises(ValueError, match="same features on the train split of 'T = 3, seed 0'"):
        DiffusionIndex(hierarchy=TWINS).measure(flat)


def test_options_out_of_range_are_refused_at_once() -> None:
    for options in ({"hierarchy": "no/such.json"}, {"similar_share": 0.0}, {"over": "both"}):
        with pytest.raises(ValidationError):
            DiffusionIndex(**options)


def test_runs_pair_up_that_differ_in_temperature_alone(tmp_path: Path) -> None:
    made_items = [
        Item(label=label, config=config(tmp_path, **keys), measured=None)  # type: ignore[arg-type]
        for label, keys in (
            ("hot", {"temperature": 64.0}),
            ("low", {"temperature": 1.0}),
            ("mild", {"temperature": 3.0}),
            ("other alpha", {"temperature": 3.0, "alpha": 0.5}),
            ("low, seed 1", {"temperature": 1.0, "seed": 1}),
            ("mild, seed 1", {"temperature": 3.0, "seed": 1}),
            ("alone", {"method": "scratch"}),
        )
    ]
    found = {(low.label, high.label) for low, high in pairs(made_items)}
    assert found == {("low", "hot"), ("low", "mild"), ("low, seed 1", "mild, seed 1")}


def test_seeds_are_summed_up_as_mean_and_sample_deviation(tmp_path: Path) -> None:
    plain = torch.eye(64, dtype=torch.float64)
    matrices = [torch.randn(64, 8, generator=generator(seed, "m")).double() for seed in (5, 6)]
    runs = [
        run
        for seed, matrix in enumerate(matrices)
        for run in pair_of_runs(tmp_path, plain, matrix, seed)
    ]
    found = presented(DiffusionIndex(hierarchy=TWINS), runs)
    table = found.tables[0]
    assert [row[:3] for row in table.rows] == [["T 1 → 3", 2, "train"], ["T 1 → 3", 2, "val"]]
    values = [
        found.numbers[f"T = 3, seed {seed}"]["diffusion_index_similar/val"] for seed in (0, 1)
    ]
    place = list(table.columns).index("similar")
    assert table.rows[1][place] == pytest.approx(np.mean(values))
    assert table.rows[1][place + 1] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)


def test_runs_measured_with_other_classes_are_not_set_side_by_side(tmp_path: Path) -> None:
    low, high = pair_of_runs(tmp_path, torch.eye(64), torch.eye(64))
    one, two = DiffusionIndex(hierarchy=TWINS), DiffusionIndex(hierarchy=TWINS, target="3")
    items = [item(low, one.measure(low)), item(high, two.measure(high))]
    with pytest.raises(ValueError, match="measured with other classes"):
        one.present(items)


def test_a_single_run_shows_its_distances_and_no_index(tmp_path: Path) -> None:
    (run, _) = pair_of_runs(tmp_path, torch.eye(64), torch.eye(64))
    found = presented(DiffusionIndex(hierarchy=TWINS), [run])
    assert len(found.tables) == 1
    assert "Distance of target classes" in found.tables[0].title
    assert not found.figures
    assert not found.numbers


@pytest.mark.parametrize("distance", ["centroid", "pairwise"])
def test_trained_students_give_finite_numbers_and_the_same_bits_twice(
    subjects: Sequence[Subject], distance: str
) -> None:
    analysis = DiffusionIndex(distance=distance)
    first, second = (measured(analysis, subjects) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert one.measured.numbers == two.measured.numbers
        assert all(np.isfinite(value) for value in one.measured.numbers.values())
        for name, array in one.measured.arrays.items():
            assert np.array_equal(array, two.measured.arrays[name])
    with style():
        found = analysis.present(first)
    assert set(found.numbers) == {"T = 3"}
    assert set(found.figures) == {"diffusion_index", "diffusion_index_by_class"}
    assert all(len(row) == len(t.columns) for t in found.tables for row in t.rows)
