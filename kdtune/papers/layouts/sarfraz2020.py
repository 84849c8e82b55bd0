"""The tables of Sarfraz et al., 2020."""

from collections.abc import Mapping
from dataclasses import replace

from kdtune.papers.facets import DATASET, LABEL, METRIC, Facet, by, value_of
from kdtune.papers.figure import Figure
from kdtune.papers.layout import Layout

_NETWORKS: Mapping[str, str] = {
    "scratch": "Baseline",
    "kd": "Hinton",
    "bss": "BSS",
    "fitnet": "FitNet",
    "fsp": "FSP",
    "at": "AT",
    "sp": "SP",
    "rkd_d": "RKD-D",
    "rkd_a": "RKD-A",
    "rkd_da": "RKD-DA",
    "mean": "mean",
    "teacher": "Teacher",
}
"""Of the heat map: students by their method, and their teacher."""


def _configuration(figure: Figure) -> str:
    for name, word in (("label_noise", "label noise"), ("class_imbalance", "imbalance")):
        if name in figure.conditions:
            return f"{word} {value_of(figure, name)}"
    return "default"


_METHODS = Layout(caption="", rows=(LABEL,), columns=(by("student", ""),))

LAYOUTS: Mapping[str, Layout] = {
    "T2": Layout(
        caption="The teachers, each the best of five seeds: accuracy",
        rows=(DATASET, by("student", "network"), Facet("configuration", _configuration)),
        columns=(METRIC,),
    ),
    "T3": replace(_METHODS, caption="Eleven ways to distil on CIFAR-10: accuracy, %"),
    "T4": replace(_METHODS, caption="Eleven ways to distil on CIFAR-100: accuracy, %"),
    "T5": replace(
        _METHODS,
        caption="WRN-16-2 on CIFAR-10 with a share of the labels redrawn: accuracy, %",
        columns=(by("label_noise", "share"),),
    ),
    "T6": replace(
        _METHODS,
        caption="WRN-16-2 on CIFAR-10 with imbalanced classes (smaller is stronger): accuracy, %",
        columns=(by("class_imbalance", "exponent"),),
    ),
    "F1": Layout(
        caption="How often an attack on one network (column) fools another (row), %",
        rows=(by("target", "", _NETWORKS),),
        columns=(by("source", "", _NETWORKS),),
    ),
}
