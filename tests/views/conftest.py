"""The dataset that tests of views share."""

import pytest
from made_up import make_dataset

from kdtune.data import Dataset


@pytest.fixture
def dataset() -> Dataset:
    """23 training images of 3x16x16 in 5 classes."""
    return make_dataset()
