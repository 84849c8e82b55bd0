"""Chandrasegaran et al., 2022: does a smoothed teacher still teach, and at which temperature?

Appendix C, with its ImageNet classification: teachers of 90 epochs, students of 200, batch 256,
rate 0.1 cut by 10 every 30 (teacher) or 80 epochs (student). Distillation alone (alpha 1). Weight
decay, which is not printed, is the usual 1e-4 of ImageNet. The dataset is left to the user:
``--dataset folder:PATH`` or ``parquet:URI``; any labelled images show whether the effect holds. Its
CUB-200 runs (T4, TB.1, TB.5) have rate 0.01 and 200 epochs with drops every 80 for both networks,
from ImageNet weights, and rotated and recoloured images, which this space does not have.
"""

from kdtune.contracts import Scalar
from kdtune.search.space import NO_TEACHER, Arm, Choice, Float, Recipe, Space

TEMPERATURES = (1.0, 2.0, 3.0, 64.0)


def _printed(smoothing: float, temperature: float) -> Recipe:
    values: dict[str, Scalar] = {"label_smoothing": smoothing, "temperature": temperature}
    return Recipe(
        name=f"smoothing-{smoothing}-temperature-{temperature:.0f}",
        arm="kd",
        source="T2",
        values=values,
    )


SPACE = Space(
    name="chandrasegaran2022",
    summary="Smoothing of the teacher x temperature, distillation alone.",
    fixed={
        "teacher": "torchvision:resnet50",
        "student": "torchvision:resnet18",
        "augment": "standard",
        "teacher_epochs": 90,
        "teacher.full_epochs": 90,
        "teacher.batch_size": 256,
        "teacher.nesterov": False,
        "teacher.weight_decay": 1e-4,
        "teacher.milestones": "0.333,0.667",
        "teacher.lr_factor": 0.1,
        "train.epochs": 200,
        "train.batch_size": 256,
        "train.lr": 0.1,
        "train.nesterov": False,
        "train.weight_decay": 1e-4,
        "train.schedule": "step",
        "train.milestones": "0.4,0.8",
        "train.lr_factor": 0.1,
    },
    axes={"label_smoothing": Choice((0.0, 0.1))},
    arms=(
        Arm(method="kd", axes={"temperature": Choice(TEMPERATURES)}, fixed={"alpha": 1.0}),
        Arm(
            method="overhaul",
            axes={
                "temperature": Choice((1.0, 3.0)),
                "method.beta": Float(1e-5, 1e-2, log=True),
            },
            fixed={"alpha": 1.0, "method.blocks": 4},
        ),
        Arm(method="scratch", without=NO_TEACHER),
    ),
    recipes=(
        *(
            _printed(smoothing, temperature)
            for smoothing in (0.0, 0.1)
            for temperature in TEMPERATURES
        ),
        *(
            Recipe(
                name=f"overhaul-{smoothing}-temperature-{temperature:.0f}",
                arm="overhaul",
                source="TB.5, whose data are CUB-200; its weight is not printed",
                values={
                    "label_smoothing": smoothing,
                    "temperature": temperature,
                    "method.beta": 1e-4,
                },
            )
            for smoothing in (0.0, 0.1)
            for temperature in (1.0, 3.0)
        ),
    ),
    tables=("chandrasegaran2022 T2", "chandrasegaran2022 TB.3"),
)
