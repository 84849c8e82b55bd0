"""The tables of Park et al., 2020."""

from collections.abc import Mapping
from dataclasses import replace

from kdtune.papers.facets import METRIC, Facet, by, value_of
from kdtune.papers.figure import Figure
from kdtune.papers.layout import Layout

_PHASES: Mapping[str, str] = {
    "unpruned": "Unpruned",
    "finetune": "Finetuned /\nPre-Distill",
    "pre_distill": "Finetuned /\nPre-Distill",
    "post_distill": "Post-\nDistill",
    "pre_post": "Pre-\nPost",
    "self_distill": "Self-\nDistill",
}


def _phase(figure: Figure) -> str:
    return "Surplus" if figure.metric == "surplus" else _PHASES[value_of(figure, "phase")]


def _augmented_teacher(figure: Figure) -> str:
    return _augmented(value_of(figure, "teacher_augment")) if figure.teacher else "(none)"


def _augmented_student(figure: Figure) -> str:
    return _augmented(value_of(figure, "student_augment"))


def _augmented(policy: str) -> str:
    return "no" if policy == "none" else "yes"


def _trained_with(figure: Figure) -> str:
    mixed = value_of(figure, "augment") == "cutmix"
    if figure.method == "scratch":
        return "CutMix" if mixed else "Scratch"
    return _TRAINED.text(figure) + (" +\nCutMix" if mixed else "")


_NETWORK = by("student", "network")
_TRAINED = by(
    "method", "trained by", {"scratch": "Scratch", "kd": "Label", "feature_kd": "Feature"}
)
_PRUNED = Layout(
    caption="",
    rows=(_NETWORK, by("remaining", "remain", form="{} %"), _TRAINED),
    columns=(Facet("", _phase),),
    cell={"test_accuracy": "{}", "accuracy_gain": " (+{})"},
)
_ARMS = Layout(
    caption="",
    rows=(
        _NETWORK,
        Facet("teacher\naugmented", _augmented_teacher),
        Facet("student\naugmented", _augmented_student),
    ),
    columns=(replace(_TRAINED, title=""),),
    within="origin",
    cell={"": "{}", "original_paper": " / {}"},
    together=True,
)

LAYOUTS: Mapping[str, Layout] = {
    "T1": replace(_PRUNED, caption="L1 filter pruning and what distils around it: accuracy, %"),
    "T2": replace(_PRUNED, caption="Network slimming and what distils around it: accuracy, %"),
    "T3": replace(_PRUNED, caption="Weight pruning and what distils around it: accuracy, %"),
    "T4": replace(_ARMS, caption="Distillation x AutoAugment of teacher and student: accuracy, %"),
    "T5": replace(_ARMS, caption="Distillation x CutMix of teacher and student: accuracy, %"),
    "T6": Layout(
        caption="How diverse the outputs of a ResNet-56 are (score; higher is more)",
        rows=(METRIC,),
        columns=(Facet("", _trained_with),),
    ),
}
