"""Wang et al., 2020: stronger augmentation lets a teacher say more, for longer.

Section 4: temperature 4, alpha 0.9, batch 64, 240 epochs, rate 0.05 cut by 10 at 150, 180 and 210;
``--epochs 960`` is the long run, its drops scale along. Momentum 0.9 and weight decay 5e-4 are
those of the code whose teachers it uses. Mixed images are trained on besides the plain ones, by
soft labels alone; CRD looks at the plain ones only, at weight 0.8 (its weights are not printed).
"""

from kdtune.search.space import NO_TEACHER, Arm, Choice, Float, Recipe, Space

CRITERIA = Choice(("kld", "teacher_entropy", "student_entropy"))

SPACE = Space(
    name="wang2020",
    summary="Soft labels on plain and mixed images, picked ones among them, and with CRD.",
    fixed={
        "dataset": "cifar100",
        "teacher": "wrn_40_2",
        "student": "wrn_16_2",
        "label_smoothing": 0.0,
        "teacher_epochs": 240,
        "teacher.full_epochs": 240,
        "teacher.lr": 0.05,
        "teacher.nesterov": False,
        "teacher.milestones": "0.625,0.75,0.875",
        "teacher.lr_factor": 0.1,
        "train.epochs": 240,
        "train.batch_size": 64,
        "train.lr": 0.05,
        "train.nesterov": False,
        "train.weight_decay": 5e-4,
        "train.schedule": "step",
        "train.milestones": "0.625,0.75,0.875",
        "train.lr_factor": 0.1,
    },
    arms=(
        Arm(method="scratch", fixed={"augment": "standard"}, without=NO_TEACHER),
        Arm(
            method="kd",
            axes={"temperature": Choice((2.0, 4.0, 8.0)), "alpha": Float(0.5, 1.0)},
            fixed={"augment": "standard"},
        ),
        Arm(
            method="kd",
            name="kd-mixed",
            axes={"augment": Choice(("mixup", "cutmix"))},
            fixed={"temperature": 4.0, "alpha": 0.9},
        ),
        Arm(
            method="kd",
            name="kd-pick",
            axes={"augment.criterion": CRITERIA},
            fixed={"temperature": 4.0, "alpha": 0.9, "augment": "cutmix_pick"},
        ),
        Arm(
            method="crd",
            axes={"method.beta": Float(0.1, 4.0, log=True)},
            fixed={"augment": "standard"},
        ),
        Arm(
            method="crd",
            name="crd-pick",
            axes={"augment.criterion": CRITERIA, "method.beta": Float(0.1, 4.0, log=True)},
            fixed={
                "temperature": 4.0,
                "alpha": 1.0,
                "method.ce_weight": 1.0,
                "augment": "cutmix_pick",
            },
        ),
    ),
    recipes=(
        Recipe(name="kd", arm="kd", source="T1, KD", values={"temperature": 4.0, "alpha": 0.9}),
        Recipe(
            name="kd-cutmix", arm="kd-mixed", source="T1, KD + CutMix", values={"augment": "cutmix"}
        ),
        Recipe(
            name="kd-cutmix-pick",
            arm="kd-pick",
            source="T2, T/S kld",
            values={"augment.criterion": "kld"},
        ),
        Recipe(
            name="kd-mixup", arm="kd-mixed", source="T1, KD + mixup", values={"augment": "mixup"}
        ),
        *(
            Recipe(
                name=f"pick-by-{criterion}",
                arm="kd-pick",
                source="T2, data picking schemes",
                values={"augment.criterion": criterion},
            )
            for criterion in ("teacher_entropy", "student_entropy")
        ),
        Recipe(name="crd", arm="crd", source="T3, CRD", values={"method.beta": 0.8}),
        Recipe(
            name="crd-cutmix-pick",
            arm="crd-pick",
            source="T3, CRD + CutMix-pick",
            values={"augment.criterion": "kld", "method.beta": 0.8},
        ),
    ),
    tables=("wang2020 T1", "wang2020 T2", "wang2020 T3"),
)
