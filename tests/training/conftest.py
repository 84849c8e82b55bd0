"""What the tests of whole trials share."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny distillation whose teacher is trained once for all tests of this folder."""
    return {
        "student": "resnet8x0.125",
        "teacher": "resnet8x0.5",
        "teacher.full_epochs": 6,
        "teacher.store": str(tmp_path_factory.mktemp("teachers")),
        "data.train_limit": 100,
        "train.epochs": 4,
        "train.device": "cpu",
    }
