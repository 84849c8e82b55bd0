"""What mixed images teach: how much picking gains, and how often their labels mislead.

Wang et al., 2020 (arXiv:2012.02909): equation 3, figures 4 and 5, section 4.3.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from kdtune.analysis.base import (
    ANALYSES,
    Analysis,
    Array,
    Item,
    Measured,
    Presented,
    Subject,
    Table,
)
from kdtune.analysis.mixed_image_figures import disagreement_figure, example_figure, ratio_figure
from kdtune.analysis.replicates import replicates
from kdtune.config import TrialConfig
from kdtune.contracts import Batch, Scalar
from kdtune.data import Dataset
from kdtune.training.pick import divergences, label_disagreement, largest, mean_kld_ratio
from kdtune.views import AUGMENTS, ViewStream

History = Mapping[str, Sequence[tuple[int, float]]]
LOGGED = "train/mean_kld_ratio"
"""What a run that picks by divergence logs of every epoch."""
RATIO, DIVERGENCE = "mean_kld_ratio/train", "mean_kld/train"
ILLUSTRATED = 3
"""Of how many subjects, the first asked for, examples are drawn."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Mixed images, and which of them would be trained on.

    Attributes:
        batch: The images, an even number of them.
        teacher_top1: ``(n,)`` int64.
        divergence: ``(n,)`` float64, KL(teacher || student) in nats.
        picked: ``(n / 2,)`` int64, ascending positions of the largest divergences.
    """

    batch: Batch
    teacher_top1: Tensor
    divergence: Tensor
    picked: Tensor

    @property
    def ratio(self) -> float:
        """Mean divergence of the picked over that of all (equation 3)."""
        return mean_kld_ratio(self.divergence, self.picked).item()

    def extremes(self, count: int) -> Tensor:
        """Positions ``(2, count)``: of the largest divergences, then of the smallest."""
        order = self.divergence.argsort(descending=True, stable=True)
        return torch.stack([order[:count], order.flip(0)[:count]])


@torch.no_grad()
def judged(batch: Batch, student: nn.Module, teacher: nn.Module, temperature: float) -> Pool:
    """A pool as both networks, used as they are, see it at ``temperature`` (> 0)."""
    taught = teacher(batch.images)
    divergence = divergences(student(batch.images), taught, temperature)
    picked = largest(divergence, len(divergence) // 2)
    top1 = taught.argmax(dim=1)
    return Pool(batch=batch, teacher_top1=top1, divergence=divergence, picked=picked)


@torch.no_grad()
def disagreement(teacher: nn.Module, batches: Iterable[Batch]) -> tuple[dict[str, float], int]:
    """:func:`kdtune.training.pick.label_disagreement` over all images of some mixed batches.

    Returns:
        Its shares in [0, 1], and the number of images.
    """
    counts: Counter[str] = Counter()
    images = 0
    for batch in batches:
        size = len(batch.labels)
        shares = label_disagreement(teacher(batch.images), batch)
        # Back to whole images, as a share is rounded to float32.
        counts.update({name: round(share.item() * size) for name, share in shares.items()})
        images += size
    return {name: count / images for name, count in counts.items()}, images


def logged_curve(history: History) -> Array:
    """What a run logged of the ratio: ``(2, epochs)`` float64, no epochs if it logged nothing.

    The first row is the share of the training that was done by the middle of the epoch, the second
    the mean ratio of that epoch.
    """
    last = max((epoch for series in history.values() for epoch, _ in series), default=1)
    points = [((epoch - 0.5) / last, value) for epoch, value in history.get(LOGGED, ())]
    return np.array(points, dtype=np.float64).reshape(-1, 2).T


def in_pixels(images: Tensor, dataset: Dataset) -> Tensor:
    """Normalised images ``(..., C, H, W)`` as uint8 pixels."""
    mean, std = (
        torch.tensor(values, device=images.device)[:, None, None]
        for values in (dataset.mean, dataset.std)
    )
    return ((images * std + mean) * 255).round().clamp(0, 255).byte()


def mixing_policies(text: str) -> tuple[str, ...]:
    """``"cutmix,mixup"`` -> ``("cutmix", "mixup")``.

    Raises:
        ValueError: Unless these are one or more policies that mix images, each once.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    alone = [name for name in names if not AUGMENTS.get(name).mixes]
    if alone or not names or len(set(names)) < len(names):
        mixing = ", ".join(name for name in AUGMENTS.names() if AUGMENTS.get(name).mixes)
        raise ValueError(
            f"policies must be different ones that mix images ({mixing}), e.g. 'cutmix,mixup', "
            f"got '{text}'"
        )
    return names


