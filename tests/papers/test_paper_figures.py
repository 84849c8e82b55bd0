"""The packaged figures: how many, each once, and right where they were read again by hand."""

import subprocess
import sys
from collections import Counter

import pytest

from kdtune.papers import PAPERS, Figure, figures, protocol, tables

COUNTS = {
    "park2020": {"T1": 68, "T2": 54, "T3": 18, "T4": 10, "T5": 24, "T6": 15},
    "wang2020": {"T1": 15, "T2": 18, "T3": 69, "T4": 70, "T5": 16},
    "cho2019": {
        **{"T1": 7, "T2": 16, "T3": 24, "T4": 20, "T5": 7},
        **{"T6": 10, "T7": 11, "T8": 21, "T9": 14, "T10": 14},
    },
    "sarfraz2020": {"T2": 11, "T3": 96, "T4": 96, "T5": 48, "T6": 48, "F1": 132},
    "chandrasegaran2022": {
        **{"T2": 72, "T3": 80, "T4": 20, "T5": 10},
        **{"TB.1": 12, "TB.2": 10, "TB.3": 12, "TB.4": 40, "TB.5": 12},
        **{"TD.1": 32, "TD.2": 32, "TD.3": 8, "TD.4": 16, "TG.1": 22},
        **{"TH.1": 12, "TH.2": 12, "TH.3": 12, "TH.4": 18},
        **{"TI.1": 24, "TI.2": 36, "TI.3": 36, "TJ.1": 30, "TK.1": 40},
    },
}

READ_AGAIN = [
    ("park2020 T1", "method=kd student=ResNet-110 remaining=50/60/70 phase=pre_distill", "72.43"),
    ("park2020 T2", "method=feature_kd student=DenseNet-40 metric=surplus", "1.08"),
    ("park2020 T3", "method=kd phase=pre_post", "75.08"),
    ("park2020 T4", "method=kd teacher_augment=autoaugment student_augment=autoaugment", "87.27"),
    (
        "park2020 T5",
        "method=kd student=PyramidNet-200-240 teacher_augment=none student_augment=cutmix",
        "85.43",
    ),
    ("park2020 T6", "method=kd metric=nwot_score", "-142.22 0.560"),
    ("wang2020 T1", "student=VGG-8 augment=mixup", "73.79 0.18"),
    ("wang2020 T2", "student=ResNet-20 pick=student_entropy", "70.84 0.12"),
    ("wang2020 T3", "method=kd student=MobileNetV2 epochs=960 augment=standard", "68.77 0.05"),
    ("wang2020 T3", "method=crd student=ShuffleNetV2 epochs=960", "78.51 0.27"),
    ("wang2020 T4", "method=crd teacher=ResNet-50 augment=standard", "62.03 0.16"),
    ("wang2020 T5", "method=kd augment=cutmix pick=none metric=top1_accuracy", "71.22"),
    ("cho2019 T1", "teacher=ResNet-50", "30.95"),
    ("cho2019 T2", "teacher=WRN-28-6 metric=kd_error_test", "4.54"),
    ("cho2019 T3", "teacher=ResNet-34 method=eskd metric=kd_loss_test", "2.582"),
    ("cho2019 T4", "student=ResNet-8 method=at_kd generation=5", "13.469"),
    ("cho2019 T5", "teacher_training=kd_5_generations statistic=mean", "7.67 0.19"),
    ("cho2019 T6", "sequence=M>S role=small statistic=median", "7.614"),
    ("cho2019 T7", "sequence=S>S>S role=student", "29.15"),
    ("cho2019 T8", "method=eskd_at teacher_epochs=50", "28.61"),
    ("cho2019 T9", "method=full_kd teacher=ResNet-50 metric=top5_error", "18.72"),
    ("cho2019 T10", "teacher=ResNet-50 teacher_epochs=35 metric=top1_error", "28.89"),
    ("sarfraz2020 T2", "label_noise=0.4", "66.34"),
    ("sarfraz2020 T3", "method=one student=WRN-10-2", "87.75 1.92"),
    ("sarfraz2020 T4", "method=fitnet student=WRN-16-2", "72.82 2.40"),
    ("sarfraz2020 T5", "method=dml label_noise=0.6", "59.89 1.66"),
    ("sarfraz2020 T6", "method=rkd_da class_imbalance=0.6", "80.63 0.20"),
    ("sarfraz2020 F1", "source=teacher target=at", "91.78"),
    (
        "chandrasegaran2022 T2",
        "dataset=imagenet student=ResNet-18 label_smoothing=0.1 temperature=3 metric=top1_accuracy",
        "66.570",
    ),
    (
        "chandrasegaran2022 T3",
        "student=ResNet-50 target_class=king_snake split=val metric=diffusion_index_similar",
        "0.956",
    ),
    ("chandrasegaran2022 T5", "label_smoothing=0.1 temperature=64", "6.461"),
    (
        "chandrasegaran2022 TB.3",
        "label_smoothing=0.1 temperature=3 metric=top1_accuracy",
        "58.182",
    ),
    (
        "chandrasegaran2022 TD.2",
        "student=ResNet-18 label_smoothing=0 temperature=64 metric=top1_accuracy",
        "73.611 0.314",
    ),
    ("chandrasegaran2022 TH.1", "label_smoothing=0.1 temperature=2", "4.550"),
    (
        "chandrasegaran2022 TI.1",
        "target_class=submarine temperature=3 metric=classwise_accuracy_val",
        "54.000",
    ),
    (
        "chandrasegaran2022 TJ.1",
        "label_smoothing=above_0.1 temperature=64 metric=top1_accuracy",
        "63.738",
    ),
]
"""Typed from the papers' texts: table, what tells the figure apart, value and deviation."""


