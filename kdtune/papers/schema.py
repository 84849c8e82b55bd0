"""The columns of the packaged figures, and how a row's conditions become typed columns."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

if TYPE_CHECKING:
    from kdtune.contracts import Scalar

Kind = Literal["number", "count", "text"]

CONDITIONS: Mapping[str, tuple[Kind, str]] = {
    "temperature": ("number", "of distillation"),
    "alpha": ("number", "weight on the distillation term, whatever the paper calls alpha"),
    "beta": ("number", "weight of attention transfer"),
    "sp_weight": ("number", "weight of similarity preserving"),
    "rkd_d_weight": ("number", "weight of relational distances"),
    "rkd_a_weight": ("number", "weight of relational angles"),
    "label_smoothing": ("number", "of the teacher's training"),
    "label_noise": ("number", "share of training labels redrawn over all classes"),
    "class_imbalance": ("number", "exponent of the power law of class sizes; smaller is stronger"),
    "temperature_from": ("number", "first temperature of a change"),
    "temperature_to": ("number", "second temperature of a change"),
    "epochs": ("count", "of the student's training"),
    "teacher_epochs": ("count", "of a teacher stopped early"),
    "finetune_epochs": ("count", "on the second dataset"),
    "generation": ("count", "place in a chain of students"),
    "branches": ("count", "of ONE"),
    "cohort": ("count", "networks that teach each other"),
    "counterexample": ("count", "number of the case"),
    "augment": ("text", "of student and teacher inputs"),
    "student_augment": ("text", "of the student's training, where it may differ"),
    "teacher_augment": ("text", "of the teacher's own training"),
    "pick": ("text", "by what mixed images are picked"),
    "pruner": ("text", "what is removed"),
    "remaining": ("text", "percent left, of each stage where there are several"),
    "phase": ("text", "which trainings around pruning distil"),
    "relative_to": ("text", "what a gain is measured from"),
    "teacher_training": ("text", "how the teacher was trained"),
    "sequence": ("text", "networks of a chain: large, medium, small"),
    "role": ("text", "which network of the row the figure is about"),
    "pair": ("text", "teacher and student of the column"),
    "paired_with": ("text", "method of the row, for figures that do not depend on it"),
    "origin": ("text", "original_paper: quoted from elsewhere"),
    "statistic": ("text", "median or mean over runs"),
    "ensemble": ("text", "whose outputs are averaged"),
    "source": ("text", "network that adversarial images are made on"),
    "target": ("text", "network that they are tried on"),
    "split": ("text", "train or val"),
    "target_class": ("text", "class that is looked at"),
    "class_set": ("text", "set of target classes"),
    "distance": ("text", "how clusters are compared"),
    "task_loss": ("text", "what feature distillation is added to"),
    "pretrained_on": ("text", "dataset of the first training"),
}
"""Key of a condition -> kind and meaning."""

_TYPES: Mapping[Kind, Any] = {
    "number": pa.float64(),
    "count": pa.int32(),
    "text": pa.dictionary(pa.int32(), pa.string()),
}


def _field(name: str, kind: Any, description: str, *, nullable: bool = False) -> Any:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


_CATEGORY = _TYPES["text"]

SCHEMA = pa.schema(
    [
        _field("paper", _CATEGORY, "key of the paper"),
        _field("table", _CATEGORY, "T3 is table 3, TB.1 one of an appendix, F1 a figure"),
        _field("row_label", pa.string(), "row as printed, lightly cleaned; for people"),
        _field("dataset", _CATEGORY, "canonical name"),
        _field("teacher", _CATEGORY, "network, as the papers write it; empty for none"),
        _field("student", _CATEGORY, "network that the figure is about"),
        _field("method", _CATEGORY, "canonical; scratch is training without a teacher"),
        _field("condition", pa.string(), "all conditions as collected, key=value joined by ;"),
        *(
            _field(name, _TYPES[kind], f"condition: {meaning}", nullable=True)
            for name, (kind, meaning) in CONDITIONS.items()
        ),
        _field("metric", _CATEGORY, "percentages in percent"),
        _field("value", pa.float64(), "the number"),
        _field("printed", pa.string(), "the number as printed"),
        _field("std", pa.float64(), "standard deviation; null where none is", nullable=True),
        _field("printed_std", pa.string(), "the deviation as printed; empty where none is"),
        _field("n_runs", pa.int32(), "null where the paper does not say", nullable=True),
        _field("higher_is_better", pa.bool_(), "null where neither applies", nullable=True),
        _field("note", _CATEGORY, "what is damaged, ambiguous or inferred; remarks joined by ;"),
    ],
    metadata={"description": "figures that five papers on distillation printed, one a row"},
)
"""Conditions are null where a row has none, or where all that is known of a number are its bounds;
``condition`` has the words."""


def split_condition(condition: str) -> dict[str, str]:
    """``"temperature=4;alpha=0.9"`` -> its keys and texts, in their order.

    Raises:
        ValueError: If a key is unknown, given twice, or has no value.
    """
    texts: dict[str, str] = {}
    for part in filter(None, condition.split(";")):
        key, equals, value = part.partition("=")
        if key not in CONDITIONS or key in texts or not (equals and value):
            raise ValueError(f"a condition must be known keys=values, once each, got '{condition}'")
        texts[key] = value
    return texts


def typed(key: str, text: str) -> "Scalar":
    """The value of a condition; a number that is only bounded in words stays a text."""
    kind, _ = CONDITIONS[key]
    try:
        return float(text) if kind == "number" else int(text) if kind == "count" else text
    except ValueError:
        return text
