import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, frozen, item, made
from torch import Tensor, nn
from torch.nn import functional

from kdtune import models
from kdtune.analysis import Measured, Subject
from kdtune.analysis.attack import pgd, random_starts
from kdtune.analysis.figures import style
from kdtune.analysis.reading import InPixels, pixels, sample
from kdtune.analysis.transferability import Transferability, teacher_of, transfer_rate

QUICK = Transferability(count=60, epsilon=0.1, step_size=0.02, steps=6)


def _linear() -> nn.Module:
    """Two classes of four pixels; class 1's weights less class 0's are 1, -2, 0.5 and -3."""
    layer = nn.Linear(4, 2, bias=False).double()
    layer.weight.data = torch.tensor([[1.0, 2, 0, 1], [2.0, 0, 0.5, -2]]).double()
    return nn.Sequential(nn.Flatten(), layer)


def _public_pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    radius: float,
    step: float,
    steps: int,
    start: Tensor | None = None,
) -> Tensor:
    """In the form of TRADES: the mean loss, and the change clamped before the pixels."""
    changed = x.clone() if start is None else x + start
    for _ in range(steps):
        leaf = changed.clone().requires_grad_(True)
        functional.cross_entropy(model(leaf), y, reduction="mean").backward()
        assert leaf.grad is not None
        changed = changed + step * leaf.grad.sign()
        changed = (x + (changed - x).clamp(-radius, radius)).clamp(0.0, 1.0)
    return changed


