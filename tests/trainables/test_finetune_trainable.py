"""Finetune as Tune drives it, in this process."""

from pathlib import Path
from typing import Any

import pytest

from kdtune.config import parse
from kdtune.training.delivery import deliver
from kdtune.training.trial import Trial
from trainables import Finetune


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A fine-tuning of a student that hardly learned anything."""
    folder = tmp_path_factory.mktemp("student")
    settings = {"data.train_limit": 200, "train.epochs": 2, "train.device": "cpu"}
    trial = Trial(parse({"student": "resnet8x0.25", "method": "scratch", **settings}))
    while not trial.finished:
        trial.next_epoch()
    deliver(trial, folder, {})
    return {**settings, "init": str(folder)}


def steps(trainable: Finetune) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = []
    while not (reports and reports[-1]["done"]):
        reports.append(trainable.train())
    return reports


def test_every_report_has_the_errors(flat: dict[str, Any]) -> None:
    reports = steps(Finetune(flat))
    assert [report["val/top1_error"] for report in reports] == [
        1 - report["val/accuracy"] for report in reports
    ]
    assert not any("test/top1_error" in report for report in reports)


def test_a_finalist_is_tested_in_its_last_report_alone(flat: dict[str, Any]) -> None:
    reports = steps(Finetune({**flat, "role": "finalist"}))
    assert ["test/top1_error" in report for report in reports] == [False, True]
    assert reports[-1]["test/top5_error"] == 1 - reports[-1]["test/top5"]


def test_a_reused_actor_fine_tunes_as_a_fresh_one(flat: dict[str, Any], tmp_path: Path) -> None:
    actor = Finetune(flat)
    actor.train()
    actor.save(str(tmp_path))
    assert actor.reset({**flat, "seed": 1})
    actor.train()
    assert actor.reset(dict(flat))
    actor.restore(str(tmp_path))
    reports = [actor.train(), actor.train()]
    fresh = steps(Finetune(flat))
    assert [report["val/loss"] for report in reports] == [report["val/loss"] for report in fresh]
    assert fresh[-1]["finished"] == 1


def test_what_is_left_out_is_as_in_the_paper(flat: dict[str, Any]) -> None:
    train = Finetune({key: flat[key] for key in ("init", "train.device")}).trial.config.train
    assert (train.epochs, train.lr, train.milestone_fractions) == (12, 0.1, (0.25, 0.5, 0.75))


def test_a_bad_configuration_is_an_error_of_the_first_step(flat: dict[str, Any]) -> None:
    actor = Finetune({**flat, "init": None})
    with pytest.raises(ValueError, match="init must name what is fine-tuned"):
        actor.train()
