"""The tables of Chandrasegaran et al., 2022."""

from collections.abc import Mapping
from dataclasses import replace

from kdtune.papers.facets import DATASET, METRIC, METRICS, STUDENT, Facet, by, value_of
from kdtune.papers.figure import Figure
from kdtune.papers.layout import Layout


def _network(figure: Figure) -> str:
    is_teacher = value_of(figure, "role") == "teacher"
    return f"Teacher {figure.student}" if is_teacher else figure.student


def _target_class(figure: Figure) -> str:
    return value_of(figure, "target_class").replace("_", " ")


def _entropy_or_accuracy(figure: Figure) -> str:
    is_entropy = figure.metric == "target_entropy"
    return METRICS[figure.metric] if is_entropy else "Top-1 / top-5 (%)"


_TEMPERATURE = by(
    "temperature",
    "",
    {"unstated_between_1_and_2": "1 < T < 2", "unstated_between_3_and_64": "3 < T < 64"},
    form="T = {}",
)
_SMOOTHING = by("label_smoothing", "smoothing", {"0": "0.0", "above_0.1": "> 0.1"})
_CLASS = Facet("class", _target_class)
_SPLIT = by("split", "")
_SET = by("class_set", "set")

_GRID = Layout(
    caption="",
    rows=(Facet("network", _network), replace(_TEMPERATURE, title="smoothing")),
    columns=(replace(_SMOOTHING, title=""),),
    cell={"top1_accuracy": "{}", "top5_accuracy": " / {}"},
)
_COUNTEREXAMPLES = Layout(
    caption="",
    rows=(by("counterexample", "case", form="#{}"), STUDENT, _SMOOTHING, _TEMPERATURE),
    columns=(Facet("", _entropy_or_accuracy),),
    cell=_GRID.cell,
)
_CLASSWISE = Layout(caption="", rows=(_CLASS,), columns=(_TEMPERATURE, METRIC))
_DIFFUSION = Layout(caption="", rows=(_SET, _CLASS), columns=(_SPLIT, METRIC))

LAYOUTS: Mapping[str, Layout] = {
    "T2": replace(
        _GRID,
        caption="Smoothing of the teacher x temperature: top-1 / top-5 accuracy, %",
        columns=(replace(DATASET, title=""), replace(_SMOOTHING, title="")),
    ),
    "T3": replace(
        _DIFFUSION,
        caption="Diffusion from T = 1 to 3 towards similar classes, or others: index, %",
        columns=(by("student", ""), _SPLIT, METRIC),
    ),
    "T4": replace(_GRID, caption="Smoothing x temperature, MobileNetV2 on CUB-200: accuracy, %"),
    "T5": replace(_GRID, caption="Smoothing x temperature, English to German: BLEU"),
    "TB.1": replace(_GRID, caption="Smoothing x temperature, ConvNeXt-T on CUB-200: accuracy, %"),
    "TB.2": replace(_GRID, caption="Smoothing x temperature, English to Russian: BLEU"),
    "TB.3": replace(
        _GRID, caption="Smoothing x temperature, EfficientNet-B0 on ImageNet: accuracy, %"
    ),
    "TB.4": replace(_DIFFUSION, caption="Diffusion of an EfficientNet-B0 student: index, %"),
    "TB.5": replace(_GRID, caption="Smoothing x temperature, overhaul and KD: accuracy, %"),
    "TD.1": replace(_GRID, caption="Smoothing x temperature on ImageNet, with deviations"),
    "TD.2": replace(_GRID, caption="Smoothing x temperature on CUB-200, with deviations"),
    "TD.3": replace(_GRID, caption="Smoothing x temperature, BLEU to German, with deviations"),
    "TD.4": replace(_GRID, caption="Smoothing x temperature of MobileNetV2, with deviations"),
    "TG.1": Layout(
        caption="Share of a class's hierarchical neighbours that distances find too",
        rows=(_CLASS,),
        columns=(METRIC,),
    ),
    "TH.1": Layout(
        caption="Mean entropy of the teacher's softened outputs on CUB-200",
        rows=(METRIC,),
        columns=(_TEMPERATURE, _SMOOTHING),
    ),
    "TH.2": replace(_COUNTEREXAMPLES, caption="Equally soft targets, unequal students: low T"),
    "TH.3": replace(_COUNTEREXAMPLES, caption="Equally soft targets, unequal students: middle T"),
    "TH.4": replace(_COUNTEREXAMPLES, caption="Equally soft targets, unequal students: T = 64"),
    "TI.1": replace(_CLASSWISE, caption="Accuracy on two poodles and a submarine, %"),
    "TI.2": replace(_CLASSWISE, caption="Accuracy on five retrievers, %"),
    "TI.3": replace(_CLASSWISE, caption="Accuracy on five snakes, %"),
    "TJ.1": replace(_GRID, caption="A stronger smoothing too, MobileNetV2 on CUB-200: accuracy, %"),
    "TK.1": replace(
        _DIFFUSION, caption="Diffusion by mean pairwise distances: index, %", rows=(_CLASS,)
    ),
}