@pytest.mark.parametrize("steps", [0, 1, 2, 10])
def test_a_linear_network_is_attacked_along_the_sign_of_its_weights(steps: int) -> None:
    images = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    found = pgd(_linear(), images, torch.tensor([0, 1]), epsilon=0.05, step_size=0.02, steps=steps)
    away_from_0 = torch.tensor([[[1.0, -1], [1, -1]]]).double()
    expected = 0.5 + min(0.02 * steps, 0.05) * torch.stack([away_from_0, -away_from_0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_pixels_stop_at_black_and_white() -> None:
    images = torch.tensor([0.99, 0.01, 0.0, 1.0]).double().reshape(1, 1, 2, 2)
    found = pgd(_linear(), images, torch.tensor([0]), epsilon=0.3, step_size=0.1, steps=5)
    expected = torch.tensor([1.0, 0.0, 0.3, 0.7]).double().reshape(1, 1, 2, 2)
    torch.testing.assert_close(found, expected)


def test_no_step_leaves_the_ball_or_the_range_of_pixels(subjects: Sequence[Subject]) -> None:
    subject = subjects[2]
    test = sample(subject.dataset.test, 20, 0)
    network = InPixels(subject.student, subject.dataset, subject.device)
    images = pixels(test)
    start = random_starts(test.index, images.shape[1:], epsilon=0.05, seed=0)
    for steps in (1, 4):
        found = pgd(
            network, images, test.targets, epsilon=0.05, step_size=0.03, steps=steps, start=start
        )
        assert 0 <= found.min() < 0.01
        assert 0.99 < found.max() <= 1
        assert 0.049 < (found - images).abs().max() <= 0.05 + 1e-7


@pytest.mark.parametrize("random", [False, True])
def test_the_attack_equals_the_public_one(subjects: Sequence[Subject], random: bool) -> None:
    subject = subjects[0]
    test = sample(subject.dataset.test, 40, 0)
    network = InPixels(subject.student, subject.dataset, subject.device)
    images, labels = pixels(test), test.targets
    start = None
    if random:
        start = random_starts(test.index, images.shape[1:], epsilon=0.031, seed=0)
    found = pgd(network, images, labels, epsilon=0.031, step_size=0.003, steps=20, start=start)
    expected = _public_pgd(network, images, labels, radius=0.031, step=0.003, steps=20, start=start)
    assert (found - images).abs().max() > 0.03
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_an_image_comes_out_the_same_whatever_is_attacked_with_it(
    subjects: Sequence[Subject],
) -> None:
    network = InPixels(subjects[2].student, subjects[2].dataset, subjects[2].device)
    test = sample(subjects[2].dataset.test, 30, 0)

    def attacked(rows: slice) -> Tensor:
        images = pixels(replace(test, index=test.index[rows]))
        start = random_starts(test.index[rows], images.shape[1:], epsilon=0.1, seed=3)
        labels = test.targets[rows]
        return pgd(network, images, labels, epsilon=0.1, step_size=0.02, steps=6, start=start)

    alone = torch.cat([attacked(slice(row, row + 1)) for row in range(30)])
    torch.testing.assert_close(attacked(slice(30)), alone)
    torch.testing.assert_close(attacked(slice(25, 30)), alone[25:])


def test_random_starts_fill_the_ball_and_differ_by_image_and_seed() -> None:
    starts = random_starts(torch.arange(40), (1, 8, 8), epsilon=0.5, seed=0)
    assert starts.shape == (40, 1, 8, 8)
    assert -0.5 <= starts.min() < -0.49
    assert 0.49 < starts.max() <= 0.5
    assert abs(starts.mean()) < 0.02
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts, random_starts(torch.arange(40), (1, 8, 8), epsilon=0.5, seed=1))


def test_the_rate_counts_only_what_both_get_right() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    source = torch.tensor([0, 1, 2, 0, 0, 0])
    target = torch.tensor([0, 1, 2, 1, 1, 2])
    attacked = torch.tensor([0, 2, 1, 1, 0, 0])
    found = transfer_rate(labels, source=source, target=target, attacked=attacked)
    assert found == (pytest.approx(2 / 3), 3)


def test_where_nothing_counts_the_rate_is_not_a_number() -> None:
    labels = torch.tensor([0, 0])
    rate, count = transfer_rate(
        labels, source=torch.tensor([0, 1]), target=torch.tensor([1, 0]), attacked=labels
    )
    assert math.isnan(rate)
    assert count == 0


def test_a_copy_is_deceived_as_often_as_the_network_itself(
    subjects: Sequence[Subject], tmp_path: Path
) -> None:
    network = subjects[2].student
    student = made("student", config(tmp_path), network, network)
    copy = made("copy", config(tmp_path, seed=1), network, network)
    found = QUICK.measure(student, [copy])
    assert 0.2 < found.numbers["white_box"] < 1
    assert set(found.numbers.values()) == {found.numbers["white_box"]}
    assert np.array_equal(found.arrays["rates"], np.full(3, found.numbers["white_box"]))
    assert np.array_equal(found.arrays["teacher_rates"], found.arrays["rates"])


def test_without_a_ball_nobody_is_deceived(subjects: Sequence[Subject]) -> None:
    still = QUICK.model_copy(update={"epsilon": 0.0})
    found = still.measure(subjects[0], subjects[1:])
    assert set(found.numbers.values()) == {0.0}
    assert found.arrays["counted"].min() > 0


def test_the_batch_size_changes_nothing(subjects: Sequence[Subject]) -> None:
    small = QUICK.model_copy(update={"batch_size": 7})
    whole, parts = (each.measure(subjects[0], subjects[1:]) for each in (QUICK, small))
    for name, array in whole.arrays.items():
        assert np.array_equal(array, parts.arrays[name])


def test_the_same_run_gives_the_same_bits_and_networks_stay_as_they_are(
    subjects: Sequence[Subject],
) -> None:
    networks = [subject.student for subject in subjects]
    networks += [subject.teacher for subject in subjects if subject.teacher is not None]
    before = [{k: v.clone() for k, v in each.state_dict().items()} for each in networks]
    first, second = (QUICK.measure(subjects[0], subjects[1:]) for _ in range(2))
    assert first.numbers == second.numbers
    assert set(first.numbers) == {"white_box", "to_others", "to_teacher", "from_teacher"}
    assert all(math.isfinite(value) for value in first.numbers.values())
    assert all(np.array_equal(first.arrays[k], second.arrays[k]) for k in first.arrays)
    for network, state in zip(networks, before, strict=True):
        assert not network.training
        assert not any(weight.requires_grad for weight in network.parameters())
        assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())


def test_the_matrix_has_targets_in_rows_and_each_distinct_teacher_once(
    subjects: Sequence[Subject],
) -> None:
    items = [
        item(one, QUICK.measure(one, [other for other in subjects if other is not one]))
        for one in subjects
    ]
    with style():
        shown = QUICK.present(items)
    table = shown.tables[0]
    assert table.columns == ["target", "T = 1", "T = 3", "alone", "mean", "teacher"]
    assert [row[0] for row in table.rows] == ["T = 1", "T = 3", "alone", "mean", "teacher"]
    cells = {(row[0], name): row[at] for row in table.rows for at, name in enumerate(table.columns)}
    of = {each.label: each.measured for each in items}
    # Measured among others, 'T = 3' is first, then 'T = 1', 'alone' and the teacher.
    assert cells["T = 1", "T = 3"] == pytest.approx(100 * of["T = 3"].arrays["rates"][1])
    assert cells["alone", "T = 1"] == pytest.approx(100 * of["T = 1"].arrays["rates"][2])
    assert cells["teacher", "alone"] == pytest.approx(100 * of["alone"].arrays["rates"][3])
    assert cells["T = 3", "teacher"] == pytest.approx(100 * of["T = 3"].numbers["from_teacher"])
    students = ["T = 1", "T = 3", "alone"]
    row = [cells["alone", name] for name in students]
    assert cells["alone", "mean"] == pytest.approx(sum(row) / 3)
    column = [cells[name, "teacher"] for name in students]
    assert cells["mean", "teacher"] == pytest.approx(sum(column) / 3)
    from_others = shown.numbers["alone"]["from_others"]
    assert 100 * from_others == pytest.approx((row[0] + row[1]) / 2)


