"""All six axes on the digits that ship with scikit-learn: a real search in about a minute."""

from kdtune.search.space import Arm, Choice, Float, Recipe, Space

EPOCHS = 8
TEACHER_EPOCHS = (14, 30)

SPACE = Space(
    name="quickstart",
    summary="Six axes on 8x8 digits: a small ResNet teaches a tiny one, in about a minute.",
    fixed={
        "dataset": "digits",
        "teacher": "resnet8",
        "student": "resnet8x0.125",
        "train.epochs": EPOCHS,
        "train.batch_size": 64,
        "train.lr": 0.1,
        "teacher.full_epochs": max(TEACHER_EPOCHS),
        "teacher.augment": "none",
    },
    axes={
        "label_smoothing": Choice((0.0, 0.1)),
        "teacher_epochs": Choice(TEACHER_EPOCHS),
        "augment": Choice(("none", "standard", "mixup", "cutmix")),
        "prune_ratio": Choice((0.0, 0.3, 0.5)),
    },
    arms=(
        Arm(method="kd", axes={"temperature": Float(1, 16, log=True), "alpha": Float(0.1, 1.0)}),
    ),
    recipes=(
        Recipe(
            name="hinton",
            source="Hinton, Vinyals and Dean, 2015 (arXiv:1503.02531), with temperature 4 and "
            "alpha 0.9 as in Wang et al., 2020, and Sarfraz et al., 2020",
            values={
                "temperature": 4,
                "alpha": 0.9,
                "label_smoothing": 0.0,
                "teacher_epochs": max(TEACHER_EPOCHS),
                "augment": "none",
                "prune_ratio": 0.0,
            },
        ),
    ),
)
