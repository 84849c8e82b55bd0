"""All six axes at CIFAR scale, over soft labels and attention transfer.

Training follows the CIFAR settings of Cho and Hariharan, 2019 (section 4): 200 epochs, learning
rate 0.1 times 0.2 at 60, 120 and 180. Batch size and weight decay, which they leave out, are those
of the attention-transfer code that they build on.
"""

from kdtune.contracts import Scalar
from kdtune.search.space import Arm, Choice, Float, Recipe, Space

EPOCHS = 200
TEACHER_EPOCHS = (35, 50, 65, 80, 200)
PLAIN: dict[str, Scalar] = {
    "label_smoothing": 0.0,
    "teacher_epochs": 200,
    "augment": "standard",
    "prune_ratio": 0.0,
}
SOFT_LABELS: dict[str, Scalar] = {**PLAIN, "method": "kd", "temperature": 4, "alpha": 0.9}

SPACE = Space(
    name="joint",
    summary="All six axes and two methods at CIFAR scale, in the ranges that the papers use.",
    fixed={
        "dataset": "cifar10",
        "teacher": "resnet56",
        "student": "resnet20",
        "train.epochs": EPOCHS,
        "train.batch_size": 128,
        "train.lr": 0.1,
        "train.nesterov": False,
        "train.weight_decay": 5e-4,
        "train.schedule": "step",
        "train.milestones": "0.3,0.6,0.9",
        "train.lr_factor": 0.2,
        "teacher.full_epochs": max(TEACHER_EPOCHS),
        "teacher.batch_size": 128,
        "teacher.nesterov": False,
    },
    axes={
        "label_smoothing": Choice((0.0, 0.05, 0.1, 0.2)),
        "teacher_epochs": Choice(TEACHER_EPOCHS),
        "augment": Choice(("none", "standard", "mixup", "cutmix")),
        "prune_ratio": Choice((0.0, 0.3, 0.5, 0.7)),
    },
    arms=(
        Arm(
            method="kd",
            axes={
                "temperature": Choice((1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 64.0)),
                "alpha": Float(0.0, 1.0),
            },
        ),
        Arm(method="at", axes={"method.beta": Float(10, 10_000, log=True)}),
    ),
    recipes=(
        Recipe(
            name="wang2020-cutmix",
            source="Wang et al., 2020, section 4: temperature 4, alpha 0.9, CutMix",
            values={**SOFT_LABELS, "augment": "cutmix"},
        ),
        Recipe(
            name="cho2019-early-teacher",
            source="Cho and Hariharan, 2019, sections 4 and 5.5: alpha 0.9, teacher of 35 epochs",
            values={**SOFT_LABELS, "teacher_epochs": 35},
        ),
        Recipe(
            name="sarfraz2020-kd",
            source="Sarfraz et al., 2020, Table I: temperature 4, alpha 0.9",
            values=SOFT_LABELS,
        ),
        Recipe(
            name="chandrasegaran2022-smooth-teacher",
            source="Chandrasegaran et al., 2022, section 5: temperature 1, distillation alone, "
            "a teacher smoothed by 0.1",
            values={**SOFT_LABELS, "temperature": 1, "alpha": 1.0, "label_smoothing": 0.1},
        ),
        Recipe(
            name="sarfraz2020-at",
            source="Sarfraz et al., 2020, Table I: attention transfer at weight 1000",
            values={**PLAIN, "method": "at", "method.beta": 1000},
        ),
    ),
)