def test_every_table_says_how_its_rates_were_measured(
    subjects: Sequence[Subject], tmp_path: Path
) -> None:
    network = subjects[0].student
    runs = [
        made(f"seed {seed}", config(tmp_path, method="scratch", seed=seed), network)
        for seed in (0, 7)
    ]
    items = [item(one, QUICK.measure(one, [two])) for one, two in (runs, runs[::-1])]
    with style():
        shown = QUICK.present(items)
    for table in shown.tables:
        said = " ".join(table.notes)
        assert "Sample: 60 images of the test split, seed 0" in said
        assert "Attack: 6 steps of 0.02 " in said
        assert "within 0.1 of each pixel" in said
        assert "eval mode" in said
        assert "Students: n = 2, each a single run; seeds 0, 7." in said


def test_teachers_are_told_apart_by_their_training_or_their_weights(tmp_path: Path) -> None:
    one = config(tmp_path)
    assert teacher_of(one) == teacher_of(config(tmp_path / "moved", temperature=2.0, seed=5))
    assert teacher_of(one) != teacher_of(config(tmp_path, teacher__seed=1))
    assert teacher_of(one) != teacher_of(config(tmp_path, label_smoothing=0.1))
    assert teacher_of(config(tmp_path, method="scratch")) is None


def test_items_with_two_teachers_are_put_where_they_belong(tmp_path: Path) -> None:
    runs = [config(tmp_path, seed=n, teacher__seed=n % 2) for n in range(3)]
    # Teacher 1 taught runs 0 and 2, teacher 2 run 1; every rate says target and source.
    rates = np.array([[10 * target + source for source in range(5)] for target in range(5)]) / 100
    orders = ([0, 1, 2, 3, 4], [1, 0, 2, 4, 3], [2, 0, 1, 3, 4])
    teachers = (3, 4, 3)
    items = [
        item(
            made(f"run {place}", run, nn.Identity()),
            Measured(
                numbers={"white_box": rates[place, place]},
                arrays={
                    "rates": rates[order, place],
                    "counted": np.full(5, 9),
                    "teacher_rates": rates[order, teacher],
                    "teacher_counted": np.full(5, 9),
                    "samples": np.array(20),
                },
            ),
        )
        for place, (run, order, teacher) in enumerate(zip(runs, orders, teachers, strict=True))
    ]
    with style():
        shown = QUICK.present(items)
    rows = [row for row in shown.tables[0].rows if row[0] != "mean"]
    found = [[*row[1:4], *row[5:]] for row in rows]
    assert np.array(found, dtype=float) == pytest.approx(100 * rates)
    assert "Teacher 1 taught run 0, run 2." in shown.tables[0].notes
    with pytest.raises(ValueError, match="'run 0' was measured among 5 networks, got 3"):
        QUICK.present([items[0], items[2]])


def test_a_network_that_gets_nothing_right_has_no_rates(
    subjects: Sequence[Subject], tmp_path: Path
) -> None:
    class Opposite(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return -teacher(images)

    teacher = subjects[0].teacher
    assert teacher is not None
    test = QUICK.model_copy(update={"count": 1})
    wrong = made("wrong", config(tmp_path, method="scratch"), Opposite())
    found = test.measure(wrong)
    assert found.numbers == {}
    assert np.isnan(found.arrays["rates"]).all()
    with style():
        assert test.present([item(wrong, found)]).tables[0].rows[0] == ["wrong", None, None]


def test_networks_of_other_test_sets_are_refused(subjects: Sequence[Subject]) -> None:
    other = replace(subjects[1], dataset=replace(subjects[1].dataset, fingerprint="x", name="y"))
    with pytest.raises(ValueError, match="on one test set, got 'T = 1' on digits and 'T = 3' on y"):
        QUICK.measure(subjects[0], [other])


def test_the_networks_are_attacked_in_pixels_whatever_normalises_them(tmp_path: Path) -> None:
    network = frozen(models.build("resnet8x0.25", classes=10, channels=1, size=8, seed=0))
    one = made("one", config(tmp_path, method="scratch"), network)
    shrunk = replace(one.dataset, mean=(0.5,), std=(0.25,))
    images, labels = pixels(one.dataset.test)[:8], one.dataset.test.targets[:8]
    for dataset in (one.dataset, shrunk):
        found = pgd(
            InPixels(network, dataset, one.device),
            images,
            labels,
            epsilon=0.031,
            step_size=0.003,
            steps=12,
        )
        assert (found - images).abs().max() == pytest.approx(0.031, abs=1e-6)
