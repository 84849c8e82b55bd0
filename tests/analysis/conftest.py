"""What several tests of analyses use: trained subjects, and another number of threads."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from made_subjects import config, trained

from kdtune.analysis import Subject


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Subject]:
    """Two students of one smoothed teacher, at temperatures 1 and 3, and one without a teacher."""
    store = tmp_path_factory.mktemp("teachers")
    taught = {"alpha": 1.0, "label_smoothing": 0.1}
    return [
        trained("T = 1", config(store, temperature=1.0, **taught)),
        trained("T = 3", config(store, temperature=3.0, **taught)),
        trained("alone", config(store, method="scratch")),
    ]


@pytest.fixture
def threads() -> Iterator[int]:
    """As many threads as neither a measure nor a trial has, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)
