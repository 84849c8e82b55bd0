"""The tables of Wang et al., 2020."""

from collections.abc import Mapping
from dataclasses import replace

from kdtune.papers.facets import LABEL, METRIC, Facet, value_of
from kdtune.papers.figure import Figure
from kdtune.papers.layout import Layout


def _pair(figure: Figure) -> list[str]:
    """Teacher and student of the column, also for the accuracy of either alone."""
    return (value_of(figure, "pair") or f"{figure.teacher}>{figure.student}").split(">")


def _arm(figure: Figure) -> str:
    return figure.row_label.removesuffix(" (ours)").replace("+", " +\n")


_PAIRS = Layout(
    caption="",
    rows=(LABEL,),
    columns=(
        Facet("teacher", lambda figure: _pair(figure)[0]),
        Facet("student", lambda figure: _pair(figure)[1]),
    ),
)

LAYOUTS: Mapping[str, Layout] = {
    "T1": replace(_PAIRS, caption="Soft labels on plain or mixed images, CIFAR-100: accuracy, %"),
    "T2": replace(_PAIRS, caption="By what mixed images are picked, CIFAR-100: accuracy, %"),
    "T3": replace(
        _PAIRS,
        caption="KD and CRD, mixed images, 240 or 960 epochs, CIFAR-100: accuracy, %",
        lost=frozenset({(("KD+CutMix-pick_960 (ours)",), ("ResNet-32x4", "ResNet-8x4"))}),
    ),
    "T4": replace(
        _PAIRS, caption="KD and CRD, mixed images, 240 or 480 epochs, Tiny ImageNet: accuracy, %"
    ),
    "T5": Layout(
        caption="ResNet-18 taught by ResNet-34 on ImageNet, 100 or 200 epochs: accuracy, %",
        rows=(METRIC,),
        columns=(Facet("", _arm),),
    ),
}
