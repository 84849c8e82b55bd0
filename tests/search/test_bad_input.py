"""What a user got wrong is told before anything starts."""

from pathlib import Path

import pytest
from searching import WHOLE, one_line, search

BAD_INPUT = {
    "nowhere": "unknown space 'nowhere'",
    "quickstart --set alhpa=0.5": "unknown key 'alhpa' for method 'kd'; did you mean 'alpha'?",
    "quickstart --set alpha": "--set takes KEY=VALUE, got 'alpha'",
    "quickstart --set alpha=high": "alpha must be a valid number",
    "quickstart --set alpha=1.5": "alpha must be less than or equal to 1, got 1.5",
    "quickstart --set prune_ratio=1": "prune_ratio must be less than 1, got 1.0",
    "quickstart --set teacher_epochs=40": "teacher_epochs must be at most teacher.full_epochs = 30",
    "quickstart --set augment=mixpu": "unknown augment 'mixpu'; did you mean 'mixup'?",
    "quickstart --method at": "No such option",
    "quickstart --set method=at": "has no arm for method 'at'",
    "quickstart --set train.device=cuda": "train.device=cuda needs a GPU for each trial",
    "quickstart --dataset digit": "unknown dataset 'digit'; did you mean 'digits'?",
    "quickstart --dataset parquet:missing": "no Parquet files under",
    "quickstart --dataset cifar10": "needs a data root",
    "quickstart --student resnet9": "the depth of a CIFAR resnet must be 6n + 2",
    "quickstart --teacher-weights mine.safetensors": "no teacher weights at",
    "quickstart --sampler tpa": "unknown sampler 'tpa'; did you mean 'tpe'?",
    "quickstart --scheduler ahsa": "unknown scheduler 'ahsa'; did you mean 'asha'?",
    "quickstart --grace-period 20": "grace_period must be at most max_t = 8, got 20",
    "quickstart --brackets 9": "brackets must be from 1 to",
    "quickstart --objective val/acuracy": "unknown objective 'val/acuracy'; did you mean",
    "quickstart --objective params:low": "an objective is METRIC:max or METRIC:min",
    "quickstart --objective params --objective macs --scheduler asha": "cuts trials by one metric",
    "quickstart --objective params --objective macs --sampler cmaes": "takes one objective",
    "quickstart --finalists-on test": "--finalists-on: must be 'train' or 'train+val', got 'test'",
    "quickstart --name a/b": "--name: String must match pattern",
    "quickstart --register a:b": "--register: String must match pattern",
    "quickstart --register best --finalists 0": "--register 'best' needs a finalist to register",
    "quickstart --time-budget 0": "--time-budget: must be greater than 0",
}


@pytest.mark.parametrize("words", BAD_INPUT)
def test_bad_input_is_told_before_anything_starts(
    words: str, tmp_path: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = search(tmp_path / "new" / "results", *words.split(), "--gpus-per-trial", "0")
    assert result.exit_code == 2, result.output
    assert BAD_INPUT[words] in one_line(result.output)
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_storage_that_cannot_be_a_folder_is_told(tmp_path: Path, no_ray: None) -> None:
    (tmp_path / "taken").write_text("")
    result = search(tmp_path / "taken" / "results", *WHOLE)
    assert result.exit_code == 2
    assert "is not writable" in one_line(result.output)
