"""The surplus against the row that park2020 prints."""

import pytest

from kdtune.pruning import surplus


def test_the_first_row_of_the_papers_table() -> None:
    found = surplus(
        self_distill=73.30, finetune=70.06, unpruned_distilled=73.76, unpruned_scratch=71.23
    )
    assert found == pytest.approx(0.71)


def test_it_is_zero_where_distillation_gains_the_same_with_and_without_pruning() -> None:
    found = surplus(self_distill=0.75, finetune=0.5, unpruned_distilled=1.0, unpruned_scratch=0.75)
    assert found == 0
