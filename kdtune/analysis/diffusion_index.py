"""How a higher temperature moves a student's classes towards similar classes.

Chandrasegaran et al., 2022 (arXiv:2206.14532), section 4 and appendices G and K.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from kdtune.analysis.base import ANALYSES, Analysis, Item, Measured, Presented, Subject
from kdtune.analysis.class_distances import (
    centroid_distances,
    class_centroids,
    diffusion_index,
    mean_pair_distances,
    relative_distances,
)
from kdtune.analysis.class_sets import (
    ClassSets,
    Flags,
    Numbers,
    agreement,
    class_indices,
    hierarchy_text,
    sets_of_distances,
    sets_of_superclasses,
    superclasses,
)
from kdtune.analysis.diffusion_pages import KINDS, SPLITS, Change, charts, pairs, tables
from kdtune.analysis.reading import Answers, answers, split_of
from kdtune.config import TrialConfig
from kdtune.contracts import FlatConfig
from kdtune.views import AUGMENTS


@ANALYSES.register("diffusion_index")
class DiffusionIndex(Analysis):
    """Change of relative centroid distances from a lower to a higher temperature, in percent.

    The features are those that the classifier reads, of plain images in eval mode. Every run is
    set against the one of the lowest temperature that agrees with it in all else, seed included;
    ``diffusion_index_similar`` and ``diffusion_index_dissimilar`` are then numbers of the run at
    the higher temperature, in percent, at least -100. The paper expects similar < 0 < dissimilar
    for students of a smoothed teacher. Because relative distances sum to 1, opposite signs are
    partly built in; distances as they are (``distance_similar``, in the features' unit, and
    ``distance_change_similar``, in percent) stand beside them.

    Similar and dissimilar classes are those of the hierarchy, if there is one; else the nearest and
    the farthest by centroid on the validation split of an independent network: of the runs that are
    analysed together and learned from plain labels without a teacher, the one of lowest seed.
    Where there are both, ``class_set_agreement_similar`` and ``class_set_agreement_dissimilar`` are
    the shares, in [0, 1], of the hierarchy's sets that the other sets contain.

    Labels are those the run saw, so under label noise the noisy ones.

    Attributes:
        distance: Of two classes: between centroids (section 4), or the mean over all pairs of their
            samples (appendix K), which takes long on large splits.
        over: What a distance is relative to: the sum over ``all`` other classes, or over the
            ``union`` of the target's two sets, which the zero-sum pattern of the printed figures
            speaks for.
        target: Names or numbers of classes, separated by commas; empty for every class that has
            both sets.
        hierarchy: Empty, ``cifar100`` for its 20 superclasses, or the path of a JSON file
            ``{superclass: [class, ...]}``. Similar are the others of the target's superclass,
            dissimilar all classes of the other superclasses. The file is read at once.
        similar_share: Of the other classes, that are similar by distance; rounded up.
        dissimilar_share: Likewise, that are dissimilar.
    """

    summary: ClassVar[str] = "Whether a higher temperature moves classes towards similar classes"
    source: ClassVar[str] = "chandrasegaran2022 eq. 1, T3, TB.4, TG.1, TK.1"
    with_peers: ClassVar[bool] = True

    distance: Literal["centroid", "pairwise"] = "centroid"
    over: Literal["all", "union"] = "all"
    target: str = ""
    hierarchy: str = ""
    similar_share: Annotated[float, Field(gt=0, lt=1)] = 0.01
    dissimilar_share: Annotated[float, Field(gt=0, lt=1)] = 0.9

    # The text and not the path, so that kept results follow what the file says.
    _read_hierarchy = field_validator("hierarchy")(hierarchy_text)

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        names = subject.dataset.class_names
        by_name = self._sets_by_name(names)
        by_distance = self._sets_by_distance(subject, peers)
        sets = by_name or by_distance
        if sets is None:
            raise ValueError(
                "the diffusion index needs similar and dissimilar classes: add a run without a "
                "teacher and without label smoothing on the same classes (method 'scratch'), whose "
                "features then say which are near, or set hierarchy; got neither"
            )
        targets = self._targets(names, sets)
        similar, dissimilar = sets.similar[targets], sets.dissimilar[targets]
        numbers: dict[str, float] = {}
        arrays = {
            "targets": np.array(targets),
            "class_names": np.array(names),
            "similar": similar,
            "dissimilar": dissimilar,
            "images": np.array([len(split_of(subject.dataset, name)) for name in SPLITS]),
        }
        for split in SPLITS:
            said = answers(
                subject.student, subject, split_of(subject.dataset, split), features=True
            )
            found = self._distances(said, len(names), targets)
            _require_apart(found, targets, f"the {split} split of '{subject.label}'")
            arrays[f"distances/{split}"] = found
            numbers[f"distance_similar/{split}"] = float(_set_mean(found, similar).mean())
            numbers[f"distance_dissimilar/{split}"] = float(_set_mean(found, dissimilar).mean())
        if by_name and by_distance:
            for kind in KINDS:
                shares = agreement(
                    getattr(by_name, kind)[targets], getattr(by_distance, kind)[targets]
                )
                arrays[f"agreement_{kind}"] = shares
                numbers[f"class_set_agreement_{kind}"] = float(shares.mean())
        return Measured(numbers=numbers, arrays=arrays)

    def present(self, items: Sequence[Item]) -> Presented:
        changes = [self._change(low, high) for low, high in pairs(items)]
        numbers = {
            change.high.label: {
                f"{name}_{kind}/{split}": float(values[f"{kind}/{split}"].mean())
                for name, values in (
                    ("diffusion_index", change.index),
                    ("distance_change", change.raw),
                )
                for kind in KINDS
                for split in SPLITS
            }
            for change in changes
        }
        return Presented(
            tables=tables(items, changes, self._setting(items)),
            figures=charts(changes),
            numbers=numbers,
        )

    def _change(self, low: Item, high: Item) -> Change:
        before, after = low.measured.arrays, high.measured.arrays
        for name in ("targets", *KINDS):
            if not np.array_equal(before[name], after[name]):
                raise ValueError(
                    f"'{low.label}' and '{high.label}' were measured with other classes; "
                    "measure them again, together"
                )
        sets = {kind: after[kind].astype(bool) for kind in KINDS}
        index, raw = {}, {}
        for split in SPLITS:
            first, then = (np.asarray(a[f"distances/{split}"], float) for a in (before, after))
            whole = self._whole(sets, after["targets"].astype(int))
            ours, theirs = relative_distances(first, whole), relative_distances(then, whole)
            for kind in KINDS:
                index[f"{kind}/{split}"] = diffusion_index(ours, theirs, sets[kind])
                raw[f"{kind}/{split}"] = diffusion_index(first, then, sets[kind])
        return Change(low=low, high=high, index=index, raw=raw)

    def _whole(self, sets: Mapping[str, Flags], targets: NDArray[np.int64]) -> Flags:
        """The set P of each target, without the target."""
        if self.over == "union":
            return np.logical_or(sets["similar"], sets["dissimilar"])
        return np.not_equal(np.arange(sets["similar"].shape[1]), targets[:, None])

    def _sets_by_name(self, names: Sequence[str]) -> ClassSets | None:
        if self.hierarchy == "":
            return None
        return sets_of_superclasses(superclasses(self.hierarchy, names))

    def _sets_by_distance(self, subject: Subject, peers: Sequence[Subject]) -> ClassSets | None:
        network = independent([subject, *peers], subject.dataset.class_names)
        if network is None:
            return None
        said = answers(network.student, network, network.dataset.val, features=True)
        centroids = class_centroids(said.features, said.labels, network.dataset.classes)
        return sets_of_distances(
            centroid_distances(centroids).numpy(),
            similar_share=self.similar_share,
            dissimilar_share=self.dissimilar_share,
        )

    def _targets(self, names: Sequence[str], sets: ClassSets) -> list[int]:
        both = sets.similar.any(axis=1) & sets.dissimilar.any(axis=1)
        usable = [int(place) for place in np.flatnonzero(both)]
        targets = class_indices(self.target, names) if self.target else usable
        bare = [names[target] for target in targets if target not in usable]
        if bare or not targets:
            raise ValueError(
                "a target class needs a similar and a dissimilar class; the hierarchy gives "
                f"'{bare[0]}' none"
                if bare
                else "the hierarchy gives no class both"
            )
        return targets

    def _distances(self, said: Answers, classes: int, targets: Sequence[int]) -> Numbers:
        if self.distance == "pairwise":
            found = mean_pair_distances(said.features, said.labels, classes, targets)
        else:
            found = centroid_distances(class_centroids(said.features, said.labels, classes))
            found = found[list(targets)]
        distances: Numbers = found.numpy()
        return distances

    def _setting(self, items: Sequence[Item]) -> str:
        images = sorted({tuple(int(n) for n in item.measured.arrays["images"]) for item in items})
        counts = " or ".join(f"{train} train and {val} val" for train, val in images)
        between = "centroids" if self.distance == "centroid" else "all pairs of samples"
        sums = "all other classes" if self.over == "all" else "the union of both sets"
        chosen = "the hierarchy" if self.hierarchy else "an independent network's centroids"
        seeds = ", ".join(str(seed) for seed in sorted({item.config.seed for item in items}))
        both = any(item.config.train.on == "train+val" for item in items)
        seen = " Some runs were trained on the validation images too." if both else ""
        return (
            f"Distances between {between}, relative to {sums}; similar and dissimilar classes by "
            f"{chosen}. {counts} images, eval mode, not augmented; seeds {seeds}.{seen}"
        )


def independent(subjects: Sequence[Subject], names: Sequence[str]) -> Subject | None:
    """Of the runs on these classes that learned from plain labels alone, the lowest seed's.

    Without a teacher, smoothed, mixed or wrong labels, not pruned, and with validation held out.

    Args:
        subjects: In any order, which does not matter.
        names: Of the classes.
    """
    plain = [
        subject
        for subject in subjects
        if subject.teacher is None
        and _learned_from_plain_labels(subject.config)
        and tuple(subject.dataset.class_names) == tuple(names)
    ]
    return min(plain, key=lambda subject: (subject.config.seed, subject.label), default=None)


def _learned_from_plain_labels(config: TrialConfig) -> bool:
    held = config.flat()
    wanted: FlatConfig = {
        "method": "scratch",
        "method.label_smoothing": 0,
        "data.label_noise": 0,
        "prune_ratio": 0,
        "train.on": "train",
    }
    plain = all(held.get(key) == value for key, value in wanted.items())
    return plain and not AUGMENTS.get(config.augment).mixes


def _require_apart(distances: Numbers, targets: Sequence[int], where: str) -> None:
    others = np.arange(distances.shape[1]) != np.array(targets)[:, None]
    if not (distances[others] > 0).all():
        raise ValueError(
            f"two classes have the same features on {where}: the student has collapsed, and no "
            "change is relative to a distance of 0; leave the run out"
        )


def _set_mean(distances: Numbers, members: Flags) -> Numbers:
    means: Numbers = np.where(members, distances, 0).sum(axis=1) / members.sum(axis=1)
    return means
