import math

import pytest
import torch

from kdtune.training.ensemble import ensemble_log_probabilities, ensemble_scores

SURE = torch.tensor([[math.log(8.0), 0.0, 0.0]])
"""Probabilities 0.8, 0.1, 0.1."""

OTHER = torch.tensor([[0.0, math.log(2.0), 0.0]])
"""Probabilities 0.25, 0.5, 0.25."""


def test_an_ensemble_says_the_mean_of_its_members_probabilities() -> None:
    mean = ensemble_log_probabilities([SURE, OTHER]).exp()
    torch.testing.assert_close(mean, torch.tensor([[0.525, 0.3, 0.175]]))


def test_members_that_agree_say_together_what_each_says() -> None:
    torch.testing.assert_close(
        ensemble_log_probabilities([SURE, SURE, SURE]), SURE.log_softmax(dim=1)
    )


def test_the_scale_of_a_members_logits_matters_but_not_their_offset() -> None:
    torch.testing.assert_close(
        ensemble_log_probabilities([SURE + 100, OTHER]), ensemble_log_probabilities([SURE, OTHER])
    )


def test_no_probability_underflows() -> None:
    certain = torch.tensor([[0.0, -1000.0]])
    logs = ensemble_log_probabilities([certain, certain])
    torch.testing.assert_close(logs, torch.tensor([[0.0, -1000.0]]))


def test_the_mean_decides_not_the_majority() -> None:
    unsure = torch.tensor([[0.0, 0.1, 0.0]])
    together = ensemble_scores([SURE, unsure, unsure], torch.tensor([0]))
    assert together["accuracy"] == 1
    assert together["loss"] == pytest.approx(
        -ensemble_log_probabilities([SURE, unsure, unsure])[0, 0].item()
    )


@pytest.mark.parametrize("logits", [[], [torch.zeros(2, 3), torch.zeros(2, 4)]])
def test_members_must_have_logits_of_one_shape(logits: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="logits of one shape from every member"):
        ensemble_log_probabilities(logits)
