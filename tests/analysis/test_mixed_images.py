import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_subjects import config, frozen, item, made
from matplotlib.figure import Figure
from torch import Tensor, nn

from kdtune.analysis import Measured, Subject
from kdtune.analysis.figures import style
from kdtune.analysis.mixed_images import (
    MixedImages,
    disagreement,
    in_pixels,
    judged,
    logged_curve,
    mixing_policies,
)
from kdtune.contracts import Batch
from kdtune.training.data import load_trial_data
from kdtune.training.epoch import EpochResult
from kdtune.training.pick import Picked, divergences
from kdtune.views import AUGMENTS, ViewStream


class Always(nn.Module):
    """Sees one class in everything."""

    def __init__(self, seen: int) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, images: Tensor) -> Tensor:
        logits = images.new_zeros(len(images), 10)
        logits[:, self.seen] = 5.0
        return logits


class Brightness(nn.Module):
    """Sees class 1 the more, the brighter the image."""

    def forward(self, images: Tensor) -> Tensor:
        logits = images.new_zeros(len(images), 10)
        logits[:, 1] = images.flatten(1).mean(dim=1)
        return logits


class Nothing(nn.Module):
    """Has no opinion."""

    def forward(self, images: Tensor) -> Tensor:
        return images.new_zeros(len(images), 10)


def _subject(store: Path, student: nn.Module, teacher: nn.Module) -> Subject:
    return made("made", config(store, temperature=2.0), student, teacher)


