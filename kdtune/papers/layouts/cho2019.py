"""The tables of Cho and Hariharan, 2019."""

from collections.abc import Mapping
from dataclasses import replace

from kdtune.papers.facets import METRIC, STUDENT, TEACHER, Facet, by, teacher_of_row, value_of
from kdtune.papers.figure import Figure
from kdtune.papers.layout import Layout

_METHODS: Mapping[str, str] = {
    "scratch": "Scratch",
    "kd": "KD",
    "full_kd": "Full KD",
    "seq_kd": "Sequential KD",
    "at": "AT",
    "at_kd": "AT+KD",
    "eskd": "ESKD",
    "eskd_at": "ESKD+AT",
    "one": "ONE",
}


def _whose_error(figure: Figure) -> str:
    whose = "Teacher" if value_of(figure, "role") == "teacher" else "Student"
    return f"{whose} error (%)"


def _method_of_row(figure: Figure) -> str:
    return _METHODS[value_of(figure, "paired_with") or figure.method]


def _of_chain(figure: Figure) -> str:
    if figure.metric == "params":
        return "Parameters\n(M)"
    if figure.metric == "ensemble_error":
        own = value_of(figure, "ensemble") == "generations"
        return "Ensemble of\ngenerations" if own else "Ensemble\nfrom scratch"
    return "Last\ngeneration" if value_of(figure, "generation") == "5" else "Scratch"


def _teacher_training(figure: Figure) -> str:
    if value_of(figure, "role") == "teacher":
        distilled = figure.method == "kd"
    elif not figure.teacher:
        return "(no teacher)"
    else:
        distilled = value_of(figure, "teacher_training") == "kd_5_generations"
    return "5 generations of KD" if distilled else "Scratch"


def _chain(figure: Figure) -> str:
    generations = value_of(figure, "generation")
    return value_of(figure, "sequence") or f"(label lost) {generations} generations"


def _role(figure: Figure) -> str:
    named = {"teacher1": "1st teacher (%)", "teacher2": "2nd teacher (%)"}
    return named.get(value_of(figure, "role"), "Student (%)")


def _taught_by(figure: Figure) -> str:
    """A chain, a number of generations or branches, or else a teacher."""
    for name, words in (("generation", "{} generations"), ("branches", "{} branches")):
        if name in figure.conditions:
            return words.format(value_of(figure, name))
    return value_of(figure, "sequence") or teacher_of_row(figure)


_METHOD = by("method", names=_METHODS)
_WHOSE_ERROR = Facet("", _whose_error)
_MEDIAN_AND_MEAN: Mapping[str, str] = {"median": "{}", "mean": " ({})"}
_TEACHERS = Layout(caption="", rows=(_METHOD, TEACHER), columns=(METRIC,))

LAYOUTS: Mapping[str, Layout] = {
    "T1": Layout(
        caption="A ResNet-18 student of larger and larger teachers on ImageNet: top-1 error",
        rows=(TEACHER,),
        columns=(_WHOSE_ERROR,),
        first="Teacher error (%)",
    ),
    "T2": Layout(
        caption="How often students disagree with wider and wider teachers, CIFAR-10",
        rows=(STUDENT, TEACHER),
        columns=(METRIC,),
    ),
    "T3": Layout(
        caption="Distillation to the end or stopped early: error and losses on ImageNet",
        rows=(TEACHER, _METHOD),
        columns=(METRIC,),
    ),
    "T4": Layout(
        caption="Five generations against as many networks from scratch, CIFAR-10: error, %",
        rows=(STUDENT, Facet("method", _method_of_row)),
        columns=(Facet("", _of_chain),),
    ),
    "T5": Layout(
        caption="Whether a distilled teacher teaches better, CIFAR-10: median (mean ± deviation)",
        rows=(Facet("WRN-16-3 teacher trained by", _teacher_training),),
        columns=(_WHOSE_ERROR,),
        within="statistic",
        cell=_MEDIAN_AND_MEAN,
    ),
    "T6": Layout(
        caption="Large to medium to small network, CIFAR-10, error: median (mean ± deviation)",
        rows=(by("sequence", "chain"),),
        columns=(by("role", "", {"large": "Large", "medium": "Medium", "small": "Small"}),),
        within="statistic",
        cell=_MEDIAN_AND_MEAN,
    ),
    "T7": Layout(
        caption="Chains on ImageNet, distillation stopped early: top-1 error",
        rows=(Facet("chain", _chain),),
        columns=(Facet("", _role),),
    ),
    "T8": Layout(
        caption="All ways to teach ResNet-18 on ImageNet; (n): teacher of n epochs",
        rows=(_METHOD, Facet("teacher", _taught_by)),
        columns=(METRIC,),
    ),
    "T9": replace(_TEACHERS, caption="The ImageNet students fine-tuned on Places-365: errors"),
    "T10": replace(_TEACHERS, caption="ResNet-18 on ImageNet at temperature 20: errors"),
}
