"""What can head the rows and columns of a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kdtune.papers.figure import Figure

NONE = "-"


@dataclass(frozen=True)
class Facet:
    """One heading of rows or columns.

    Attributes:
        title: What the heading says of itself; may be empty.
        text: Its text for a figure.
    """

    title: str
    text: Callable[[Figure], str]


def by(
    name: str, title: str | None = None, names: Mapping[str, str] | None = None, form: str = "{}"
) -> Facet:
    """The facet of an attribute or condition.

    Args:
        name: Of the attribute or condition; a figure without it has an empty text.
        title: By default the name, in words.
        names: What to say in place of some values.
        form: How other values are written.
    """

    def text(figure: Figure) -> str:
        raw = value_of(figure, name)
        return (names or {}).get(raw) or (form.format(raw) if raw else "")

    return Facet(name.replace("_", " ") if title is None else title, text)


def value_of(figure: Figure, name: str) -> str:
    """An attribute or a condition as text; empty if the figure has no such condition."""
    raw = getattr(figure, name) if hasattr(figure, name) else figure.conditions.get(name)
    return "" if raw is None else f"{raw:g}" if isinstance(raw, float) else str(raw)


def in_line(text: str) -> str:
    """A heading of several lines as one."""
    return " ".join(text.replace("-\n", "-").split())


METRICS: Mapping[str, str] = {
    "test_accuracy": "Accuracy (%)",
    "top1_accuracy": "Top-1 (%)",
    "top5_accuracy": "Top-5 (%)",
    "test_error": "Error (%)",
    "top1_error": "Top-1 error (%)",
    "top5_error": "Top-5 error (%)",
    "kd_error_train": "KD error, train (%)",
    "kd_error_test": "KD error, test (%)",
    "ce_loss_train": "CE, train",
    "kd_loss_train": "KD, train",
    "kd_loss_test": "KD, test",
    "nwot_score": "Mean ± deviation",
    "nwot_score_error_margin": "Error margin",
    "nwot_score_ci99_halfwidth": "99 % interval, half",
    "bleu": "BLEU",
    "diffusion_index_similar": "similar",
    "diffusion_index_dissimilar": "dissimilar",
    "class_set_agreement_similar": "similar",
    "class_set_agreement_dissimilar": "dissimilar",
    "target_entropy": "Mean entropy",
    "classwise_accuracy_train": "train",
    "classwise_accuracy_val": "val",
}
"""What the head of a table calls a metric."""


def teacher_of_row(figure: Figure) -> str:
    """The teacher that a row is about; with its epochs where it was stopped early."""
    if value_of(figure, "role") == "teacher":
        return figure.student
    epochs = value_of(figure, "teacher_epochs")
    return (figure.teacher or NONE) + (f" ({epochs})" if epochs else "")


DATASETS: Mapping[str, str] = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny_imagenet": "Tiny ImageNet",
    "imagenet": "ImageNet",
    "cub200": "CUB-200",
    "places365": "Places-365",
    "iwslt_en_de": "IWSLT English-German",
    "iwslt_en_ru": "IWSLT English-Russian",
}
"""What people call a dataset."""

DATASET = by("dataset", names=DATASETS)
LABEL = by("row_label", "")
METRIC = by("metric", "", METRICS)
STUDENT = by("student")
TEACHER = Facet("teacher", teacher_of_row)