@ANALYSES.register("mixed_images")
class MixedImages(Analysis):
    """The mean KL ratio r of picked CutMix images, and how often teachers reject mixed labels.

    r is 1 if all images of a pool teach the same, and at most 2. Runs that pick by divergence log
    it in training; of the finished student it is measured here, in eval mode, whatever the run
    trained on. The disagreement is a share in [0, 1] of mixed images and depends on the teacher
    alone.

    Attributes:
        temperature: Of the divergence; 0 for the run's own.
        batches: Of mixed images, from epoch 0 of a stream of views; an epoch may have fewer.
        batch_size: Images a batch; a pool holds twice as many mixed ones.
        seed: Of the views.
        policies: Whose label disagreement is measured, comma-separated.
        examples: Images drawn in each of two rows.
    """

    summary: ClassVar[str] = "What picking mixed images gains, and how often their labels mislead"
    source: ClassVar[str] = "wang2020 eq. 3, F4, F5, section 4.3"
    needs_teacher: ClassVar[bool] = True

    temperature: Annotated[float, Field(ge=0)] = 0.0
    batches: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=2)] = 64
    seed: Annotated[int, Field(ge=0)] = 0
    policies: str = "cutmix,mixup"
    examples: Annotated[int, Field(ge=1, le=8)] = 6

    @field_validator("policies")
    @classmethod
    def _check_policies(cls, text: str) -> str:
        mixing_policies(text)
        return text

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        teacher = subject.teacher
        if teacher is None:
            raise ValueError(
                "mixed_images needs a run with a teacher, "
                f"got '{subject.label}' of method '{subject.config.method}', which has none"
            )
        found, kept = self._of_picking(subject, teacher)
        numbers, arrays = dict(found), dict(kept)
        for policy in mixing_policies(self.policies):
            stream, steps = self._views(subject, policy)
            shares, images = disagreement(teacher, (stream.batch(0, step) for step in steps))
            numbers |= {f"{name}/{policy}": share for name, share in shares.items()}
            arrays[f"images_{policy}"] = np.array(images)
        arrays["logged"] = logged_curve(subject.history)
        return Measured(numbers=numbers, arrays=arrays)

    def present(self, items: Sequence[Item]) -> Presented:
        policies = mixing_policies(self.policies)
        over_seeds = _seeds_table(items)
        shown = [example_figure(item) for item in items[:ILLUSTRATED]]
        names = ["examples", *(f"examples_{place}" for place in range(2, ILLUSTRATED + 1))]
        return Presented(
            tables=[
                self._ratio_table(items),
                self._disagreement_table(items, policies),
                *([over_seeds] if over_seeds.rows else []),
            ],
            figures={
                "kld_ratio": ratio_figure(items),
                "label_disagreement": disagreement_figure(items, policies),
                **dict(zip(names, shown, strict=False)),
            },
        )

    def _temperature(self, config: TrialConfig) -> float:
        own: float = getattr(config.objective, "temperature", 4.0)
        return self.temperature or own

    def _views(self, subject: Subject, policy: str) -> tuple[ViewStream, range]:
        """Views mixed by ``policy``, and the steps of epoch 0 to look at."""
        stream = ViewStream(
            subject.dataset,
            policy=AUGMENTS.get(policy)(),
            batch_size=self.batch_size,
            seed=self.seed,
            device=subject.device,
        )
        return stream, range(min(self.batches, stream.steps_per_epoch))

    def _of_picking(
        self, subject: Subject, teacher: nn.Module
    ) -> tuple[dict[str, float], dict[str, Array]]:
        """Numbers and arrays of the pools."""
        stream, steps = self._views(subject, "cutmix_pick")
        temperature = self._temperature(subject.config)
        ratios, divergence, examples = [], [], []
        for step in steps:
            pool = judged(stream.batch(0, step), subject.student, teacher, temperature)
            ratios.append(pool.ratio)
            divergence.append(pool.divergence.cpu())
            # Pools take turns, so that not all examples have the same two boxes.
            wanted = len(range(step, self.examples, len(steps)))
            rows = pool.extremes(min(wanted, len(pool.picked)))
            examples.append(_examples(pool, rows, subject.dataset))
        every = torch.cat(divergence)
        numbers = {
            RATIO: float(np.average(ratios, weights=[*map(len, divergence)])),
            DIVERGENCE: every.mean().item(),
        }
        joined = {name: np.concatenate([e[name] for e in examples], axis=1) for name in examples[0]}
        return numbers, {"images_of_pools": np.array(len(every)), **joined}

    def _ratio_table(self, items: Sequence[Item]) -> Table:
        rows: list[list[Scalar]] = []
        for item in items:
            numbers, arrays = item.measured.numbers, item.measured.arrays
            logged = arrays["logged"][1].tolist()
            first, last = (logged[0], logged[-1]) if logged else (None, None)
            rows.append(
                [
                    *(item.label, first, last, numbers[RATIO]),
                    *(numbers[DIVERGENCE], self._temperature(item.config)),
                    int(arrays["images_of_pools"]),
                ]
            )
        return Table(
            title="Mean KL divergence of picked CutMix images over that of all, r",
            columns=(
                *("run", "r in the first epoch", "r in the last epoch"),
                *("r, finished student", "mean KL of all, nats", "temperature", "images"),
            ),
            rows=rows,
            notes=[
                "r = 1: picking gains nothing; at most 2, as half of each pool is picked.",
                "In training: mean of an epoch as the run logged it, at its own temperature, pools "
                "scored with batch statistics; only runs that pick by divergence log it.",
                f"Finished student: {self._origin}; mean over pools, weighted by their size, of "
                "two CutMix draws of a batch each; KL at the temperature shown, not times its "
                "square.",
                f"Examples are drawn of the first {ILLUSTRATED} runs at most.",
            ],
        )

    def _disagreement_table(self, items: Sequence[Item], policies: Sequence[str]) -> Table:
        rows: list[list[Scalar]] = [
            [
                item.label,
                policy,
                100 * item.measured.numbers[f"label_disagreement/{policy}"],
                100 * item.measured.numbers[f"label_outside/{policy}"],
                int(item.measured.arrays[f"images_{policy}"]),
            ]
            for item in items
            for policy in policies
        ]
        return Table(
            title="Mixed images whose teacher does not see what their labels say, in percent",
            columns=("run", "policy", "not the mixed label", "in neither source label", "images"),
            rows=rows,
            notes=[
                "The mixed label is that of the larger share; a tie counts for the base image.",
                "Labels are those trained on, noisy where the run's were.",
                f"Teacher's top-1: {self._origin}; runs of one teacher and data have one share.",
            ],
        )

    @property
    def _origin(self) -> str:
        return (
            f"train split, views of epoch 0 with seed {self.seed}, up to {self.batches} batches of "
            f"{self.batch_size}, networks in eval mode"
        )