def _linear(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return frozen(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


def _pools(subject: Subject, *, steps: int = 3) -> list[Batch]:
    stream = ViewStream(
        subject.dataset, policy=AUGMENTS.get("cutmix_pick")(), batch_size=16, seed=4
    )
    return [stream.batch(0, step) for step in range(steps)]


def test_equal_networks_diverge_nowhere_and_picking_gains_nothing(tmp_path: Path) -> None:
    network = _linear(0)
    numbers = MixedImages(batches=2).measure(_subject(tmp_path, network, network)).numbers
    assert numbers["mean_kld_ratio/train"] == 1.0
    assert numbers["mean_kld/train"] == 0.0


def test_the_ratio_is_that_of_the_upper_half_of_each_pool(tmp_path: Path) -> None:
    subject = _subject(tmp_path, _linear(0), _linear(1))
    assert subject.teacher is not None
    ratios, means = [], []
    for batch in _pools(subject):
        p = (subject.teacher(batch.images).double() / 2).log_softmax(dim=1)
        q = (subject.student(batch.images).double() / 2).log_softmax(dim=1)
        each = (p.exp() * (p - q)).sum(dim=1).sort(descending=True).values
        assert len(each) == 32
        ratios.append(each[:16].mean() / each.mean())
        means.append(each.mean())
    found = MixedImages(batches=3, batch_size=16, seed=4).measure(subject)
    ratio, mean = torch.stack(ratios).mean().item(), torch.stack(means).mean().item()
    assert 1 < ratio < 2
    assert found.numbers["mean_kld_ratio/train"] == pytest.approx(ratio, rel=1e-5)
    assert found.numbers["mean_kld/train"] == pytest.approx(mean, rel=1e-5)
    assert found.arrays["images_of_pools"] == 96


def test_pools_count_by_their_size(tmp_path: Path) -> None:
    subject = _subject(tmp_path, _linear(0), _linear(1))
    split = subject.dataset.train
    few = replace(subject.dataset, train=replace(split, index=split.index[:24]))
    subject = replace(subject, dataset=few)
    assert subject.teacher is not None
    pools = [judged(b, subject.student, subject.teacher, 2.0) for b in _pools(subject, steps=2)]
    assert [len(pool.divergence) for pool in pools] == [32, 16]
    expected = (2 * pools[0].ratio + pools[1].ratio) / 3
    found = MixedImages(batches=9, batch_size=16, seed=4).measure(subject)
    assert found.numbers["mean_kld_ratio/train"] == pytest.approx(expected, rel=1e-12)


def test_the_temperature_is_that_of_the_run_unless_another_is_asked_for(tmp_path: Path) -> None:
    subject = _subject(tmp_path, _linear(0), _linear(1))

    def kld(temperature: float) -> float:
        analysis = MixedImages(batches=1, temperature=temperature)
        return analysis.measure(subject).numbers["mean_kld/train"]

    assert kld(0.0) == kld(2.0)
    assert kld(4.0) < kld(2.0)


def test_the_images_of_the_largest_divergence_are_picked(tmp_path: Path) -> None:
    # Against a student without an opinion, a teacher of brightness says more of bright images.
    subject = _subject(tmp_path, Nothing(), Brightness())
    images = torch.tensor([3.0, 0.5, 2.0, 1.0]).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    labels = torch.arange(4)
    batch = Batch(index=labels, images=images, labels=labels)
    pool = judged(batch, subject.student, Brightness(), 2.0)
    assert pool.picked.tolist() == [0, 2]
    assert pool.extremes(2).tolist() == [[0, 2], [1, 3]]
    each = divergences(torch.zeros(4, 10), Brightness()(images), 2.0)
    expected = (each[0] + each[2]) / each.sum() * 2
    assert pool.ratio == pytest.approx(expected.item(), rel=1e-12)


def test_examples_are_the_extremes_of_the_pools_in_pixels(tmp_path: Path) -> None:
    subject = _subject(tmp_path, Nothing(), Brightness())
    arrays = MixedImages(batches=2, batch_size=16, seed=4, examples=3).measure(subject).arrays
    pools = [judged(batch, Nothing(), Brightness(), 2.0) for batch in _pools(subject, steps=2)]
    rows = [pools[0].extremes(2), pools[1].extremes(1)]
    for place, (pool, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        for end in (0, 1):
            chosen = int(rows[pool][end, column])
            batch = pools[pool].batch
            assert batch.partner_labels is not None
            assert batch.lam is not None
            names = [str(int(label[chosen])) for label in (batch.labels, batch.partner_labels)]
            names.append(str(int(pools[pool].teacher_top1[chosen])))
            assert arrays["example_names"][end, place].tolist() == names
            assert arrays["example_shares"][end, place] == batch.lam[chosen].item()
            divergence = pools[pool].divergence[chosen].item()
            assert arrays["example_divergences"][end, place] == divergence
            pixels = in_pixels(batch.images[chosen], subject.dataset).numpy()
            assert np.array_equal(arrays["example_pixels"][end, place], pixels)
    assert arrays["example_pixels"].shape == (2, 3, 1, 8, 8)
    assert (arrays["example_divergences"][0] > arrays["example_divergences"][1]).all()


def test_normalised_images_become_the_pixels_they_were(tmp_path: Path) -> None:
    dataset = load_trial_data(config(tmp_path))
    pixels = dataset.train.images[dataset.train.index[:20]]
    mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
    normalised = (pixels.float() / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.equal(in_pixels(normalised, dataset), pixels)


def _mixed(labels: list[int], partners: list[int], lam: list[float]) -> Batch:
    return Batch(
        index=torch.arange(len(labels)),
        images=torch.zeros(len(labels), 1, 8, 8),
        labels=torch.tensor(labels),
        partner_labels=torch.tensor(partners),
        lam=torch.tensor(lam),
    )


def test_a_teacher_of_one_class_disagrees_as_counted_by_hand() -> None:
    batches = [
        # Own and larger; own and a tie; own but smaller; partner and larger; neither.
        _mixed([0, 0, 0, 3, 3], [5, 5, 5, 0, 5], [0.8, 0.5, 0.4, 0.1, 0.9]),
        _mixed([4, 4], [0, 2], [0.5, 0.5]),  # partner, but a tie; neither
    ]
    shares, images = disagreement(Always(0), batches)
    assert images == 7
    assert shares == {"label_disagreement": 4 / 7, "label_outside": 2 / 7}


@pytest.mark.parametrize("policy", ["cutmix", "mixup"])
def test_the_shares_of_a_policy_are_those_counted_on_its_views(tmp_path: Path, policy: str) -> None:
    subject = _subject(tmp_path, Nothing(), Always(0))
    policies = "mixup, cutmix"
    found = MixedImages(batches=5, batch_size=32, seed=2, policies=policies).measure(subject)
    stream = ViewStream(subject.dataset, policy=AUGMENTS.get(policy)(), batch_size=32, seed=2)
    apart = outside = 0
    for step in range(5):
        batch = stream.batch(0, step)
        assert batch.partner_labels is not None
        assert batch.lam is not None
        for own, partner, lam in zip(
            batch.labels.tolist(), batch.partner_labels.tolist(), batch.lam.tolist(), strict=True
        ):
            apart += (own if lam >= 0.5 else partner) != 0
            outside += 0 not in (own, partner)
    assert found.arrays[f"images_{policy}"] == 160
    assert found.numbers[f"label_disagreement/{policy}"] == apart / 160
    assert found.numbers[f"label_outside/{policy}"] == outside / 160
    assert 0 < outside < apart < 160


def test_the_logged_curve_is_over_the_share_of_all_training() -> None:
    history = {
        "train/mean_kld_ratio": [(1, 1.5), (2, 1.6)],
        "val/accuracy": [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)],
    }
    assert logged_curve(history).tolist() == [[0.125, 0.375], [1.5, 1.6]]
    assert logged_curve({"val/accuracy": [(1, 0.1)]}).shape == (2, 0)
    assert logged_curve({}).shape == (2, 0)


def test_the_curve_reads_what_training_logs_of_a_pick() -> None:
    batch = _mixed([0, 1], [1, 0], [0.9, 0.9])
    picked = Picked(batch=batch, teacher_logits=None, kld_ratio=torch.tensor(1.5))
    terms = {name: value.item() for name, value in picked.notes.items()}
    logged = EpochResult(loss=0.0, terms=terms, weights={}, images=2).metrics()
    history = {name: [(1, value)] for name, value in logged.items()}
    assert logged_curve(history).tolist() == [[0.5], [1.5]]


def test_policies_must_be_different_ones_that_mix() -> None:
    assert mixing_policies(" mixup,cutmix ") == ("mixup", "cutmix")
    for text in ("", "cutmix,standard", "cutmix,cutmix"):
        with pytest.raises(ValueError, match=rf"cutmix, cutmix_pick, mixup.*got '{text}'"):
            MixedImages(policies=text)
    with pytest.raises(ValueError, match="did you mean 'cutmix'"):
        MixedImages(policies="cutmx")


def test_a_run_without_a_teacher_is_refused(subjects: Sequence[Subject]) -> None:
    assert MixedImages.needs_teacher
    with pytest.raises(ValueError, match="got 'alone' of method 'scratch', which has none"):
        MixedImages().measure(subjects[2])


def test_trained_students_give_the_same_bits_twice(subjects: Sequence[Subject]) -> None:
    analysis = MixedImages(batches=2)
    first, again = analysis.measure(subjects[1]), analysis.measure(subjects[1])
    assert first.numbers == again.numbers
    assert first.arrays.keys() == again.arrays.keys()
    for name, array in first.arrays.items():
        assert np.array_equal(array, again.arrays[name])
    assert all(math.isfinite(number) for number in first.numbers.values())
    assert 1 < first.numbers["mean_kld_ratio/train"] <= 2
    assert first.numbers != MixedImages(batches=2, seed=1).measure(subjects[1]).numbers


def test_the_tables_show_percent_and_what_was_logged(tmp_path: Path) -> None:
    analysis = MixedImages(batches=2, examples=2)
    logged = {"train/mean_kld_ratio": [(1, 1.25), (2, 1.5)]}
    subject = replace(_subject(tmp_path, _linear(0), Always(0)), history=logged)
    measured = analysis.measure(subject)
    items = [item(subject, measured), item(replace(subject, label="b", history={}), measured)]
    items[1] = replace(items[1], config=config(tmp_path, temperature=2.0, seed=1))
    other = {**measured.numbers, "mean_kld_ratio/train": 1.0, "mean_kld/train": 0.0}
    unlogged = {**measured.arrays, "logged": np.zeros((2, 0))}
    items[1] = replace(items[1], measured=Measured(numbers=other, arrays=unlogged))
    with style():
        presented = analysis.present(items)
    ratios, disagreements, seeds = presented.tables
    ratio = measured.numbers["mean_kld_ratio/train"]
    assert ratios.rows[0][:4] == ["made", 1.25, 1.5, ratio]
    assert ratios.rows[0][5:] == [2.0, 256]
    assert ratios.rows[1][:4] == ["b", None, None, 1.0]
    share = measured.numbers["label_disagreement/cutmix"]
    assert disagreements.rows[0][:3] == ["made", "cutmix", 100 * share]
    assert len(disagreements.rows) == 4
    assert seeds.rows[0][1:3] == ["r", 2]
    assert seeds.rows[0][3:] == pytest.approx([(ratio + 1) / 2, (ratio - 1) / math.sqrt(2)])
    names = ["kld_ratio", "label_disagreement", "examples", "examples_2"]
    assert list(presented.figures) == names
    assert all(isinstance(figure, Figure) for figure in presented.figures.values())
    assert len(presented.figures["kld_ratio"].axes) == 2


def test_one_run_that_logged_nothing_has_no_curve_and_no_table_over_seeds(tmp_path: Path) -> None:
    analysis = MixedImages(batches=1, examples=1)
    subject = _subject(tmp_path, _linear(0), _linear(1))
    with style():
        presented = analysis.present([item(subject, analysis.measure(subject))])
    assert len(presented.tables) == 2
    assert len(presented.figures["kld_ratio"].axes) == 1
