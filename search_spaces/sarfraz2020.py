"""Sarfraz et al., 2020: eleven ways to distil under one protocol, also with noise and imbalance.

Section III and Table I: 200 epochs, batch 128, rate 0.1 times 0.2 at 60, 120 and 150, temperature
4, alpha 0.9; every method's published weight is its recipe, searched around. Two stages have their
first before the schedule. ONE follows its own paper's schedule. Conditions are settings of the
data, not axes: ``--set data.label_noise=0.4`` or ``--set data.imbalance=0.6``, with ``--teacher
wrn_40_2 --student wrn_16_2``. Crops here are padded with zeros and inputs normalised; theirs are
reflected and in 0..1.
"""

from kdtune.search.space import NO_TEACHER, Arm, Choice, Float, Recipe, Space

SOFT = {"temperature": 4.0, "alpha": 0.9}


def _published(name: str, **values: float) -> Recipe:
    keys = {key.replace("__", "."): value for key, value in values.items()}
    return Recipe(name=name, arm=name, source="Table I", values=keys)


SPACE = Space(
    name="sarfraz2020",
    summary="Response, representation, relation and online distillation under one protocol.",
    fixed={
        "dataset": "cifar10",
        "teacher": "resnet26",
        "student": "resnet8",
        "label_smoothing": 0.0,
        "teacher_epochs": 200,
        "augment": "standard",
        "train.epochs": 200,
        "train.batch_size": 128,
        "train.lr": 0.1,
        "train.nesterov": False,
        "train.weight_decay": 5e-4,
        "train.schedule": "step",
        "train.milestones": "0.3,0.6,0.75",
        "train.lr_factor": 0.2,
        "teacher.full_epochs": 200,
        "teacher.batch_size": 128,
        "teacher.nesterov": False,
        "teacher.milestones": "0.3,0.6,0.75",
    },
    arms=(
        Arm(method="scratch", without=NO_TEACHER),
        Arm(
            method="kd",
            axes={"temperature": Choice((1.0, 2.0, 4.0, 10.0)), "alpha": Float(0.1, 1.0)},
        ),
        Arm(
            method="bss",
            axes={"temperature": Choice((3.0, 4.0)), "method.attack_size": Choice((32, 64))},
        ),
        Arm(method="fitnet", axes={"method.block": Choice((1, 2, 3))}, fixed=SOFT),
        Arm(method="fsp", axes={"method.weight2": Choice((1.0, 3.0))}, fixed=SOFT),
        Arm(method="at", axes={"method.beta": Float(10, 10_000, log=True)}),
        Arm(method="sp", axes={"method.beta": Float(100, 30_000, log=True)}),
        Arm(method="rkd_d", axes={"method.distance_weight": Float(1, 500, log=True)}),
        Arm(method="rkd_a", axes={"method.angle_weight": Float(1, 500, log=True)}),
        Arm(
            method="rkd",
            axes={
                "method.distance_weight": Float(1, 500, log=True),
                "method.angle_weight": Float(1, 500, log=True),
            },
        ),
        Arm(method="dml", axes={"temperature": Choice((1.0, 2.0, 4.0))}, without=NO_TEACHER),
        Arm(
            method="one",
            axes={"temperature": Choice((1.0, 3.0, 4.0))},
            fixed={"train.epochs": 300, "train.milestones": "0.5,0.75", "train.lr_factor": 0.1},
            without=NO_TEACHER,
        ),
    ),
    recipes=(
        _published("scratch"),
        _published("kd", temperature=4.0, alpha=0.9),
        _published("bss", temperature=4.0, method__attack_size=32),
        _published("fitnet", method__block=2),
        _published("fsp", method__weight2=3.0),
        _published("at", method__beta=1000.0),
        _published("sp", method__beta=3000.0),
        _published("rkd_d", method__distance_weight=25.0),
        _published("rkd_a", method__angle_weight=50.0),
        _published("rkd", method__distance_weight=25.0, method__angle_weight=50.0),
        _published("dml", temperature=4.0),
        _published("one", temperature=3.0),
    ),
    tables=(
        "sarfraz2020 T2",
        "sarfraz2020 T3",
        "sarfraz2020 T4",
        "sarfraz2020 T5",
        "sarfraz2020 T6",
    ),
)