def _examples(pool: Pool, rows: Tensor, dataset: Dataset) -> dict[str, Array]:
    """What is drawn of the images at ``rows``, ``(2, n)``; all arrays start with these axes."""
    batch = pool.batch
    assert batch.partner_labels is not None
    assert batch.lam is not None
    classes = torch.stack([batch.labels, batch.partner_labels, pool.teacher_top1], dim=1)[rows]
    return {
        "example_pixels": in_pixels(batch.images[rows], dataset).cpu().numpy(),
        "example_names": np.array(dataset.class_names)[classes.cpu().numpy()],
        "example_shares": batch.lam[rows].double().cpu().numpy(),
        "example_divergences": pool.divergence[rows].cpu().numpy(),
    }


def _seeds_table(items: Sequence[Item]) -> Table:
    """What depends on the student, over the seeds of a configuration, where there are several."""
    rows: list[list[Scalar]] = []
    for group in replicates(items):
        for name, words in (RATIO, "r"), (DIVERGENCE, "mean KL of all, nats"):
            values = [item.measured.numbers[name] for item in group.items]
            if len(values) > 1:
                rows.append([group.label, words, len(values), fmean(values), stdev(values)])
    return Table(
        title="Finished students that differ in their seed alone",
        columns=("runs", "number", "n", "mean", "standard deviation"),
        rows=rows,
        notes=["Sample standard deviation; all n were shown the same views."],
    )
