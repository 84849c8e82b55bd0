"""Park et al., 2020: distillation beside data augmentation and pruning, one network type a pair.

The main text leaves the training open. The schedule is that of the pruning code it compares with
(160 epochs, rate 0.1 cut by 10 at 80 and 120, batch 64, weight decay 1e-4, and 40 epochs at 0.001
after pruning); temperature 4 and alpha 0.9 are the usual ones, and ``method.beta`` is searched.

``teacher.augment`` and the arm's ``augment`` make the four combinations of section 5; both networks
see the same images, CutMix's with mixed labels. ``prune/accuracy_before`` of a pruned trial is its
unpruned accuracy, so ``kdtune.pruning.surplus`` follows from the trials of two phases.
"""

from kdtune.contracts import Scalar
from kdtune.search.space import NO_TEACHER, Arm, Choice, Float, Recipe, Space

POLICIES = ("standard", "autoaugment", "cutmix")
BETA = Float(0.01, 100, log=True)
DISTILLING = Choice(("pre_distill", "post_distill", "pre_post", "self_distill"))
STAGES = Choice(("0.6,0.3,0.1", "0.5,0.4,0.3"))
"""Shares removed of ResNet-56's stages, so that 40/70/90 or 50/60/70 percent remain (T1)."""
SOFT: dict[str, Scalar] = {"temperature": 4.0, "alpha": 0.9}
AFTER_160: dict[str, Scalar] = {
    "augment": "standard",
    "train.epochs": 200,
    "train.milestones": "0.4,0.6",
    "prune.at": 0.8,
    "prune.lr": 0.001,
}
SLIMMING: dict[str, Scalar] = {**AFTER_160, "prune.method": "slimming", "prune_ratio": 0.5}
MAGNITUDE: dict[str, Scalar] = {**AFTER_160, "prune.method": "magnitude", "prune_ratio": 0.6}


def _augmented(policy: str) -> Arm:
    """Soft labels with one of the policies for the student, any for the teacher."""
    mixed: dict[str, Scalar] = {"augment.batches": "mixed"} if policy == "cutmix" else {}
    return Arm(
        method="kd",
        name=f"kd-{policy}",
        axes={"teacher.augment": Choice(POLICIES)},
        fixed={**SOFT, "augment": policy, **mixed},
    )


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
        *(_augmented(policy) for policy in POLICIES),
        Arm(method="feature_kd", axes={"method.beta": BETA}, fixed={"augment": "standard"}),
        Arm(
            method="scratch",
            name="scratch-filters",
            axes={"prune.stages": STAGES},
            fixed=AFTER_160,
            without=NO_TEACHER,
        ),
        Arm(
            method="kd",
            name="kd-filters",
            axes={"prune.stages": STAGES, "prune.phase": DISTILLING},
            fixed={**SOFT, **AFTER_160},
        ),
        Arm(
            method="feature_kd",
            name="feature_kd-filters",
            axes={"prune.stages": STAGES, "prune.phase": DISTILLING, "method.beta": BETA},
            fixed=AFTER_160,
        ),
        Arm(method="scratch", name="scratch-slimming", fixed=SLIMMING, without=NO_TEACHER),
        Arm(
            method="kd",
            name="kd-slimming",
            axes={"prune.phase": DISTILLING},
            fixed={**SOFT, **SLIMMING},
        ),
        Arm(method="scratch", name="scratch-magnitude", fixed=MAGNITUDE, without=NO_TEACHER),
        Arm(
            method="kd",
            name="kd-magnitude",
            axes={"prune.phase": DISTILLING},
            fixed={**SOFT, **MAGNITUDE},
        ),
    ),
    recipes=(
        Recipe(name="plain", arm="scratch", source="T1, scratch", values={"augment": "standard"}),
        Recipe(
            name="plain-kd",
            arm="kd-standard",
            source="T1, distillation without pruning",
            values={"teacher.augment": "standard"},
        ),
        Recipe(
            name="cutmix-student",
            arm="kd-cutmix",
            source="T5, plain teacher and augmented student",
            values={"teacher.augment": "standard"},
        ),
        Recipe(
            name="self-distilled-filters",
            arm="kd-filters",
            source="T1, 40/70/90 percent of the filters remain, self-distillation",
            values={"prune.stages": "0.6,0.3,0.1", "prune.phase": "self_distill"},
        ),
    ),
    tables=("park2020 T1", "park2020 T2", "park2020 T3", "park2020 T4", "park2020 T5"),
)
