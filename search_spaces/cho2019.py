"""Cho and Hariharan, 2019: larger teachers, teachers stopped early, distillation stopped early.

Section 4: 200 epochs, rate 0.1 times 0.2 at 60, 120 and 180, temperature 4, attention at 1000.
Batch 128 and weight decay 5e-4, which it leaves out, are those of the attention-transfer code that
it builds on. Its alpha of 0.9 stands before the class loss in print; 0.9 on distillation is how the
works it takes the value from use it, and 0.1 is the literal reading, so both are tried.

Generations and chains of students (section 5.4, T4 to T7) are one trial each of the ``Sequence``
trainable: see docs/students.md.
"""

from kdtune.contracts import Scalar
from kdtune.search.space import NO_TEACHER, Arm, Choice, Recipe, Space

ALPHA = Choice((0.1, 0.9))
STOPS = Choice((20, 40, 60, 80, 120, 160))
"""Epochs of 200; the arms without them stop where the rate first drops, whatever the length."""
FULL: dict[str, Scalar] = {"teacher": "wrn_16_3", "teacher_epochs": 200}

SPACE = Space(
    name="cho2019",
    summary="Teacher size x teacher epochs x when distillation stops, at a capacity gap.",
    fixed={
        "dataset": "cifar10",
        "student": "wrn_16_1",
        "label_smoothing": 0.0,
        "augment": "standard",
        "train.epochs": 200,
        "train.batch_size": 128,
        "train.lr": 0.1,
        "train.nesterov": False,
        "train.weight_decay": 5e-4,
        "train.schedule": "step",
        "train.milestones": "0.3,0.6,0.9",
        "train.lr_factor": 0.2,
        "teacher.full_epochs": 200,
        "teacher.batch_size": 128,
        "teacher.nesterov": False,
    },
    axes={
        "teacher": Choice(("wrn_16_3", "wrn_16_4", "wrn_16_6", "wrn_16_8")),
        "teacher_epochs": Choice((35, 50, 65, 80, 200)),
    },
    arms=(
        Arm(method="scratch", without=NO_TEACHER),
        Arm(method="kd", axes={"alpha": ALPHA, "temperature": Choice((2.0, 4.0, 10.0, 20.0))}),
        Arm(method="eskd", axes={"alpha": ALPHA}, fixed={"temperature": 4.0}),
        Arm(
            method="eskd",
            name="eskd-at",
            axes={"alpha": ALPHA, "method.stop_epoch": STOPS},
            fixed={"temperature": 4.0},
        ),
        Arm(
            method="at_kd",
            axes={"alpha": ALPHA},
            fixed={"temperature": 4.0, "method.beta": 1000.0},
        ),
        Arm(
            method="at_kd",
            name="at_kd-at",
            axes={"alpha": ALPHA, "method.stop_epoch": STOPS},
            fixed={"temperature": 4.0, "method.beta": 1000.0},
        ),
    ),
    recipes=(
        Recipe(name="scratch", arm="scratch", source="section 4: no teacher", values={}),
        Recipe(
            name="full-kd",
            arm="kd",
            source="section 4 and T2: full teacher, distillation to the end",
            values={**FULL, "alpha": 0.9, "temperature": 4.0},
        ),
        Recipe(
            name="early-teacher",
            arm="kd",
            source="section 5.5: a teacher of 35 epochs",
            values={**FULL, "teacher_epochs": 35, "alpha": 0.9, "temperature": 4.0},
        ),
        Recipe(
            name="eskd",
            arm="eskd",
            source="section 5.3, stopped at the first drop of the rate",
            values={**FULL, "alpha": 0.9},
        ),
        Recipe(
            name="attention",
            arm="at_kd",
            source="section 4: attention transfer at 1000 with soft labels",
            values={**FULL, "alpha": 0.9},
        ),
    ),
    tables=("cho2019 T2", "cho2019 T4", "cho2019 T5", "cho2019 T6"),
)
