"""Park et al., 2020: distillation beside data augmentation and pruning, one network type a pair.

The main text leaves the training open. The schedule is that of the pruning code it compares with
(160 epochs, rate 0.1 cut by 10 at 80 and 120, batch 64, weight decay 1e-4, and 40 epochs at 0.001
after pruning); temperature 4 and alpha 0.9 are the usual ones, and ``method.beta`` is searched.

``teacher.augment`` and the arm's ``augment`` make the four combinations of section 5; both networks
see the same images, CutMix's with mixed labels. ``prune/accuracy_before`` of a pruned trial is its
unpruned validation accuracy, so ``kdtune.pruning.surplus`` follows from the trials of two phases.
Slimming removes channels between the convs of a block alone (VGG-19 and DenseNet-40 are as in T2,
ResNet-56 keeps more), with the penalty of 1e-5 that its public code has for ResNets and DenseNets.
T2's other rows: ``--teacher vgg19 --student vgg19``, or both ``densenet_40_12`` with a
``prune_ratio`` of 0.7.
"""

from kdtune.contracts import Scalar
from kdtune.search.space import NO_TEACHER, Arm, Choice, Dimension, Float, Recipe, Space

POLICIES = ("standard", "autoaugment", "cutmix")
BETA = Float(0.01, 100, log=True)
DISTILLING = Choice(("pre_distill", "post_distill", "pre_post", "self_distill"))
STAGES = Choice(("0.6,0.3,0.1", "0.5,0.4,0.3", "0.2,0.2,0.2"))
"""Shares removed of the stages (T1): 40/70/90 percent remain of ResNet-56, 80/80/80 of ResNet-110,
50/60/70 of either."""
SOFT: dict[str, Scalar] = {"temperature": 4.0, "alpha": 0.9}
AFTER_160: dict[str, Scalar] = {
    "augment": "standard",
    "train.epochs": 200,
    "train.milestones": "0.4,0.6",
    "prune.at": 0.8,
    "prune.lr": 0.001,
}
SLIMMING: dict[str, Scalar] = {
    **AFTER_160,
    "prune.method": "slimming",
    "prune.sparsity": 1e-5,
    "prune_ratio": 0.5,
}
MAGNITUDE: dict[str, Scalar] = {**AFTER_160, "prune.method": "magnitude", "prune_ratio": 0.6}


OWN_AXES: dict[str, dict[str, Dimension]] = {"kd": {}, "feature_kd": {"method.beta": BETA}}
OWN_FIXED: dict[str, dict[str, Scalar]] = {"kd": SOFT, "feature_kd": {}}


def _augmented(method: str, policy: str) -> Arm:
    """One of the policies for the student, any for the teacher."""
    mixed: dict[str, Scalar] = {"augment.batches": "mixed"} if policy == "cutmix" else {}
    return Arm(
        method=method,
        name=f"{method}-{policy}",
        axes={"teacher.augment": Choice(POLICIES), **OWN_AXES[method]},
        fixed={**OWN_FIXED[method], "augment": policy, **mixed},
    )


def _pruned(pruner: str, fixed: dict[str, Scalar], **axes: Dimension) -> tuple[Arm, ...]:
    """Around one pruner: labels alone, then both ways to distil in all four phases."""
    own = {key.replace("__", "."): axis for key, axis in axes.items()}
    alone = Arm(
        method="scratch", name=f"scratch-{pruner}", axes=own, fixed=fixed, without=NO_TEACHER
    )
    distilling = (
        Arm(
            method=method,
            name=f"{method}-{pruner}",
            axes={**own, "prune.phase": DISTILLING, **OWN_AXES[method]},
            fixed={**OWN_FIXED[method], **fixed},
        )
        for method in OWN_AXES
    )
    return (alone, *distilling)


SPACE = Space(
    name="park2020",
    summary="Distillation x augmentation of teacher and student, and distillation x pruning.",
    fixed={
        "dataset": "cifar100",
        "teacher": "resnet56",
        "student": "resnet56",
        "label_smoothing": 0.0,
        "teacher_epochs": 160,
        "teacher.full_epochs": 160,
        "teacher.nesterov": False,
        "teacher.weight_decay": 1e-4,
        "teacher.milestones": "0.5,0.75",
        "teacher.lr_factor": 0.1,
        "train.epochs": 160,
        "train.batch_size": 64,
        "train.lr": 0.1,
        "train.nesterov": False,
        "train.weight_decay": 1e-4,
        "train.schedule": "step",
        "train.milestones": "0.5,0.75",
        "train.lr_factor": 0.1,
    },
    arms=(
        Arm(method="scratch", axes={"augment": Choice(POLICIES)}, without=NO_TEACHER),
        *(_augmented(method, policy) for method in OWN_AXES for policy in POLICIES),
        *_pruned("filters", AFTER_160, prune__stages=STAGES),
        *_pruned("slimming", SLIMMING),
        *_pruned("magnitude", MAGNITUDE),
    ),
    recipes=(
        Recipe(name="plain", arm="scratch", source="T1, scratch", values={"augment": "standard"}),
        *(
            Recipe(
                name=f"{policy}-student",
                arm=f"kd-{policy}",
                source=source,
                values={"teacher.augment": "standard"},
            )
            for policy, source in (
                ("standard", "T1, distillation alone"),
                ("autoaugment", "T4, plain teacher and augmented student"),
                ("cutmix", "T5, plain teacher and augmented student"),
            )
        ),
        Recipe(
            name="features",
            arm="feature_kd-standard",
            source="T1, feature distillation; its weight is not printed",
            values={"teacher.augment": "standard", "method.beta": 0.1},
        ),
        Recipe(
            name="self-distilled-filters",
            arm="kd-filters",
            source="T1, 40/70/90 percent of the filters remain, self-distillation",
            values={"prune.stages": "0.6,0.3,0.1", "prune.phase": "self_distill"},
        ),
        *(
            Recipe(
                name=f"self-distilled-{pruner}",
                arm=f"kd-{pruner}",
                source=f"{table}, self-distillation",
                values={"prune.phase": "self_distill"},
            )
            for pruner, table in (("slimming", "T2"), ("magnitude", "T3"))
        ),
    ),
    tables=("park2020 T1", "park2020 T2", "park2020 T3", "park2020 T4", "park2020 T5"),
)