def _has(figure: Figure, key: str, text: str) -> bool:
    value = getattr(figure, key) if hasattr(figure, key) else figure.conditions.get(key)
    return f"{value:g}" == text if isinstance(value, float) else str(value) == text


@pytest.mark.parametrize("paper", PAPERS)
def test_every_table_has_all_its_figures(paper: str) -> None:
    assert Counter(figure.table for figure in figures(paper)) == COUNTS[paper]
    assert set(tables(paper)) == set(COUNTS[paper])


def test_there_are_1550_figures_each_told_apart_by_what_it_is() -> None:
    told = [
        (f.paper, f.table, f.dataset, f.teacher, f.student, f.method, f.condition, f.metric)
        for f in figures()
    ]
    assert len(told) == len(set(told)) == 1550


@pytest.mark.parametrize(("place", "what", "printed"), READ_AGAIN)
def test_a_figure_is_as_the_paper_prints_it(place: str, what: str, printed: str) -> None:
    wanted = [part.split("=", 1) for part in what.split()]
    found = [f for f in figures(*place.split()) if all(_has(f, *pair) for pair in wanted)]
    assert len(found) == 1
    assert f"{found[0].printed} {found[0].printed_std}".strip() == printed


def test_numbers_are_those_of_their_texts() -> None:
    for figure in figures():
        assert figure.value == float(figure.printed)
        assert figure.std == (float(figure.printed_std) if figure.printed_std else None)


def test_tables_come_in_the_order_of_the_paper_figures_last() -> None:
    assert tables("sarfraz2020") == ["T2", "T3", "T4", "T5", "T6", "F1"]
    assert tables("cho2019")[-2:] == ["T9", "T10"]
    assert tables("chandrasegaran2022")[:6] == ["T2", "T3", "T4", "T5", "TB.1", "TB.2"]


def test_a_protocol_is_none_where_the_paper_is_silent() -> None:
    assert protocol("wang2020")["temperature"] == 4
    assert protocol("park2020")["epochs"] is None


def test_an_unknown_paper_or_table_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown paper 'cho2018'; did you mean 'cho2019'"):
        figures("cho2018")
    with pytest.raises(ValueError, match="unknown table 'T11' of cho2019; did you mean 'T1'"):
        figures("cho2019", "T11")
    with pytest.raises(ValueError, match="table 'T1' needs a paper"):
        figures(table="T1")


def test_what_was_printed_is_there_without_torch_or_mlflow() -> None:
    program = """
import sys
from kdtune.papers import canonical_settings, figures
canonical_settings(figures()[0])
assert not {"torch", "mlflow", "pandas"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_papers_are_cited_by_their_authors() -> None:
    assert PAPERS["cho2019"].citation == "Cho and Hariharan, 2019"
    assert PAPERS["park2020"].citation == "Park et al., 2020"
