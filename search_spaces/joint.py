"""Every method and all axes together, at CIFAR scale.

Training follows the CIFAR settings of Cho and Hariharan, 2019 (section 4): 200 epochs, learning
rate 0.1 times 0.2 at 60, 120 and 180. Batch size and weight decay, which they leave out, are those
of the attention-transfer code that they build on. The pair has three stages of equal widths, which
``fsp`` needs; ``--set method=NAME`` or ``--set arm=NAME`` narrows the search.
"""

from kdtune.contracts import Scalar
from kdtune.search.space import NO_TEACHER, Arm, Choice, Dimension, Float, Recipe, Space

EPOCHS = 200
TEACHER_EPOCHS = (35, 50, 65, 80, 200)
TEMPERATURE = Choice((1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 64.0))
SOFT: dict[str, Scalar] = {"temperature": 4.0, "alpha": 0.9}
PLAIN: dict[str, Scalar] = {
    "label_smoothing": 0.0,
    "teacher_epochs": EPOCHS,
    "augment": "standard",
    "prune_ratio": 0.0,
}
CHO = "Cho and Hariharan, 2019"
PARK = "Park et al., 2020"
SARFRAZ = "Sarfraz et al., 2020, Table I"
WANG = "Wang et al., 2020"


SOFT_AXES: dict[str, Dimension] = {"temperature": TEMPERATURE, "alpha": Float(0.0, 1.0)}


def _published(arm: str, source: str, **own: Scalar) -> Recipe:
    """The published setting of an arm, everything else plain; ``__`` stands for a dot."""
    inherits = next(each.inherits for each in ARMS if each.name == arm)
    plain = {key: value for key, value in PLAIN.items() if inherits(key)}
    return Recipe(
        name=f"published-{arm}",
        arm=arm,
        source=source,
        values={**plain, **{key.replace("__", "."): value for key, value in own.items()}},
    )


def _weighed(method: str, low: float, high: float, key: str = "method.beta") -> Arm:
    """A method with one weight, searched on a logarithmic scale."""
    return Arm(method=method, axes={key: Float(low, high, log=True)})


def _pruned(method: str, **fixed: Scalar) -> Arm:
    """Soft labels around one of the other pruners."""
    return Arm(
        method="kd",
        name=f"kd-{method}",
        axes={
            "prune.phase": Choice(("pre_distill", "post_distill", "pre_post", "self_distill")),
            "temperature": TEMPERATURE,
        },
        fixed={"alpha": 0.9, "prune.method": method, **fixed},
    )


ARMS = (
    Arm(method="kd", axes=SOFT_AXES),
    Arm(method="eskd", axes=SOFT_AXES),
    Arm(
        method="kd",
        name="kd-pick",
        axes={
            **SOFT_AXES,
            "augment.criterion": Choice(("kld", "teacher_entropy", "student_entropy")),
        },
        fixed={"augment": "cutmix_pick"},
    ),
    _pruned("slimming", prune_ratio=0.5),
    _pruned("magnitude", prune_ratio=0.6),
    _weighed("feature_kd", 0.01, 100),
    Arm(method="fitnet", axes={"method.block": Choice((1, 2, 3)), **SOFT_AXES}),
    Arm(method="fsp", axes=SOFT_AXES),
    _weighed("at", 10, 10_000),
    Arm(
        method="at_kd",
        axes={**SOFT_AXES, "method.beta": Float(10, 10_000, log=True)},
    ),
    _weighed("overhaul", 1e-5, 1e-1),
    _weighed("sp", 100, 30_000),
    _weighed("rkd_d", 1, 500, "method.distance_weight"),
    _weighed("rkd_a", 1, 500, "method.angle_weight"),
    Arm(
        method="rkd",
        axes={
            "method.distance_weight": Float(1, 500, log=True),
            "method.angle_weight": Float(1, 500, log=True),
        },
    ),
    Arm(method="bss", axes={"temperature": Choice((3.0, 4.0))}),
    _weighed("crd", 0.05, 5),
    Arm(
        method="dml",
        axes={"temperature": Choice((1.0, 2.0, 4.0))},
        fixed={"prune_ratio": 0.0},
        without=NO_TEACHER,
    ),
    Arm(
        method="one",
        axes={"temperature": Choice((1.0, 3.0, 4.0))},
        fixed={"prune_ratio": 0.0},
        without=NO_TEACHER,
    ),
    Arm(method="scratch", without=NO_TEACHER),
)

SPACE = Space(
    name="joint",
    summary="Every method and all six axes at CIFAR scale, in the ranges that the papers use.",
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
        "augment": Choice(
            (
                *("none", "standard", "cutout", "autoaugment", "randaugment", "trivialaugment"),
                *("mixup", "cutmix"),
            )
        ),
        "prune_ratio": Choice((0.0, 0.3, 0.5, 0.7)),
    },
    arms=ARMS,
    recipes=(
        Recipe(
            name="wang2020-cutmix",
            arm="kd",
            source="Wang et al., 2020, section 4: temperature 4, alpha 0.9, CutMix",
            values={**PLAIN, **SOFT, "augment": "cutmix"},
        ),
        Recipe(
            name="cho2019-early-teacher",
            arm="kd",
            source="Cho and Hariharan, 2019, sections 4 and 5.5: alpha 0.9, teacher of 35 epochs",
            values={**PLAIN, **SOFT, "teacher_epochs": 35},
        ),
        Recipe(
            name="sarfraz2020-kd",
            arm="kd",
            source="Sarfraz et al., 2020, Table I: temperature 4, alpha 0.9",
            values={**PLAIN, **SOFT},
        ),
        Recipe(
            name="chandrasegaran2022-smooth-teacher",
            arm="kd",
            source="Chandrasegaran et al., 2022, section 5: temperature 1, distillation alone, "
            "a teacher smoothed by 0.1",
            values={**PLAIN, "temperature": 1.0, "alpha": 1.0, "label_smoothing": 0.1},
        ),
        _published("scratch", "no teacher, for comparison"),
        _published("eskd", f"{CHO}, section 5.3", **SOFT),
        _published("kd-pick", f"{WANG}, section 3.2", **SOFT, augment__criterion="kld"),
        _published(
            "kd-slimming",
            f"{PARK}, T2: half of the channels between the convs of a block",
            prune__phase="pre_post",
            temperature=4.0,
        ),
        _published(
            "kd-magnitude",
            f"{PARK}, T3: 40 percent of the weights remain",
            prune__phase="pre_post",
            temperature=4.0,
        ),
        _published("feature_kd", f"{PARK}, eq. 2; its weight is not printed", method__beta=0.1),
        _published("fitnet", SARFRAZ, **SOFT, method__block=2),
        _published("fsp", SARFRAZ, **SOFT),
        _published("at", SARFRAZ, method__beta=1000.0),
        _published("at_kd", f"{CHO}, section 5.5", **SOFT, method__beta=1000.0),
        _published("overhaul", "Heo et al., 2019 (arXiv:1904.01866)", method__beta=1e-3),
        _published("sp", SARFRAZ, method__beta=3000.0),
        _published("rkd_d", SARFRAZ, method__distance_weight=25.0),
        _published("rkd_a", SARFRAZ, method__angle_weight=50.0),
        _published("rkd", SARFRAZ, method__distance_weight=25.0, method__angle_weight=50.0),
        _published("bss", SARFRAZ, temperature=4.0),
        _published("crd", "Tian et al., 2020 (arXiv:1910.10699)", method__beta=0.8),
        _published("dml", SARFRAZ, temperature=4.0),
        _published("one", SARFRAZ, temperature=3.0),
    ),
)
